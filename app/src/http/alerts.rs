//! `GET /api/v1/alerts`: the alerts that fire now, as Alertmanager tells them, for the live page.
//!
//! Without `alertmanager.url` it says so, and while Alertmanager cannot be asked why; neither is an error of this app.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Json};
use serde::{Deserialize, Serialize};
use techsapo_tls::ClientTls;

use super::App;
use super::neighbour::Neighbour;

/// Those that are neither silenced nor inhibited.
const FIRING: &str = "/api/v2/alerts?active=true&silenced=false&inhibited=false";
/// Most alerts that are shown.
const MOST: usize = 100;

/// Asks Alertmanager, if there is one.
#[derive(Debug, Clone)]
pub struct Alerts(Option<Neighbour>);

impl Alerts {
    /// Of the Alertmanager at `url`, if one is named.
    ///
    /// # Errors
    /// Says why no client can be made.
    pub fn new(url: Option<&str>, tls: &ClientTls) -> Result<Self, reqwest::Error> {
        url.map(|url| Neighbour::new(url, tls)).transpose().map(Self)
    }

    async fn firing(&self) -> Answer {
        let Some(neighbour) = &self.0 else { return Answer { configured: false, ..Answer::default() } };
        match neighbour.json::<Vec<Told>>(FIRING).await {
            Ok(told) => {
                let mut alerts: Vec<_> = told.into_iter().map(Alert::from).collect();
                // One without a priority is nobody's first concern.
                alerts.sort_by(|a, b| a.urgency().cmp(&b.urgency()));
                alerts.truncate(MOST);
                Answer { configured: true, alerts, reason: None }
            }
            Err(reason) => Answer { configured: true, reason: Some(reason), ..Answer::default() },
        }
    }
}

/// The handler.
pub(super) async fn list(State(app): State<Arc<App>>) -> impl IntoResponse {
    Json(app.alerts.firing().await)
}

/// What is answered.
#[derive(Debug, Default, Serialize)]
struct Answer {
    /// Whether there is an Alertmanager to ask.
    configured: bool,
    /// Most urgent first, then oldest.
    alerts: Vec<Alert>,
    /// Why Alertmanager cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// An alert that fires.
#[derive(Debug, PartialEq, Serialize)]
struct Alert {
    name: String,
    severity: String,
    priority: String,
    summary: String,
    runbook_url: String,
    since: String,
}

impl Alert {
    fn urgency(&self) -> (bool, &str, &str) {
        (self.priority.is_empty(), &self.priority, &self.since)
    }
}

/// An alert as Alertmanager's API (version 2) writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    labels: Labels,
    annotations: Annotations,
    starts_at: String,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    alertname: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    priority: String,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(default)]
    summary: String,
    #[serde(default)]
    runbook_url: String,
}

impl From<Told> for Alert {
    fn from(told: Told) -> Self {
        Self {
            name: told.labels.alertname,
            severity: told.labels.severity,
            priority: told.labels.priority,
            summary: told.annotations.summary,
            runbook_url: told.annotations.runbook_url,
            since: told.starts_at,
        }
    }
}
