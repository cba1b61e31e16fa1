//! One API key as it is kept: what may be known of it, and what it opens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use techsapo_shared::labels::{AuthFailureReason, TaskType};

use super::token::Fingerprint;

/// What a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// What the product is for.
    Api,
    /// What watches it: `/metrics` and `/internal/status`.
    Monitor,
}

/// One key, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// What finds it; stands in the key itself.
    pub id: String,
    /// What people and the log call it.
    pub name: String,
    /// Its plan: how many requests a minute, and the most demanding task that it may ask for.
    pub tier: TaskType,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// SHA-256 of the key.
    pub sha256: Fingerprint,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is not taken any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}

impl KeyRecord {
    /// Why it is not taken now, if so.
    pub fn refusal(&self, now: Timestamp) -> Option<AuthFailureReason> {
        if self.revoked.is_some() {
            Some(AuthFailureReason::Revoked)
        } else if self.expires.is_some_and(|at| at <= now) {
            Some(AuthFailureReason::Expired)
        } else {
            None
        }
    }
}
