//! What stands between a caller and the work, and between the work and what it depends on.
//!
//! * [`breaker`]: stops asking what keeps failing, and lets one probe find out when it is well again.
//!
//! What decides is pure: state and time come in as values, so that tables and random input test it. Doors (Redis, files,
//! HTTP) are elsewhere or at the edge of a module.

pub mod breaker;
