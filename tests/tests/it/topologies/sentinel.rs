//! The master killed, and its replica promoted by sentinels although it lacks what the master had acknowledged last.

use techsapo_tests::{App, Exporter, Producer, RedisServer, Sentinels, wait};

use super::{Load, analyses, ask, assert_counted};

/// Master and replica.
fn pair() -> [RedisServer; 2] {
    let master = RedisServer::with(&["--repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    wait_in_step(&replica);
    [master, replica]
}

fn wait_in_step(replica: &RedisServer) {
    wait::until_true("the replica is in step", || {
        let role: Vec<redis::Value> = replica.cli(&["ROLE"]);
        redis::from_redis_value::<String>(role[0].clone()).unwrap() == "slave"
            && redis::from_redis_value::<String>(role[3].clone()).is_ok_and(|state| state == "connected")
    });
}

/// From here on the replica gets nothing any more: it is not let in again.
fn part(master: &RedisServer, replica: &RedisServer) {
    replica.cli::<()>(&["CONFIG", "SET", "masterauth", "not-the-password"]);
    assert_eq!(master.cli::<u32>(&["CLIENT", "KILL", "TYPE", "replica"]), 1);
}

fn newest_id(redis: &RedisServer) -> String {
    let entries: Vec<(String, Vec<String>)> =
        redis.cli(&["XREVRANGE", "techsapo:events", "+", "-", "COUNT", "1"]);
    entries.into_iter().next().map(|(id, _)| id).unwrap_or_default()
}

#[test]
fn a_replica_promoted_by_sentinels_without_the_last_writes_loses_and_doubles_nothing() {
    let [mut master, replica] = pair();
    let mut sentinels = Sentinels::of(&master, 1);
    let mut exporter = Exporter::of(&master).redis_url(&sentinels.url()).start();
    let apps = [(), ()].map(|()| App::of(&master).set("TECHSAPO_REDIS_URL", &sentinels.url()).start());
    let mut answers = ask(&apps[0], 5);
    exporter.scrape_until("the first questions are counted", |page| analyses(page) == 5.0);
    wait::until_true("the replica has it all", || master.cli::<u32>(&["WAIT", "1", "1000"]) == 1);

    part(&master, &replica);
    // Counted and acknowledged: the replica knows neither of the events nor of the acknowledgement.
    answers.extend(ask(&apps[0], 5));
    let before = exporter.scrape_until("the next ones are counted", |page| analyses(page) == 10.0);
    // Written, but not yet read.
    exporter.process.pause();
    let last = newest_id(&master);
    answers.extend(ask(&apps[0], 5));
    wait::until_true("the master has taken them", || newest_id(&master) != last);
    let load = Load::on(&apps);
    master.kill_9();
    exporter.process.resume();
    // One sentinel less: the others are enough, and the app and the exporter go on to the next.
    sentinels.kill_9(0);
    sentinels.wait_promoted(&replica);
    exporter.scrape_until("the load is counted from the new master", |page| analyses(page) > 15.0);

    // The old master comes back with nothing, believing that it is still the master.
    master.start_again();
    wait::until_true("the old master obeys the new one", || {
        // The sentinels cut its connections when they tell it.
        let role: Vec<redis::Value> = master.try_cli(&["ROLE"]).unwrap_or_default();
        role.first().is_some_and(|role| *role == redis::Value::BulkString(b"slave".to_vec()))
    });
    wait_in_step(&master);
    answers.extend(load.end());
    answers.extend(ask(&apps[1], 5));

    exporter.scrape_until("everything is counted", |page| analyses(page) >= answers.len() as f64);
    exporter.wait_ready();
    let page = exporter.scrape_after(&mut Producer::new(&replica));
    page.never_decreased_since(&before);
    assert_counted(&[page], &answers);
}
