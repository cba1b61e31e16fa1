//! What the app keeps outside itself, and reads from outside. Telemetry's way to Redis is another one.
//!
//! * [`redis`]: one connection for limits, cached answers and the like; a Redis that is away costs a request nothing.
//! * [`answers`]: answers that are given again.
//! * [`audit`]: who asked what and what came of it, in MySQL; off without its settings.
//! * [`drive`]: documents of Google Drive, kept in memory and searched there; off without its settings.

pub mod answers;
pub mod audit;
pub mod drive;
pub mod redis;
