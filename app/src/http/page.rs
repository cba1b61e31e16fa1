//! The live page at `/`: a few static files in the binary, and the rules under which a browser shows them.
//!
//! Everything that the page shows it asks of the API, as any client; so the files are open to everybody and hold nothing.
//! The policy lets the browser load and contact this app alone, run no script that stands in the page itself, and
//! put the page into no frame.

use std::hash::BuildHasher;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rustc_hash::FxBuildHasher;

use super::App;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Debug)]
struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! file {
    ($path:literal, $content_type:expr, $name:literal) => {
        File {
            path: $path,
            content_type: $content_type,
            content: include_str!(concat!("../../page/", $name)),
        }
    };
}

static FILES: [File; 8] = [
    file!("/", HTML, "index.html"),
    file!("/page/page.css", CSS, "page.css"),
    file!("/page/main.js", SCRIPT, "main.js"),
    file!("/page/ask.js", SCRIPT, "ask.js"),
    file!("/page/live.js", SCRIPT, "live.js"),
    file!("/page/dom.js", SCRIPT, "dom.js"),
    file!("/page/words.js", SCRIPT, "words.js"),
    file!("/page/icon.svg", IMAGE, "icon.svg"),
];

/// A route for each file.
pub(super) fn routes() -> Router<Arc<App>> {
    FILES.iter().fold(Router::new(), |router, file| {
        router.route(file.path, get(async move |headers: HeaderMap| file.answer(&headers)))
    })
}

impl File {
    /// The file, unless the browser has it already.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = format!("\"{:016x}\"", FxBuildHasher.hash_one(self.content));
        let known =
            headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
        // Kept by the browser, and asked for at each visit: a new build shows at once.
        let mut told = HeaderMap::from_iter([
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (header::CONTENT_TYPE, HeaderValue::from_static(self.content_type)),
        ]);
        told.extend(HeaderValue::from_str(&tag).map(|tag| (header::ETAG, tag)));
        if known {
            (StatusCode::NOT_MODIFIED, told).into_response()
        } else {
            (told, self.content).into_response()
        }
    }
}
