//! The HTTP door: routes, what they take and give, and the rules that hold for all of them.
//!
//! Every response passes, from the inside out, through `limits` (how much), `access` (who may ask), `request_id` (a request has an id; an
//! error has one shape) and `observe` (a response is a fact, recorded before its last byte leaves). `server` owns the connections.

mod access;
mod alerts;
mod analyse;
mod analyze_logs;
mod answered;
mod asked;
mod body;
mod budget;
mod cache;
mod description;
mod documents;
mod error;
mod exporter;
mod form;
mod generate;
mod health;
mod idle;
mod limits;
mod live;
mod neighbour;
mod observe;
mod page;
mod ready;
mod request_id;
mod sanitise;
mod server;
mod session;
mod suspicion;
mod wall_bounce;
mod wire;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Router, middleware};
use techsapo_shared::event::Event;
use techsapo_shared::labels::RouteKind;

pub use alerts::Alerts;
pub use exporter::ExporterClient;
pub use health::HealthChecks;
pub use live::LiveFigures;
pub use server::Server;
pub use suspicion::Suspicion;

use crate::analysis::{Admission, Analyzer};
use crate::config::Settings;
use crate::guard::breaker::Breakers;
use crate::guard::budget::Budget;
use crate::guard::keys::Keys;
use crate::guard::limits::Limits;
use crate::guard::sanitise::Sanitiser;
use crate::pseudonym::Pseudonyms;
use crate::runtime::{Connections, Sampler};
use crate::shutdown::Shutdown;
use crate::store::answers::Answers;
use crate::store::audit::AuditStatus;
use crate::store::drive::Drive;
use crate::telemetry::Recorder;
use crate::turnstile::Turnstile;
use error::ApiError;

/// What the handlers work with.
pub struct App {
    /// All settings.
    pub settings: Settings,
    /// Makes analyses.
    pub analyzer: Analyzer,
    /// Knows what was answered before.
    pub answers: Answers,
    /// Decides how many analyses run at once.
    pub admission: Arc<Admission>,
    /// Decides in which order requests are made ready; the analyzer's, too.
    pub turnstile: Turnstile,
    /// Takes facts.
    pub recorder: Recorder,
    /// Says what this instance holds at the moment.
    pub sampler: Sampler,
    /// Asks the exporter.
    pub exporter: ExporterClient,
    /// Asks Alertmanager.
    pub alerts: Alerts,
    /// Knows who is there.
    pub health: HealthChecks,
    /// Know which services are left alone.
    pub breakers: Breakers,
    /// Pays.
    pub budget: Budget,
    /// Knows who may ask.
    pub keys: Keys,
    /// The key figures, for those who watch them.
    pub live: LiveFigures,
    /// What is open.
    pub connections: Connections,
    /// The end of the process.
    pub shutdown: Shutdown,
    /// Knows how much callers may ask.
    pub limits: Limits,
    /// Looks at what callers write.
    pub sanitiser: Sanitiser,
    /// Follows what callers do.
    pub suspicion: Suspicion,
    /// Names for users that tell nothing about them.
    pub pseudonyms: Pseudonyms,
    /// How the audit is; nothing where there is none.
    pub audit: Option<AuditStatus>,
    /// Documents to search; nothing where there are none.
    pub documents: Option<Drive>,
    /// When this instance began.
    pub started: Instant,
}

/// Paths that tell how things are; everything else under [`API`] does what the product is for.
const PROBES: [&str; 6] = ["/health", HEALTH, ALERTS, "/ping", MONITORING[0], MONITORING[1]];
/// Paths that tell what is measured.
const MONITORING: [&str; 2] = ["/metrics", "/internal/status"];
/// Answers questions.
const GENERATE: &str = "/api/v1/generate";
/// Tells how every service is.
const HEALTH: &str = "/api/v1/health";
/// Tells which alerts fire.
const ALERTS: &str = "/api/v1/alerts";
/// Describes the API. It is public.
const DESCRIPTION: &str = "/api/v1/openapi.json";
/// Paths whose responses last as long as the caller likes.
const STREAMS: [&str; 3] = ["/api/v1/metrics/stream", "/api/v1/wall-bounce/analyze", SOCKET];
/// The live figures by WebSocket.
const SOCKET: &str = "/ws/metrics";
/// Where the API's paths begin.
const API: &str = "/api/v1/";
/// The route of a request that matched none.
const UNMATCHED: &str = "unmatched";

/// Every path with its handlers. What is added here stands in the description too (`data/openapi.json`): a test compares.
fn routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        (GENERATE, post(generate::generate)),
        ("/api/v1/analyze-logs", post(analyze_logs::analyze_logs)),
        ("/api/v1/rag/search", post(documents::search)),
        (HEALTH, get(health::detail)),
        (ALERTS, get(alerts::list)),
        ("/api/v1/budget", get(budget::state)),
        ("/api/v1/session", post(session::begin).delete(session::end)),
        ("/api/v1/wall-bounce/analyze", get(wall_bounce::events)),
        ("/api/v1/metrics/stream", get(live::events)),
        (DESCRIPTION, get(description::document)),
        (SOCKET, get(live::socket)),
        ("/health", get(health::basic)),
        ("/ping", get(async || "pong")),
        ("/metrics", get(exporter::metrics)),
        ("/internal/status", get(status)),
    ]
}

/// All routes with what holds for each.
pub fn router(app: Arc<App>) -> Router {
    let router =
        routes().into_iter().fold(Router::new(), |router, (path, handlers)| router.route(path, handlers));
    router
        .merge(page::routes())
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), door))
        .with_state(app)
}

/// What holds for every route, from the outside in. One layer for all of it: each layer of its own clones whatever lies within it, for
/// every request.
async fn door(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let app = &app;
    let handle = async |request| next.run(request).await;
    let bound_rate = async |request| limits::bound_rate(app, request, handle).await;
    let admit = async |request| access::admit(app, request, bound_rate).await;
    let bound_head = async |request| limits::bound_head(app, request, admit).await;
    let notice = async |request| suspicion::notice(app, request, bound_head).await;
    let identify = async |request| request_id::identify(request, notice).await;
    observe::observe(app, request, identify).await
}

/// What kind of route a template is.
fn route_kind(route: &str) -> RouteKind {
    if PROBES.contains(&route) {
        RouteKind::Probe
    } else if STREAMS.contains(&route) {
        RouteKind::Stream
    } else if route.starts_with(API) && route != DESCRIPTION {
        RouteKind::Api
    } else {
        RouteKind::Page
    }
}

/// `GET /internal/status`: what this instance holds now, for the exporter, also while Redis is away.
async fn status(State(app): State<Arc<App>>) -> impl IntoResponse {
    Json(Event::RuntimeSample(app.sampler.sample().into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use regex::Regex;

    use super::*;

    /// How alerts, objectives and dashboards write "the API".
    const MATCHER: &str = r#"route=~"/api/.*",route!~"/api/v1/(health|alerts|openapi[.]json)""#;

    /// Else polling would make the API look faster and healthier than callers find it.
    #[test]
    fn alerts_and_dashboards_mean_the_same_api() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut files: Vec<_> = fs::read_dir(repository.join("prometheus/rules"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.extend(["config/scaling/shards.yml", "grafana/src/parts.rs"].map(|file| repository.join(file)));
        let uses = |file: &Path| {
            let text = fs::read_to_string(file).unwrap();
            let uses = text.matches(r#"route=~"/api/"#).count();
            assert_eq!(text.matches(MATCHER).count(), uses, "{} writes it otherwise", file.display());
            uses
        };
        assert!(files.iter().map(|file| uses(file)).sum::<usize>() > 0);

        let written = |operator: &str| {
            let (_, rest) = MATCHER.split_once(operator).unwrap();
            Regex::new(&format!("^(?:{})$", rest.split('"').next().unwrap())).unwrap()
        };
        let (within, without) = (written("=~\""), written("!~\""));
        let measured = |path: &str| matches!(route_kind(path), RouteKind::Api | RouteKind::Stream);
        for (path, _) in routes() {
            let is_api = path.starts_with(API) && measured(path);
            assert_eq!(within.is_match(path) && !without.is_match(path), is_api, "{path}");
        }
    }
}
