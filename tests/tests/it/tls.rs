//! TLS with real handshakes: who is let in and who is refused, before and after certificates were renewed.

mod apps;
mod database;
mod redis;
mod site;
mod vendors;
mod web;
