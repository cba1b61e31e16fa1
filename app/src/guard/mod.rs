//! What stands between a caller and the work, and between the work and what it depends on.
//!
//! * [`address`]: where a request came from, and how little of that is told.
//! * [`anomaly`]: behaviour that deserves a person's look.
//! * [`breaker`]: stops asking what keeps failing, and lets one probe find out when it is well again.
//! * [`budget`]: how much money may be spent.
//! * [`caller`]: who is asking, as handlers know it.
//! * [`host`]: by which name it is asked for.
//! * [`keys`]: who may ask, and for how much.
//! * [`limits`]: how many requests a minute.
//! * [`provider`]: a provider behind its breaker.
//! * [`sanitise`]: what is taken out of a text, or refused for it.
//!
//! What decides is pure: state and time come in as values, so that tables and random input test it. Doors (Redis, files,
//! HTTP) are elsewhere or at the edge of a module.

pub mod address;
pub mod anomaly;
pub mod breaker;
pub mod budget;
pub mod caller;
pub mod host;
pub mod keys;
pub mod limits;
pub mod provider;
pub mod sanitise;
