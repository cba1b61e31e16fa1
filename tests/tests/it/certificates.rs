//! Certificates: made, renewed and changed by the scripts that operators call, and what real servers do with them.
//!
//! * `making`: the authority, a service's certificate, both taken from elsewhere, and a new authority while the old one is trusted.
//! * `renewing`: what is due and what is not, what is told of it, and what a renewal never does.
//! * `bad`: certificates that are not good never replace one that is.
//! * `reloading`: servers are told; those that cannot be are told again.
//! * `scheduling`: the entry of cron and the timer.
//! * `mutual`: servers that know each other, strangers that are refused, and a rotation under load.
//! * `drilled`: the same as a drill.

mod bad;
mod drilled;
mod making;
mod mutual;
mod reloading;
mod renewing;
mod scheduling;
