//! Redis by TLS: a server, a cluster and a master behind a sentinel, each of which wants a certificate of its clients.

use std::process::Command;

use serde_json::json;
use techsapo_tests::{
    App, Authority, Exporter, Identity, Process, Producer, RedisServer, facts, free_port, wait,
};
use tempfile::TempDir;

const ANALYSES: &str = "techsapo_wallbounce_requests_total";

/// `rediss://127.0.0.1:1/` for a user.
fn as_user(url: &str, user: &str) -> String {
    url.replace("rediss://", &format!("rediss://{user}@"))
}

#[test]
fn app_and_exporter_meet_at_a_redis_that_wants_certificates_and_users() {
    let authority = Authority::new("TechSapo test CA");
    let redis = RedisServer::with_tls(&authority, &[]);
    // The least that each of them needs, and a password that wants to be written with care.
    let rights = ["~techsapo:*", "+@all", "-@dangerous", "+info"];
    for user in ["app", "exporter"] {
        redis.cli::<()>(&[&["ACL", "SETUSER", user, "on", ">p@ss:word"][..], &rights].concat());
    }
    redis.cli::<()>(&["ACL", "SETUSER", "default", "off"]);
    let ca = authority.ca_file();
    let exporter = Exporter::of(&redis)
        .redis_url(&as_user(&redis.url(), "exporter:p%40ss%3Aword"))
        .tls(&ca, &authority.issue("exporter", &[]))
        .start();
    let app = App::of(&redis)
        .set("TECHSAPO_REDIS_URL", &as_user(&redis.url(), "app:p%40ss%3Aword"))
        .set("TECHSAPO_CACHE_ENABLED", "true")
        .tls(&ca, &authority.issue("app", &[]))
        .start();
    for _ in 0..3 {
        app.generate("Does this go by TLS?", "basic").unwrap();
    }
    exporter.scrape_until("three analyses are counted", |page| page.counter(ANALYSES).total() == 3.0);
    let page = exporter.scrape();
    // The store's own connection, another kind of client.
    assert!(page.counter("techsapo_redis_operations_total").with("status", "success").total() > 0.0);
    assert_eq!(page.counter("techsapo_redis_operations_total").with("status", "error").total(), 0.0);
    // The sampler's too.
    page.gauge("techsapo_memory_usage_bytes").with("component", "redis").one();
}

#[test]
fn who_is_not_trusted_is_told_so_and_a_renewed_certificate_is_used_at_once() {
    let authority = Authority::new("TechSapo test CA");
    let stranger = Authority::new("stranger");
    let redis = RedisServer::with_tls(&authority, &[]);
    Producer::new(&redis).send(&[facts::event("cache_lookup", &json!({}))]);
    let expired =
        Exporter::of(&redis).tls(&authority.ca_file(), &authority.issue_expired("exporter", &[])).spawn();
    let mistrusting =
        Exporter::of(&redis).tls(&stranger.ca_file(), &authority.issue("exporter", &[])).spawn();
    let own = stranger.issue("exporter", &[]);
    let mut renewed = Exporter::of(&redis).tls(&authority.ca_file(), &own).spawn();
    mistrusting.wait_log("UnknownIssuer");
    for refused in [&expired, &renewed] {
        // (The server's words of a certificate that it does not like differ by its version.)
        refused.wait_log("Redis cannot be asked");
    }
    for exporter in [&expired, &mistrusting, &renewed] {
        assert!(exporter.get("/-/ready").is_ok_and(|answer| answer.status == 503));
    }
    authority.issue("exporter", &[]).replace(&own);
    renewed.wait_ready();
    assert!(!renewed.process.log().contains("PRIVATE"));
}

/// Whatever stands in the stream is read over this way.
fn is_read(url: &str, redis: &RedisServer, stream: &str, authority: &Authority) {
    let exporter = Exporter::of(redis)
        .redis_url(url)
        .stream(stream)
        .tls(&authority.ca_file(), &authority.issue("exporter", &[]))
        .start();
    let mut producer = Producer::on(redis, stream);
    producer.send(&[facts::event("analysis", &json!({})), facts::event("analysis", &json!({}))]);
    assert_eq!(exporter.scrape_after(&mut producer).counter(ANALYSES).total(), 2.0, "{url}");
}

#[test]
fn a_cluster_s_node_is_found_by_tls() {
    let authority = Authority::new("TechSapo test CA");
    let redis = RedisServer::with_tls(&authority, &["--cluster-enabled", "yes", "--tls-cluster", "yes"]);
    redis.cli::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    wait::until_true("the cluster is there", || {
        redis.cli::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    });
    let url = format!("rediss+cluster://127.0.0.1:{}", redis.port());
    is_read(&url, &redis, "techsapo:events:{0}", &authority);
}

#[test]
fn a_sentinel_and_its_master_are_asked_by_tls() {
    let authority = Authority::new("TechSapo test CA");
    let redis = RedisServer::with_tls(&authority, &[]);
    let sentinel = Sentinel::of(&redis, &authority);
    let url = format!("rediss+sentinel://127.0.0.1:{}/techsapo", sentinel.port);
    is_read(&url, &redis, "techsapo:events", &authority);
}

/// One that watches a master by TLS, and is asked by TLS.
struct Sentinel {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Sentinel {
    fn of(master: &RedisServer, authority: &Authority) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let Identity { cert, key } = authority.issue("sentinel", &["127.0.0.1"]);
        let settings = format!(
            "bind 127.0.0.1\nport 0\ntls-port {port}\ndir {}\ntls-cert-file {}\ntls-key-file {}\n\
             tls-ca-cert-file {}\ntls-auth-clients yes\ntls-replication yes\n\
             sentinel monitor techsapo 127.0.0.1 {} 1\n",
            folder.path().display(),
            cert.display(),
            key.display(),
            authority.ca_file().display(),
            master.port()
        );
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("redis-server");
        let process = Process::start("sentinel", folder.path(), command.arg(&file).arg("--sentinel"));
        Self { port, _process: process, _folder: folder }
    }
}
