//! The six dashboards as data, and the writer of the JSON that Grafana reads.
//!
//! Each dashboard is a file of panels: title, what it says (in English and Japanese), unit, queries. [`json`] knows how
//! Grafana wants it; [`parts`] holds the pieces of PromQL that several panels share. The files in `grafana/dashboards/`
//! are generated from this; the tests compare them, hold every query against the exporter's catalogue, and (in the
//! workspace's tests) run every query on a live system.

pub mod ask;
mod cost;
mod development;
mod executive;
mod json;
mod llm;
mod main_system;
pub mod model;
mod operations;
mod parts;

pub use model::{Dashboard, Folder};

/// All dashboards, in the order in which they stand in the links between them.
pub fn dashboards() -> Vec<Dashboard> {
    vec![
        main_system::dashboard(),
        executive::dashboard(),
        operations::dashboard(),
        llm::dashboard(),
        cost::dashboard(),
        development::dashboard(),
    ]
}
