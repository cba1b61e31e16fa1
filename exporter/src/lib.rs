//! The exporter: reads the stream of events, counts each exactly once, makes the sums durable and serves them.
//!
//! `main.rs` joins the rooms. [`catalog`] is the table of metrics; [`apply`], [`state`], [`series`], [`window`],
//! [`budget`], [`gauges`], [`render`] and [`turn`] are pure; [`reader`], [`acknowledge`], [`checkpoint`], [`samplers`]
//! and [`http`] are the doors to Redis, disk, host and network; [`pipeline`] is the order in which it all happens. [`cli`],
//! [`flags`] and [`url_file`] are what it is told. [`tools`] are for people and for what watches the process: they look, and change nothing.

pub mod acknowledge;
pub mod apply;
pub mod budget;
pub mod catalog;
pub mod checkpoint;
pub mod cli;
pub mod flags;
pub mod gauges;
pub mod http;
pub mod live;
pub mod own;
pub mod pipeline;
pub mod reader;
pub mod render;
pub mod samplers;
pub mod series;
pub mod state;
pub mod tools;
pub mod turn;
pub mod url_file;
pub mod web;
pub mod window;
