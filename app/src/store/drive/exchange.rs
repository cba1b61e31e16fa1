//! One request to Google: sent, its refusals understood, its body read within bounds.

use std::time::SystemTime;

use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;

use super::error::{DriveError, Kind, Step};
use crate::{clients, retry};

/// Largest explanation of a refusal that is read.
const MOST_REFUSAL_BYTES: usize = 64 << 10;

/// A body, or its beginning.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Whether there was more than was asked for.
    pub(super) is_cut: bool,
}

/// Sends a request; a response of another status than 200 is an error.
pub(super) async fn send(step: Step, request: RequestBuilder) -> Result<Response, DriveError> {
    let response = request.send().await.map_err(|error| network(step, &error))?;
    if response.status() == reqwest::StatusCode::OK {
        return Ok(response);
    }
    let status = response.status();
    let wait = retry::retry_after(response.headers(), SystemTime::now());
    // A refusal whose explanation does not arrive is a refusal all the same.
    let body = read(step, response, MOST_REFUSAL_BYTES).await.map(|body| body.bytes).unwrap_or_default();
    Err(DriveError::refusal(step, status, &body, wait))
}

/// Reads a body up to so many bytes.
pub(super) async fn read(step: Step, mut response: Response, most: usize) -> Result<Body, DriveError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| network(step, &error))? {
        let room = most - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok(Body { bytes, is_cut: true });
        }
    }
    Ok(Body { bytes, is_cut: false })
}

/// JSON as Google documents it.
pub(super) fn parse<T: DeserializeOwned>(step: Step, body: &[u8]) -> Result<T, DriveError> {
    // By place alone: serde's message may repeat what it found.
    serde_json::from_slice(body).map_err(|error| {
        let place = format!("at line {}, column {}", error.line(), error.column());
        DriveError::new(step, Kind::Malformed, place)
    })
}

fn network(step: Step, error: &reqwest::Error) -> DriveError {
    DriveError::new(step, Kind::Network, clients::cause(error))
}
