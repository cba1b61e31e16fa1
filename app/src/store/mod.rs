//! The app's own stores: what several instances share, and what outlives them. Telemetry's way to Redis is another one.
//!
//! * [`redis`]: one connection for limits and the like; a Redis that is away costs a request nothing.

pub mod redis;
