//! `GET /api/v1/openapi.json`: the API's description, OpenAPI 3.1, kept by hand in `data/openapi.json`.
//!
//! What keeps it true: a test here compares its paths with those that are served; every response that the tests of the HTTP
//! door see is held against it; and a tool tries what it describes on the real program.

use axum::http::header;
use axum::response::IntoResponse;

const DOCUMENT: &str = include_str!("../../data/openapi.json");

/// The handler.
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::routes;
    use super::DOCUMENT;

    #[test]
    fn every_path_that_is_served_is_described_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let described: BTreeSet<_> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let served: BTreeSet<_> = routes().iter().map(|(path, _)| *path).collect();
        assert_eq!(described, served);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
