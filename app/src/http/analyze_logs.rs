//! `POST /api/v1/analyze-logs`: a log in; out, what is found in it here, and what the providers make of it.
//!
//! What must hold: personal data and secrets are masked before anything of the log is kept, told or sent; a provider sees an excerpt
//! of bounded size, between marks; what a log says is nobody's order, so that attacks in it are counted and refuse nothing.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use techsapo_shared::labels::TaskType;

use super::App;
use super::analyse::analyze;
use super::asked::Asked;
use super::body;
use super::error::ApiError;
use super::form::Form;
use super::generate::answer;
use super::limits::Allowance;
use super::ready::Ready;
use super::request_id::RequestId;
use super::suspicion::record_findings;
use super::wire::GenerateResponse;
use crate::config::LimitSettings;
use crate::guard::caller::Caller;
use crate::guard::sanitise::{Finding, visible};
use crate::log_digest::{Digest, uncoloured};
use crate::mask::mask;

/// Most lines, where a log comes as a list.
const MOST_LINES: usize = 20_000;
/// How much of a log a provider reads.
const EXCERPT_BYTES: usize = 24_000;
/// What the providers are asked.
const PROMPT: &str = "The material below is an extract of a log, with counts of what the whole log holds. Name the most likely causes of its errors \
                      and warnings, the most important first, each with the numbers of the lines that show it and how sure that is. Then give the next \
                      steps in the order in which they are to be taken, each with the command or the setting where there is one. Say so where \
                      the log does not show a cause.";

/// A log that was looked at.
struct Log {
    digest: Digest,
    /// What a provider reads.
    extract: String,
    /// What is looked for where documents are asked for too.
    keywords: String,
}

#[derive(Serialize)]
struct LogResponse<'a> {
    #[serde(flatten)]
    answer: GenerateResponse<'a>,
    log_analysis: &'a Digest,
}

/// The handler.
pub(super) async fn analyze_logs(
    State(app): State<Arc<App>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    Extension(allowance): Extension<Allowance>,
    request: Request,
) -> Result<Response, ApiError> {
    let limits = &app.settings.limits;
    let (mut asked, text) = parse(&body::read(request, limits).await?, limits)?;
    // Up to a mebibyte, looked through several times: not on a thread that others wait for.
    let reader = Arc::clone(&app);
    let read = tokio::task::spawn_blocking(move || Log::read(&reader, &text)).await;
    let log = read.map_err(|error| {
        tracing::error!(reason = %error, "Reading a log broke off");
        ApiError::internal()
    })?;
    asked.log = Some((log.extract.clone(), log.keywords.clone()));
    let ready = Ready::check(&app, &caller, allowance, &request_id, asked).await?;
    let told = ready.told.clone();
    let answered = analyze(&app, ready, Box::new(|_| ())).await?;
    let answer = answer(&answered, &told, &request_id)?;
    Ok(Json(LogResponse { answer, log_analysis: &log.digest }).into_response())
}

/// What was asked, and the log as it came.
fn parse(body: &[u8], limits: &LimitSettings) -> Result<(Asked, String), ApiError> {
    let mut form = Form::parse(body)?;
    let logs = form.required_lines("logs", MOST_LINES);
    let question = form.text("question").filter(|question| !question.trim().is_empty());
    let task_type = form.label::<TaskType>("task_type").unwrap_or(TaskType::Basic);
    let prompt = question.map_or_else(
        || PROMPT.to_owned(),
        |question| format!("{PROMPT}\n\nAnswer this too, in the language in which it is asked: {question}"),
    );
    let asked = Asked::rest(form, Some(prompt), Some(task_type), limits)?;
    // Nothing is missing when nothing was found wrong.
    let logs = logs.ok_or_else(ApiError::internal)?;
    Ok((asked, logs))
}

impl Log {
    /// Masks a log, counts what is in it, and takes out what is worth reading.
    fn read(app: &App, text: &str) -> Self {
        let plain = uncoloured(text);
        let mut findings = app.sanitiser.check(&plain).findings;
        findings.iter_mut().for_each(|finding: &mut Finding| finding.blocked = false);
        record_findings(&app.recorder, &findings);
        // What nobody sees goes first: it could stand within a secret, which would not be known as one.
        let text = mask(&visible(&plain)).into_owned();
        let digest = Digest::of(&text);
        let levels = digest.levels;
        let mut extract = format!(
            "The whole log: {} lines, {} records ({} fatal, {} errors, {} warnings, {} info, {} debug, {} trace, {} without a level).\n",
            digest.lines,
            digest.records,
            levels.fatal,
            levels.error,
            levels.warning,
            levels.info,
            levels.debug,
            levels.trace,
            levels.unknown
        );
        for group in &digest.groups {
            extract.push_str(&format!(
                "{} times, lines {} to {}: {}\n",
                group.count, group.first_line, group.last_line, group.pattern
            ));
        }
        extract.push_str("\nLines of it, by number:\n");
        extract.push_str(&digest.excerpt(&text, EXCERPT_BYTES));
        let patterns: Vec<_> = digest.groups.iter().map(|group| group.pattern.as_str()).collect();
        Self { extract, keywords: patterns.join("\n"), digest }
    }
}
