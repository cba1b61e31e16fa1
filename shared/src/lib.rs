//! The contract between everything that produces TechSapo's events and the exporter that measures them.
//!
//! * [`labels`]: every closed list of label values, spelled once.
//! * [`event`]: the facts themselves, with their units and bounds.
//! * [`audit`]: what an analysis says beside them, for the app's own audit.
//! * [`wire`]: how a batch of events stands in a Redis stream, and the keys around that stream.
//! * [`own_address`]: where a process is reached from its own host; no part of the contract, but the same for both processes.
//!
//! `decode` reads a line that is written as producers write it, faster than serde, to the same event.
//!
//! A contract has no runtime: this crate does no I/O, reads no clock and knows neither Redis' client nor a metric's
//! name. `shared/event.schema.json` is generated from [`event::Event`] for producers in other languages.

pub mod audit;
mod decode;
pub mod event;
pub mod labels;
pub mod own_address;
pub mod wire;

#[cfg(test)]
mod schema;
