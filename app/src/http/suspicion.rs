//! States what looks like an attack: `anomaly` and `input_sanitization` facts. Nothing is refused here.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use techsapo_shared::event::{Anomaly, Event, InputSanitization};
use techsapo_shared::labels::{AnomalyType, SanitizationType};

use super::App;
use super::error::ApiError;
use crate::clock;
use crate::guard::anomaly::{Watcher, is_probe};
use crate::guard::caller::{Account, Caller};
use crate::guard::sanitise::Finding;
use crate::telemetry::Recorder;

/// The layer: notices who asks for what only scanners ask for, and bodies that are too large.
pub(super) async fn notice(
    app: &App,
    request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    if is_probe(request.uri().path()) {
        record_anomaly(&app.recorder, AnomalyType::SensitiveAccess);
    }
    let response = next(request).await;
    if response.extensions().get::<ApiError>().is_some_and(ApiError::is_too_large) {
        record_anomaly(&app.recorder, AnomalyType::OversizedPayload);
        let kind = SanitizationType::Oversized;
        record_findings(&app.recorder, &[Finding { kind, blocked: true }]);
    }
    response
}

/// States that something unusual was seen.
pub(super) fn record_anomaly(recorder: &Recorder, kind: AnomalyType) {
    recorder.record(&Event::Anomaly(Anomaly { t: clock::unix_ms(), kind }));
}

/// States what was found in a text.
pub(super) fn record_findings(recorder: &Recorder, findings: &[Finding]) {
    for &Finding { kind, blocked } in findings {
        recorder.record(&Event::InputSanitization(InputSanitization { t: clock::unix_ms(), kind, blocked }));
    }
}

/// Follows what callers do.
pub struct Suspicion {
    began: Instant,
    /// Makes numbers of networks.
    hasher: RandomState,
    watcher: Mutex<Watcher<Account>>,
}

impl Default for Suspicion {
    fn default() -> Self {
        Self { began: Instant::now(), hasher: RandomState::new(), watcher: Mutex::default() }
    }
}

impl Suspicion {
    /// Takes in that a caller asks.
    pub(super) fn request(&self, caller: &Caller, recorder: &Recorder) {
        let account = caller.account();
        let network = match account {
            Account::Key(_) => Some(self.hasher.hash_one(caller.client().network())),
            // An address is in one network.
            Account::Address(_) => None,
        };
        let now_ms = clock::micros(self.began.elapsed()) / 1_000;
        let found = {
            let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
            watcher.request(&account, network, now_ms)
        };
        for kind in found {
            tracing::warn!(caller = caller.name(), kind = %kind, "Unusual behaviour");
            record_anomaly(recorder, kind);
        }
    }
}
