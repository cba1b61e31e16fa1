//! Redis as several servers: a cluster whose streams are on different nodes, and a master that sentinels replace.
//! Whatever happens to one of them, what clients were answered counts exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use techsapo_tests::{App, Exposition, Generated, app};

mod cluster;
mod sentinel;
mod sharded;

/// Analyses that were counted.
fn analyses(page: &Exposition) -> f64 {
    page.counter("techsapo_wallbounce_requests_total").total()
}

/// Asks one question after the other.
fn ask(app: &App, questions: usize) -> Vec<Generated> {
    (0..questions).map(|number| app.generate(&format!("Question {number}"), "premium").unwrap()).collect()
}

/// Callers that ask some apps without a pause. No app fails for what happens to Redis, so every answer is a good one.
struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Vec<Generated>>>,
}

impl Load {
    fn on(apps: &[App]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let caller = |app: &App| {
            let (url, stop) = (app.url(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    answers.push(app::generate(&url, "What is measured?", "premium").unwrap());
                }
                answers
            })
        };
        let callers = apps.iter().map(caller).collect();
        Self { stop, callers }
    }

    fn end(self) -> Vec<Generated> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    }
}

/// What these pages count together is what the answers say, exactly.
fn assert_counted(pages: &[Exposition], answers: &[Generated]) {
    let sum = |figure: &dyn Fn(&Exposition) -> u64| pages.iter().map(figure).sum::<u64>();
    assert_eq!(sum(&|page| analyses(page) as u64), answers.len() as u64, "analyses");
    let calls: usize = answers.iter().map(|answer| answer.calls().len()).sum();
    let counted = sum(&|page| page.counter("techsapo_llm_requests_total").total() as u64);
    assert_eq!(counted, calls as u64, "calls to providers");
    let cost: u64 = answers.iter().map(Generated::cost_nanousd).sum();
    let counted = sum(&|page| page.counter("techsapo_wallbounce_cost_usd").total_units(9));
    assert_eq!(counted, cost, "cost in nano-dollars");
    for page in pages {
        page.counter("techsapo_telemetry_lost_events_total").is(0);
    }
}
