//! Redis replaced by its replica, promoted by hand, that lacks what the old master had acknowledged last.

use techsapo_tests::proxy::Weather;
use techsapo_tests::{App, Exporter, Exposition, Generated, Producer, Proxy, RedisServer, wait};

fn analyses(page: &Exposition) -> f64 {
    page.counter("techsapo_wallbounce_requests_total").total()
}

fn ask(app: &App, questions: usize) -> Vec<Generated> {
    (0..questions).map(|number| app.generate(&format!("Question {number}"), "premium").unwrap()).collect()
}

fn newest_id(redis: &RedisServer) -> String {
    let entries: Vec<(String, Vec<String>)> =
        redis.cli(&["XREVRANGE", "techsapo:events", "+", "-", "COUNT", "1"]);
    entries.into_iter().next().map(|(id, _)| id).unwrap_or_default()
}

#[test]
fn a_replica_promoted_without_the_last_writes_loses_and_doubles_nothing() {
    let mut master = RedisServer::with(&["--repl-diskless-sync-delay", "0"]);
    let replication = Proxy::to(master.port());
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &replication.port().to_string()]);
    let road = Proxy::to(master.port());
    let url = road.redis_url();
    let mut exporter = Exporter::of(&master).redis_url(&url).start();
    let app = App::of(&master).set("TECHSAPO_REDIS_URL", &url).start();
    let mut answers = ask(&app, 5);
    exporter.scrape_until("the first questions are counted", |page| analyses(page) == 5.0);
    wait::until_true("the replica has it all", || master.cli::<u32>(&["WAIT", "1", "1000"]) == 1);

    replication.set(Weather::Refused);
    // Counted and acknowledged: the replica knows neither of the events nor of the acknowledgement.
    answers.extend(ask(&app, 5));
    let before = exporter.scrape_until("the next ones are counted", |page| analyses(page) == 10.0);
    // Written, but not yet read.
    exporter.process.pause();
    let last = newest_id(&master);
    answers.extend(ask(&app, 5));
    wait::until_true("the master has taken them", || newest_id(&master) != last);
    master.kill_9();
    replica.cli::<()>(&["REPLICAOF", "NO", "ONE"]);
    road.lead_to(replica.port());
    exporter.process.resume();
    answers.extend(ask(&app, 5));

    exporter.scrape_until("everything is counted", |page| analyses(page) >= 20.0);
    exporter.wait_ready();
    let page = exporter.scrape_after(&mut Producer::new(&replica));
    page.never_decreased_since(&before);
    assert_eq!(analyses(&page), 20.0);
    let calls: usize = answers.iter().map(|answer| answer.calls().len()).sum();
    assert_eq!(page.counter("techsapo_llm_requests_total").total(), calls as f64);
    let cost: u64 = answers.iter().map(Generated::cost_nanousd).sum();
    assert_eq!(page.counter("techsapo_wallbounce_cost_usd").total_units(9), cost);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}
