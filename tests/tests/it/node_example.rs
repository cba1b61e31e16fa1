//! The producer in Node.js (`examples/nodejs`), a small Express app: its requests are counted exactly, though Redis goes and comes
//! back empty meanwhile, and its runtime is seen.

use std::path::PathBuf;
use std::process::Command;

use techsapo_tests::{Exporter, Exposition, Process, RedisServer, free_port, http, repository, wait};
use tempfile::TempDir;

const INSTANCE: &str = "shop-1";

/// Where `scripts/test.sh` puts what the example needs of npm.
fn modules() -> PathBuf {
    let folder = std::env::var_os("TECHSAPO_NODE_EXAMPLE")
        .map_or_else(|| repository::root().join("target/node-example"), PathBuf::from);
    let modules = folder.join("node_modules");
    assert!(
        modules.join("express").is_dir(),
        "{} is missing: ./scripts/test.sh installs it",
        modules.display()
    );
    modules
}

struct Shop {
    process: Process,
    url: String,
    _folder: TempDir,
}

impl Shop {
    fn start(redis: &RedisServer) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let mut command = Command::new("node");
        command.arg(repository::root().join("examples/nodejs/app.js")).env("NODE_PATH", modules());
        command.env("REDIS_URL", redis.url()).env("PORT", port.to_string()).env("INSTANCE", INSTANCE);
        let process = Process::start("shop", folder.path(), &mut command);
        let shop = Self { process, url: format!("http://127.0.0.1:{port}"), _folder: folder };
        wait::until_true("the shop answers", || http::get(&shop.url("/nothing")).is_ok());
        shop
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn orders(&self, count: usize) {
        for number in 0..count {
            assert_eq!(http::get(&self.url(&format!("/orders/{number}"))).unwrap().status, 200);
        }
    }
}

fn orders(page: &Exposition) -> f64 {
    page.counter("techsapo_http_requests_total")
        .with("route", "/orders/:id")
        .with("status_code", "200")
        .total()
}

#[test]
fn an_express_app_is_counted_exactly_and_its_runtime_is_seen() {
    let mut redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let mut shop = Shop::start(&redis);
    assert_eq!(http::get(&shop.url("/report")).unwrap().status, 200);
    shop.orders(20);
    let runtime = exporter.scrape_until("the shop's runtime and its orders are known", |page| {
        let of = |name: &str| page.gauge(name).with("app_instance", INSTANCE).total();
        let seen = |name: &str| page.observations(name).with("app_instance", INSTANCE).total();
        orders(page) >= 20.0
            && of("nodejs_heap_size_total_bytes") > 0.0
            && seen("nodejs_eventloop_lag_seconds") > 0.0
            && seen("nodejs_gc_duration_seconds") > 0.0
    });
    let heap = |name: &str| runtime.gauge(name).with("app_instance", INSTANCE).total();
    assert!(heap("nodejs_heap_size_used_bytes") <= heap("nodejs_heap_size_total_bytes"));

    // While Redis is away, and back without anything that it knew.
    redis.kill_9();
    shop.orders(15);
    redis.lose_data();
    redis.start_again();
    shop.orders(5);
    let _: () = redis.cli(&["FLUSHALL"]);
    shop.orders(10);
    assert!(shop.process.sigterm().success(), "it ends when all that it stated is durable");
    let page = exporter.scrape_until("every order is counted", |page| orders(page) >= 50.0);
    assert_eq!(orders(&page), 50.0);
    for refused in ["rejected_events", "rejected_batches", "lost_events", "dropped"] {
        let name = format!("techsapo_telemetry_{refused}_total");
        assert_eq!(page.counter(&name).total(), 0.0, "{name}");
    }
}
