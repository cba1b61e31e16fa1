//! The side channel: facts go into a journal at memory speed, and from there to the exporter's stream.
//!
//! * [`journal`]: a memory-mapped ring file per run of the process.
//! * [`shipper`]: a thread that carries records from the journals to Redis and frees what was acknowledged.

pub mod journal;
pub mod shipper;
