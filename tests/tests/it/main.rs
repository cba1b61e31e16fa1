//! Tests on real servers, in one binary so that they link once.
#![allow(clippy::unwrap_used)] // What goes wrong here fails the test, and that is what a panic does.

mod answers;
mod app_start;
mod architecture;
mod audit;
mod backup;
mod budget;
mod certificates;
mod compose;
mod contract;
mod dashboards;
mod documents;
mod encryption;
mod end_to_end;
mod healthcheck;
mod limits;
mod logs;
mod metrics;
mod moves;
mod node_example;
mod openapi;
mod outages;
mod page;
mod pipeline;
mod pm2;
mod production;
mod replicas;
mod rules;
mod start_script;
mod status;
mod store;
mod systemd;
mod telemetry_off;
mod tls;
mod tools;
mod topologies;
