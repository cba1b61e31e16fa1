//! What stating a fact costs a request: serialising an event and copying it into the journal, on one thread, with the
//! shipper at work beside it.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use techsapo_app::telemetry::{Telemetry, TelemetrySettings};
use techsapo_shared::event::{Event, LlmRequest};
use techsapo_shared::labels::{Provider, Status, TaskType};
use techsapo_shared::wire::DEFAULT_STREAM;
use techsapo_tests::{RedisServer, facts};

use crate::cpu;
use crate::report::Figure;

const APPENDS: usize = 400_000;
/// Appends between pauses: no app states facts without a breath, and the shipper prepares pages in between.
const BURST: usize = 2_000;
const BREATH: Duration = Duration::from_millis(20);

/// Mean by CPU time; the 99th percentile by clock, for a single append is too short for the kernel's accounting.
pub(crate) fn run() -> Vec<Figure> {
    let (redis, folder) = (RedisServer::start(), TempDir::new().unwrap());
    let settings = TelemetrySettings {
        journal_dir: folder.path().join("journal"),
        journal_bytes: 256 << 20,
        audited: false,
        redis: redis.url().parse().unwrap(),
        streams: vec![DEFAULT_STREAM.to_owned()],
    };
    let telemetry = Telemetry::start(&settings).unwrap();
    let recorder = telemetry.recorder();
    let event = Event::LlmRequest(LlmRequest {
        t: facts::now_ms(),
        provider: Provider::Gemini,
        model: Cow::Borrowed("gemini-2.5-pro"),
        task_type: TaskType::Basic,
        status: Status::Success,
        duration_us: 1_234_567,
        input_tokens: 512,
        output_tokens: 900,
        cost_nanousd: 9_640_000,
    });

    let mut busy = 0.0;
    let mut times = Vec::with_capacity(APPENDS);
    for burst in 0..2 * APPENDS / BURST {
        std::thread::sleep(BREATH);
        // Bursts for the mean and for the percentile take turns: reading the clock is not free.
        if burst % 2 == 0 {
            let before = cpu::seconds_of_this_thread();
            (0..BURST).for_each(|_| recorder.record(black_box(&event)));
            busy += cpu::seconds_of_this_thread() - before;
        } else {
            times.extend((0..BURST).map(|_| {
                let before = Instant::now();
                recorder.record(black_box(&event));
                before.elapsed().as_nanos() as u64
            }));
        }
    }
    assert_eq!(recorder.sample().unwrap().dropped, 0, "the journal must not fill up while it is measured");
    times.sort_unstable();
    let percentile = times[times.len() / 100 * 99] as f64;
    telemetry.shutdown(Duration::ZERO);
    vec![
        Figure { name: "append_mean", value: busy / APPENDS as f64 * 1e9, unit: "ns", asked: "≤ 400 ns" },
        Figure { name: "append_p99", value: percentile, unit: "ns", asked: "≤ 2 000 ns" },
    ]
}
