//! The analyzer: asks several providers the same question, compares their answers, returns one with a measured
//! confidence, and states what happened as events. `main.rs` joins the rooms; see ARCHITECTURE.md.

pub mod agreement_command;
pub mod analysis;
mod changes;
pub mod cli;
mod clients;
pub mod clock;
pub mod completions_command;
pub mod config;
mod configured;
pub mod facts;
pub mod guard;
pub mod healthcheck;
pub mod http;
pub mod keys_command;
pub mod log_digest;
pub mod logs;
pub mod mask;
pub mod providers;
pub mod pseudonym;
pub mod reload;
mod retry;
pub mod roster;
pub mod runtime;
pub mod service;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod turnstile;
pub mod watch;
