//! `POST /api/v1/generate`: one question, one answer, and how it came about.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Json, Response};
use futures_util::poll;

use super::App;
use super::analyse::analyze;
use super::answered::Answered;
use super::asked::Asked;
use super::error::ApiError;
use super::limits::Allowance;
use super::ready::{Ready, Told};
use super::request_id::RequestId;
use super::wire::{CallView, GenerateResponse};
use super::{body, cache};
use crate::analysis::{Failure, Report};
use crate::guard::caller::Caller;

/// The handler.
pub(super) async fn generate(
    State(app): State<Arc<App>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    Extension(allowance): Extension<Allowance>,
    request: Request,
) -> Result<Response, ApiError> {
    let limits = &app.settings.limits;
    let wish = cache::wish_of_headers(request.headers());
    let mut reading = std::pin::pin!(body::read(request, limits));
    let body = match at_once(reading.as_mut()).await {
        Some(body) => body?,
        // Who takes time to say what is asked is not waited for before it is known that it may be asked.
        None => tokio::select! {
            biased;
            body = reading.as_mut() => body?,
            granted = allowance.granted() => {
                granted?;
                reading.await?
            }
        },
    };
    let asked = Asked::parse(&body, limits)?;
    let asked = Asked { wish: asked.wish.and(wish), ..asked };
    let ready = Ready::check(&app, &caller, allowance, &request_id, asked).await?;
    let told = ready.told.clone();
    let answered = analyze(&app, ready, Box::new(|_| ())).await?;
    Ok(Json(answer(&answered, &told, &request_id)?).into_response())
}

/// What a body brings that came with its head: the connection hands it over when it was asked for, and has had its turn.
async fn at_once<T>(mut body: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    if let Poll::Ready(read) = poll!(body.as_mut()) {
        return Some(read);
    }
    tokio::task::yield_now().await;
    match poll!(body) {
        Poll::Ready(read) => Some(read),
        Poll::Pending => None,
    }
}

/// What the caller is told of an analysis.
pub(super) fn answer<'a>(
    answered: &'a Answered,
    told: &'a Told,
    request_id: &'a str,
) -> Result<GenerateResponse<'a>, ApiError> {
    match answered.report().outcome {
        Ok(_) => Ok(GenerateResponse::new(answered, told, request_id)),
        Err(failure) => Err(refusal(answered.report(), failure)),
    }
}

/// Why there is no answer, with every call.
fn refusal(report: &Report, failure: Failure) -> ApiError {
    let answered = report.answered().count();
    let details = serde_json::json!({
        "needed": report.needed,
        "answered": answered,
        "calls": CallView::all(report),
        "total_cost_nanousd": report.total_cost_nanousd(),
    });
    match failure {
        Failure::OverBudget => {
            let refused = report.over_budget();
            let why = refused.first().map_or_else(String::new, |error| error.detail.to_string());
            let wait = refused.iter().filter_map(|error| error.retry_after).max().unwrap_or_default();
            ApiError::budget_exhausted(&why, wait.as_millis().div_ceil(1_000) as u64, details)
        }
        Failure::NotEnoughAnswers => ApiError::not_enough_providers(report.needed, answered, details),
        Failure::DeadlineExceeded => ApiError::deadline_exceeded(report.needed, answered, details),
    }
}
