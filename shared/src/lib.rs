//! The contract between everything that produces TechSapo's events and the exporter that measures them.
//!
//! * [`labels`]: every closed list of label values, spelled once.
//! * [`event`]: the facts themselves, with their units and bounds.
//! * [`audit`]: what an analysis says beside them, for the app's own audit.
//! * [`wire`]: how a batch of events stands in a Redis stream, and the keys around that stream.
//! * [`own_address`]: where a process is reached from its own host; no part of the contract, but the same for both processes.
//!
//! [`encode`] and `decode` write an event as its line, and read a line that is written so, faster than serde and to the same
//! effect.
//!
//! A contract has no runtime: this crate does no I/O, reads no clock and knows neither Redis' client nor a metric's
//! name. `shared/event.schema.json` is generated from [`event::Event`] for producers in other languages.

pub mod audit;
mod decode;
mod encode;
pub mod event;
pub mod labels;
pub mod own_address;
pub mod wire;

pub use encode::encode;

#[cfg(test)]
mod schema;
