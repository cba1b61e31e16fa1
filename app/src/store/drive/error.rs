//! Why Google Drive gave nothing: a closed set of kinds, and what is known beside.
//!
//! An error holds words of ours and Google's own reason code, never its free text: that may name documents and accounts.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Token,
    List,
    Read,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "getting a token for the service account",
            Self::List => "listing documents",
            Self::Read => "reading a document",
        })
    }
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It failed too often and is left alone: nothing was sent.
    CircuitOpen,
    /// The key file is not what it was at the start.
    KeyFile,
    /// The account or its key is not accepted, or may not do this.
    Auth,
    /// The token is not accepted; a new one may be.
    TokenRefused,
    /// The day's quota is used up.
    Quota,
    /// Too many requests at the moment.
    RateLimited,
    /// It is not there, or not shared with the account.
    Gone,
    /// This document cannot be had as text.
    Unreadable,
    /// Google failed.
    Unavailable,
    /// No response in time.
    Timeout,
    /// The response is not what Google documents.
    Malformed,
    /// The connection failed.
    Network,
    /// Google does not accept the request.
    Refused,
}

impl Kind {
    /// One word, for counting.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::KeyFile => "key_file",
            Self::Auth => "auth",
            Self::TokenRefused => "token_refused",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::Gone => "not_found",
            Self::Unreadable => "unreadable",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed_response",
            Self::Network => "network",
            Self::Refused => "invalid_request",
        }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::Network)
    }

    /// Whether it tells of one document, and nothing of Drive.
    pub(super) fn is_of_the_document(self) -> bool {
        matches!(self, Self::Gone | Self::Unreadable)
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::CircuitOpen => "Google Drive failed too often and is left alone for a while",
            Self::KeyFile => "the key file of the service account (drive.key_file) cannot be used",
            Self::Auth => {
                "Google does not accept the service account: is its key revoked, and the Drive API enabled in its project?"
            }
            Self::TokenRefused => "Google does not accept the token",
            Self::Quota => "the quota of the service account's project is used up",
            Self::RateLimited => "Google limits the rate of requests",
            Self::Gone => "it is not there, or not shared with the service account (drive.folders)",
            Self::Unreadable => "the document cannot be had as text",
            Self::Unavailable => "Google Drive is unavailable",
            Self::Timeout => "Google Drive did not answer in time (drive.timeout)",
            Self::Malformed => "the response is not what Google documents",
            Self::Network => "the connection failed",
            Self::Refused => "Google does not accept the request",
        }
    }
}

/// Why there is nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {}{}", kind.sentence(), in_brackets(detail))]
pub(super) struct DriveError {
    pub(super) step: Step,
    pub(super) kind: Kind,
    /// More about it, such as the status and Google's reason; or nothing.
    pub(super) detail: Box<str>,
    /// When Google says that asking again makes sense.
    pub(super) retry_after: Option<Duration>,
}

impl DriveError {
    pub(super) fn new(step: Step, kind: Kind, detail: impl Into<Box<str>>) -> Self {
        Self { step, kind, detail: detail.into(), retry_after: None }
    }

    /// What a response of another status than 200 means.
    pub(super) fn refusal(
        step: Step,
        status: StatusCode,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> Self {
        let reason = reason(body);
        let mut detail = format!("HTTP {}", status.as_u16());
        if !reason.is_empty() {
            detail.push(' ');
            detail.push_str(&reason);
        }
        Self { retry_after, ..Self::new(step, kind_of(step, status, &reason), detail) }
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// Google's code for what is wrong. Drive says `{"error": {"errors": [{"reason"}], "status"}}`, the token endpoint
/// `{"error": "…"}`.
fn reason(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    let candidates = [&error["errors"][0]["reason"], &error["status"], error];
    let text = candidates.iter().find_map(|candidate| candidate.as_str()).unwrap_or_default();
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(64).collect()
}

fn kind_of(step: Step, status: StatusCode, reason: &str) -> Kind {
    match (status.as_u16(), reason) {
        (408 | 500..=599, _) => Kind::Unavailable,
        (429, _)
        | (
            403,
            "rateLimitExceeded" | "userRateLimitExceeded" | "sharingRateLimitExceeded" | "RESOURCE_EXHAUSTED",
        ) => Kind::RateLimited,
        // What this endpoint refuses it refuses for good: the account is deleted, the key revoked, the clock wrong.
        (400..=499, _) if step == Step::Token => Kind::Auth,
        (401, _) => Kind::TokenRefused,
        (403, "dailyLimitExceeded" | "quotaExceeded") => Kind::Quota,
        (403, _) if step == Step::Read && is_of_the_document(reason) => Kind::Unreadable,
        (403, _) => Kind::Auth,
        (404, _) => Kind::Gone,
        _ => Kind::Refused,
    }
}

fn is_of_the_document(reason: &str) -> bool {
    matches!(
        reason,
        "exportSizeLimitExceeded"
            | "cannotExportFile"
            | "cannotDownloadFile"
            | "cannotDownloadAbusiveFile"
            | "fileNotDownloadable"
            | "fileNotExportable"
            | "insufficientFilePermissions"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(step: Step, status: u16, body: &str) -> Kind {
        DriveError::refusal(step, StatusCode::from_u16(status).unwrap(), body.as_bytes(), None).kind
    }

    fn drive(reason: &str) -> String {
        format!(r#"{{"error":{{"code":403,"message":"File 1a","errors":[{{"reason":"{reason}"}}]}}}}"#)
    }

    #[test]
    fn a_status_alone_does_not_tell_what_is_wrong() {
        assert_eq!(kind(Step::List, 403, &drive("userRateLimitExceeded")), Kind::RateLimited);
        assert_eq!(kind(Step::List, 403, &drive("accessNotConfigured")), Kind::Auth);
        assert_eq!(kind(Step::List, 403, &drive("dailyLimitExceeded")), Kind::Quota);
        assert_eq!(kind(Step::Read, 403, &drive("exportSizeLimitExceeded")), Kind::Unreadable);
        assert_eq!(kind(Step::List, 403, &drive("exportSizeLimitExceeded")), Kind::Auth);
        assert_eq!(kind(Step::List, 401, ""), Kind::TokenRefused);
        assert_eq!(kind(Step::Token, 400, r#"{"error":"invalid_grant"}"#), Kind::Auth);
        assert_eq!(kind(Step::Token, 401, r#"{"error":"invalid_client"}"#), Kind::Auth);
        assert_eq!(kind(Step::Token, 429, ""), Kind::RateLimited);
        assert_eq!(kind(Step::Token, 503, "<html>"), Kind::Unavailable);
        assert_eq!(kind(Step::Read, 404, ""), Kind::Gone);
        assert_eq!(kind(Step::Read, 302, ""), Kind::Refused);
    }

    #[test]
    fn an_error_tells_the_reason_and_nothing_that_google_writes_freely() {
        let error = DriveError::refusal(
            Step::Read,
            StatusCode::FORBIDDEN,
            drive("cannotExportFile").as_bytes(),
            None,
        );
        let text = error.to_string();
        assert_eq!(
            text,
            "reading a document: the document cannot be had as text (HTTP 403 cannotExportFile)"
        );
        let odd = drive("a name <b>");
        let error = DriveError::refusal(Step::Read, StatusCode::FORBIDDEN, odd.as_bytes(), None);
        assert!(error.to_string().ends_with("(HTTP 403 a)"), "{error}");
    }
}
