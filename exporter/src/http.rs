//! The exporter's five pages: `/metrics`, `/live` (the key figures as JSON), `/`, `/-/healthy`, `/-/ready`.
//!
//! Where the web configuration names users, all but the last two want a password: those say nothing, and are asked by
//! programs that have none.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use techsapo_tls::ClientTls;
use tracing::error;

use crate::checkpoint;
use crate::live::live;
use crate::own::Own;
use crate::pipeline::{Served, Serving};
use crate::render::{self, View, render};
use crate::samplers::Latest;
use crate::web::Web;

/// What the pages are made from.
pub struct Pages {
    /// What may be served.
    pub served: Served,
    /// What the samplers saw.
    pub latest: Latest,
    /// The exporter's own figures.
    pub own: Arc<Own>,
    /// Path of the metrics page.
    pub telemetry_path: String,
    /// How they are served.
    pub web: Web,
    /// The certificates that the exporter itself shows to servers.
    pub tls: ClientTls,
}

impl Pages {
    /// What may be served now. That a lease has run out is noticed here, for the pipeline may hang.
    fn serving(&self) -> Serving {
        let serving = self.served.get();
        self.own.leader.set(f64::from(u8::from(serving.leader)));
        if serving.has_lapsed() {
            self.own.set_ready(Err("its lease on the state has run out"));
        }
        serving
    }

    fn why_not_ready(&self) -> Option<String> {
        self.serving();
        self.own.why_not_ready()
    }
}

type Page = Response<Full<Bytes>>;

/// Path of the key figures.
const LIVE: &str = "/live";
/// Pages that want no password.
const OPEN: [&str; 2] = ["/-/healthy", "/-/ready"];

/// A page that is made from the state.
#[derive(Clone, Copy)]
enum Figures {
    /// All of them, in Prometheus' format.
    Metrics { gzip: bool },
    /// The key figures, as JSON.
    Live,
}

/// Answers a request, if it is let in.
pub(crate) async fn answer(pages: Arc<Pages>, request: Request<Incoming>) -> Result<Page, Infallible> {
    let settings = pages.web.settings();
    let is_open = OPEN.contains(&request.uri().path());
    let mut page = if is_open || settings.admits(request.headers().get(AUTHORIZATION)).await {
        page(&pages, &request).await
    } else {
        let mut page = text(StatusCode::UNAUTHORIZED, "a user and a password are wanted here\n");
        page.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        page
    };
    settings.add_headers(page.headers_mut());
    Ok(page)
}

async fn page(pages: &Arc<Pages>, request: &Request<Incoming>) -> Page {
    let path = request.uri().path();
    let known = [&pages.telemetry_path, LIVE, "/", "/-/healthy", "/-/ready"].contains(&path);
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut page = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
        page.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return page;
    }
    match path {
        _ if path == pages.telemetry_path => {
            from_state(pages.clone(), Figures::Metrics { gzip: accepts_gzip(request) }).await
        }
        LIVE => from_state(pages.clone(), Figures::Live).await,
        "/" => landing(&pages.telemetry_path),
        "/-/healthy" => text(StatusCode::OK, "healthy\n"),
        "/-/ready" => match pages.why_not_ready() {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {why}\n")),
        },
        _ => text(
            StatusCode::NOT_FOUND,
            &format!("nothing here; the metrics are at {}\n", pages.telemetry_path),
        ),
    }
}

/// Decoding and writing a large state takes milliseconds: not on a thread that others wait for.
async fn from_state(pages: Arc<Pages>, figures: Figures) -> Page {
    match tokio::task::spawn_blocking(move || write_figures(&pages, figures)).await {
        Ok(page) => page,
        Err(error) => {
            error!(%error, "the page could not be written");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written; see the log\n")
        }
    }
}

fn write_figures(pages: &Pages, figures: Figures) -> Page {
    if matches!(figures, Figures::Metrics { .. }) {
        pages.own.scrapes.inc();
        pages.own.certificates(pages.web.certificate(), &pages.tls);
    }
    let serving = pages.serving();
    let state = match serving.checkpoint.as_ref().map(|bytes| checkpoint::decode(bytes)).transpose() {
        Ok(state) => state,
        Err(why) => {
            // These bytes were encoded by this very process.
            error!("the served checkpoint cannot be read: {why}");
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the state cannot be read; see the log\n");
        }
    };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let samples = pages.latest.get();
    let own = pages.own.samples(now_ms);
    let view = View { leader: serving.leader, state: state.as_ref(), samples: &samples, own: &own, now_ms };
    let response = Response::builder();
    let response = match figures {
        Figures::Live => {
            let response =
                response.header(CONTENT_TYPE, "application/json").header(CACHE_CONTROL, "no-store");
            response.body(Full::from(live(&view)))
        }
        Figures::Metrics { gzip } => {
            let response =
                response.header(CONTENT_TYPE, render::CONTENT_TYPE).header(VARY, "Accept-Encoding");
            let page = render(&view).into_bytes();
            match gzip.then(|| compress(&page)) {
                Some(Ok(small)) => response.header(CONTENT_ENCODING, "gzip").body(Full::from(small)),
                _ => response.body(Full::from(page)),
            }
        }
    };
    response.unwrap_or_default()
}

fn compress(page: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(page.len() / 8), Compression::fast());
    encoder.write_all(page)?;
    encoder.finish()
}

/// Whether `Accept-Encoding` names gzip without forbidding it (`q=0`).
fn accepts_gzip(request: &Request<Incoming>) -> bool {
    let values = request.headers().get_all(ACCEPT_ENCODING);
    let mut codings =
        values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let forbidden = parts.any(|part| {
            part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q == 0.0)
        });
        gzip && !forbidden
    })
}

fn text(status: StatusCode, message: &str) -> Page {
    let mut page = Response::new(Full::from(message.to_owned()));
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    page
}

fn landing(telemetry_path: &str) -> Page {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>TechSapo Exporter</title>\n\
         <h1>TechSapo Exporter</h1>\n<p>Version {version}</p>\n<ul>\n\
         <li><a href=\"{telemetry_path}\">Metrics</a></li>\n<li><a href=\"{LIVE}\">Key figures</a></li>\n\
         <li><a href=\"/-/healthy\">Healthy</a></li>\n<li><a href=\"/-/ready\">Ready</a></li>\n</ul>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
    );
    let mut page = Response::new(Full::from(html));
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    page
}
