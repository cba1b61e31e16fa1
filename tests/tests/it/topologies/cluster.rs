//! Three nodes, three streams: nodes killed, stopped and relieved of a slot, while two apps are asked.

use techsapo_tests::{App, Exporter, Exposition, Generated, Producer, RedisCluster, facts, wait};

use super::{Load, analyses, ask, assert_counted};

pub(super) fn apps(cluster: &RedisCluster) -> [App; 2] {
    [(), ()].map(|()| {
        let setup = App::of(&cluster.nodes[0]).set("TECHSAPO_REDIS_URL", &cluster.url());
        setup.set("TECHSAPO_REDIS_STREAMS", &cluster.streams()).start()
    })
}

fn exporter(cluster: &RedisCluster, streams: &[usize]) -> Exporter {
    let setup = Exporter::of(&cluster.nodes[0]).redis_url(&cluster.url());
    streams.iter().fold(setup, |setup, &place| setup.stream(&RedisCluster::stream(place))).start()
}

/// A run of an app writes to one stream, hashed from its random name: kills and starts the apps until every stream had
/// a run. What is not acknowledged of a run, the next one hands over to the stream of that earlier run.
pub(super) fn spread(cluster: &RedisCluster, apps: &mut [App; 2]) -> Vec<Generated> {
    let mut answers = Vec::new();
    wait::until_true("every stream carries events", || {
        for app in apps.iter_mut() {
            answers.extend(ask(app, 2));
            app.kill_9();
            app.restart();
        }
        (0..cluster.nodes.len()).all(|place| {
            let acks = format!("techsapo:acks:{{{place}}}");
            cluster.nodes[place].cli::<u64>(&["HLEN", &acks]) > 0
        })
    });
    // A stream may have no run but one of these, which have only told of their start.
    apps.iter().for_each(|app| answers.extend(ask(app, 2)));
    answers
}

/// What is written to these streams, each on its node, becomes durable and acknowledged.
fn assert_flows(cluster: &RedisCluster, streams: &[(usize, usize)]) {
    for &(stream, node) in streams {
        let mut producer = Producer::on(&cluster.nodes[node], &RedisCluster::stream(stream));
        producer.send(&facts::many(10));
        producer.wait_acknowledged();
    }
}

/// The page that holds everything that stands in these streams.
fn settled(exporter: &Exporter, streams: &[(usize, usize)], cluster: &RedisCluster) -> Exposition {
    assert_flows(cluster, streams);
    let (stream, node) = streams[0];
    exporter.scrape_after(&mut Producer::on(&cluster.nodes[node], &RedisCluster::stream(stream)))
}

fn redis_state(app: &App) -> String {
    app.get("/api/v1/health").unwrap().json()["services"]["redis"]["state"].as_str().unwrap().to_owned()
}

#[test]
fn nodes_that_fall_stand_still_or_hand_over_a_slot_lose_and_double_nothing() {
    let mut cluster = RedisCluster::start();
    let mut exporter = exporter(&cluster, &[0, 1, 2]);
    let mut apps = apps(&cluster);
    assert_eq!(redis_state(&apps[0]), "up");
    let mut answers = spread(&cluster, &mut apps);
    let before = exporter.scrape_until("all runs are counted", |page| analyses(page) >= answers.len() as f64);
    let load = Load::on(&apps);

    // A node that loses everything.
    let connections = |page: &Exposition, stream: usize| {
        let stream = RedisCluster::stream(stream);
        page.counter("techsapo_exporter_redis_connections_total").with("stream", &stream).total()
    };
    cluster.nodes[0].kill_9();
    cluster.nodes[0].start_again();
    cluster.wait_whole();
    exporter.scrape_until("the node that came back is read", |page| {
        connections(page, 0) > connections(&before, 0)
    });

    // A slot that moves. While its keys have gone and it has not, nobody can use it.
    let moved = RedisCluster::stream(1);
    let mut producer = Producer::on(&cluster.nodes[1], &moved);
    producer.send(&facts::many(3));
    cluster.move_slot(&moved, 1, 2, || assert_flows(&cluster, &[(0, 0), (2, 2)]));
    producer.reconnect(&cluster.nodes[2]);
    producer.send(&facts::many(3));
    producer.wait_acknowledged();

    // A node that stands still: the streams of the others flow.
    cluster.nodes[0].pause();
    assert_flows(&cluster, &[(1, 2), (2, 2)]);
    wait::until_true("the app notices", || redis_state(&apps[0]) == "down");
    cluster.nodes[0].resume();
    cluster.wait_whole();
    wait::until_true("the app notices", || redis_state(&apps[0]) == "up");

    answers.extend(load.end());
    exporter.scrape_until("everything is counted", |page| analyses(page) >= answers.len() as f64);
    exporter.wait_ready();
    let page = settled(&exporter, &[(0, 0), (1, 2), (2, 2)], &cluster);
    page.never_decreased_since(&before);
    assert_counted(&[page], &answers);
}

#[test]
fn two_exporters_that_share_the_streams_out_count_everything_together() {
    let cluster = RedisCluster::start();
    let exporters = [exporter(&cluster, &[0, 1]), exporter(&cluster, &[2])];
    let mut apps = apps(&cluster);
    let mut answers = spread(&cluster, &mut apps);
    answers.extend(ask(&apps[0], 10));
    answers.extend(ask(&apps[1], 10));
    wait::until_true("everything is counted", || {
        exporters.iter().map(|exporter| analyses(&exporter.scrape())).sum::<f64>() >= answers.len() as f64
    });
    let pages =
        [settled(&exporters[0], &[(0, 0), (1, 1)], &cluster), settled(&exporters[1], &[(2, 2)], &cluster)];
    assert!(pages.iter().all(|page| analyses(page) > 0.0), "each has a part of it");
    assert_counted(&pages, &answers);
}

#[test]
fn the_memory_of_all_masters_is_added_up() {
    let cluster = RedisCluster::start();
    let exporter = exporter(&cluster, &[0, 1, 2]);
    let all: u64 = cluster
        .nodes
        .iter()
        .map(|node| {
            let info: String = node.cli(&["INFO", "memory"]);
            let rss = info.lines().find_map(|line| line.strip_prefix("used_memory_rss:"));
            rss.unwrap().trim().parse::<u64>().unwrap()
        })
        .sum();
    let shown = exporter.scrape_until("the memory is sampled", |page| {
        !page.gauge("techsapo_memory_usage_bytes").with("component", "redis").samples().is_empty()
    });
    let shown = shown.gauge("techsapo_memory_usage_bytes").with("component", "redis").total();
    // It grows and shrinks a little between two looks; one node by itself has a third.
    assert!((0.7..1.3).contains(&(shown / all as f64)), "{shown} of {all}");
}

#[test]
fn streams_without_a_hash_tag_are_refused_with_a_word_on_what_to_write() {
    let cluster = RedisCluster::start();
    let mut exporter = Exporter::of(&cluster.nodes[0]).redis_url(&cluster.url()).spawn();
    assert_eq!(exporter.process.wait_exit().code(), Some(2));
    exporter.wait_log("write techsapo:events:{0} instead of techsapo:events");
    let mut app = App::of(&cluster.nodes[0]).set("TECHSAPO_REDIS_URL", &cluster.url()).spawn();
    assert!(!app.process.wait_exit().success());
    let log = app.process.log();
    assert!(log.contains("write techsapo:events:{0} instead of techsapo:events"), "{log}");
}
