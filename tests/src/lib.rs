//! The harness: real servers on free ports of 127.0.0.1, each with its own folder of data, killed when the value that
//! stands for it goes out of scope, its log printed when the test fails.
//!
//! * [`RedisServer`], [`MariaDb`], [`Exporter`], [`App`], [`Prometheus`]: one server each.
//! * [`DriveServer`]: Google Drive and its token endpoint, as strict as Google, with failures to order.
//! * [`RedisCluster`], [`Sentinels`]: several Redis servers that belong together.
//! * [`Authority`]: certificates, right and wrong ones, for whatever speaks TLS.
//! * [`Alertmanager`], and a [`sink`] that notifications arrive at.
//! * [`certificates`]: an authority by the operators' scripts, and servers that speak TLS alone.
//! * [`Namespace`]: a network of a test's own, where production's names and ports can be used.
//! * [`Nginx`]: the way in, on production's own configuration.
//! * [`Browser`]: Chromium, as a user of the live page has it.
//! * [`Backups`]: backups as the scripts make them, and put them back.
//! * [`vendors`]: a server that speaks as the vendors of models do.
//! * [`engine`]: a container engine, and images without a registry.
//! * [`Proxy`]: stands before a server, to be cut off, made slow, listened to or pointed at another.
//! * [`Producer`]: writes batches to a stream by nothing but the public contract, also wrong ones.
//! * [`Exposition`]: a strict reader of metrics pages, with assertions that speak the domain.
//! * [`chaos`]: everything at once, under load, with a ledger.
//! * [`drill`]: something breaks on a real stack, and what that took.
//! * [`Stack`]: what `scripts/start-monitoring.sh` starts, as its users have it.
//! * [`pm2`], [`machine`]: both programs under PM2; a machine that runs systemd.
//! * [`Production`]: the production stack, each part of which can be killed.
//! * [`monitored`]: everything at once, as operators see it: what dashboards are asked of.
//! * [`wait::until`]: waiting with a deadline. No test asserts how long something took.
//!
//! The binaries under test are those of `TECHSAPO_BIN_DIR`; without it they are built once per test process.
#![allow(clippy::unwrap_used)] // What goes wrong in a harness fails the test, and that is what a panic does.

mod alertmanager;
pub mod app;
pub mod authority;
mod backups;
pub mod binaries;
pub mod browser;
pub mod certificates;
pub mod chaos;
pub mod drill;
mod drive;
pub mod engine;
mod exporter;
mod exposition;
pub mod facts;
pub mod http;
pub mod machine;
mod mariadb;
pub mod monitored;
mod namespace;
mod nginx;
pub mod pm2;
mod ports;
mod process;
mod producer;
pub mod production;
mod prometheus;
pub mod proxy;
pub mod random;
mod redis_cluster;
mod redis_server;
pub mod repository;
mod sentinels;
pub mod sink;
mod small_disk;
pub mod stack;
pub mod textfile;
pub mod vendors;
pub mod wait;

pub use alertmanager::Alertmanager;
pub use app::{App, AppSetup, Generated, generate};
pub use authority::{Authority, Identity};
pub use backups::Backups;
pub use browser::Browser;
pub use certificates::Certificates;
pub use drive::{DriveDoor, DriveFault, DriveFile, DriveServer};
pub use exporter::{Exporter, ExporterSetup};
pub use exposition::{Exposition, Family, Sample, Selection};
pub use mariadb::MariaDb;
pub use namespace::Namespace;
pub use nginx::Nginx;
pub use ports::free_port;
pub use process::{Process, stands_still};
pub use producer::Producer;
pub use production::Production;
pub use prometheus::{Later, Prometheus, check_metrics};
pub use proxy::Proxy;
pub use redis_cluster::RedisCluster;
pub use redis_server::RedisServer;
pub use sentinels::Sentinels;
pub use stack::Stack;
