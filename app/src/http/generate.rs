//! `POST /api/v1/generate`: one question, one answer, and how it came about.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Json, Response};
use techsapo_shared::labels::TaskType;

use super::App;
use super::analyse::{Answered, analyze};
use super::error::ApiError;
use super::form::Form;
use super::request_id::RequestId;
use super::suspicion::record_findings;
use super::wire::{CallView, GenerateResponse};
use super::{body, cache};
use crate::analysis::{Failure, MAX_DEPTH, Mode, Plan, Question, Report};
use crate::config::LimitSettings;
use crate::config::format::SynthesisWhen;
use crate::facts::Asker;
use crate::guard::caller::Caller;
use crate::store::answers::{Reader, Wish};

/// Most models that one question can name.
const MAX_MODELS: usize = 8;

/// The handler.
pub(super) async fn generate(
    State(app): State<Arc<App>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let limits = &app.settings.limits;
    let wish = cache::wish_of_headers(request.headers());
    let asked = Asked::parse(&body::read(request, limits).await?, limits)?;
    let asked = Asked { wish: asked.wish.and(wish), ..asked };
    let ready = Ready::check(&app, &caller, &request_id, asked)?;
    let session_id = ready.session_id.clone();
    let answered = analyze(&app, ready, Box::new(|_| ())).await?;
    Ok(Json(answer(&answered, &session_id, &request_id)?).into_response())
}

/// An analysis that may begin.
pub(super) struct Ready {
    pub(super) plan: Plan,
    pub(super) session_id: String,
    pub(super) asker: Asker,
    pub(super) reader: Reader,
    pub(super) wish: Wish,
}

impl Ready {
    /// Checks what was asked against what this caller may ask and what can be asked at all.
    pub(super) fn check(
        app: &App,
        caller: &Caller,
        request_id: &Arc<str>,
        mut asked: Asked,
    ) -> Result<Self, ApiError> {
        if !caller.may_ask(asked.question.task_type) {
            return Err(ApiError::forbidden_task_type(asked.question.task_type, caller.tier()));
        }
        asked.question.prompt = sanitise(app, asked.question.prompt)?;
        asked.question.synthesis = match (app.settings.synthesis.when, asked.synthesis) {
            (SynthesisWhen::Never, Some(true)) => {
                let problem = "is switched off here (setting synthesis.when)".to_owned();
                return Err(ApiError::invalid_request(&[("synthesis", problem)]));
            }
            (SynthesisWhen::Never, _) => false,
            (SynthesisWhen::Asked, wanted) => wanted.unwrap_or(false),
            (SynthesisWhen::Always, wanted) => wanted.unwrap_or(true),
        };
        let session_id = asked.session_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let asker = Asker {
            request_id: Arc::clone(request_id),
            caller: caller.name().to_owned(),
            user: asked.user_id.as_deref().map(|id| app.pseudonyms.user(id)),
            session_id: app.pseudonyms.session(&session_id),
            prompt_bytes: asked.question.prompt.len(),
            prompt_hash: app.pseudonyms.prompt(&asked.question.prompt),
        };
        let reader = Reader { key: caller.key().map(|key| key.id.clone()), user: asked.user_id };
        let plan = app.analyzer.plan(asked.question)?;
        Ok(Self { plan, session_id, asker, reader, wish: asked.wish })
    }
}

/// What the caller is told of an analysis.
pub(super) fn answer<'a>(
    answered: &'a Answered,
    session_id: &'a str,
    request_id: &'a str,
) -> Result<GenerateResponse<'a>, ApiError> {
    match answered.report().outcome {
        Ok(_) => Ok(GenerateResponse::new(answered, session_id, request_id)),
        Err(failure) => Err(refusal(answered.report(), failure)),
    }
}

/// The prompt as providers may see it.
fn sanitise(app: &App, prompt: String) -> Result<String, ApiError> {
    let checked = app.sanitiser.check(&prompt);
    record_findings(&app.recorder, &checked.findings);
    if let Some(kind) = checked.refused_for() {
        return Err(ApiError::input_refused(kind));
    }
    if checked.text.trim().is_empty() {
        return Err(ApiError::invalid_request(&[("prompt", "must not be empty".to_owned())]));
    }
    Ok(match checked.text {
        Cow::Borrowed(_) => prompt,
        Cow::Owned(text) => text,
    })
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
        Failure::NotEnoughAnswers => ApiError::not_enough_providers(report.needed, answered, details),
        Failure::DeadlineExceeded => ApiError::deadline_exceeded(report.needed, answered, details),
    }
}

/// A request as it came, found right.
pub(super) struct Asked {
    question: Question,
    user_id: Option<String>,
    session_id: Option<String>,
    wish: Wish,
    /// Whether the answers are to be merged, if the request says.
    synthesis: Option<bool>,
}

impl Asked {
    pub(super) fn parse(body: &[u8], limits: &LimitSettings) -> Result<Self, ApiError> {
        let mut form = Form::parse(body)?;
        let prompt = form.required_text("prompt");
        let task_type = form.required_label::<TaskType>("task_type");
        // Parallel calls have no depth; it is checked and otherwise ignored, for clients send it with either mode.
        let depth = form.number("depth", 1, MAX_DEPTH);
        let mode = match form.text("mode").as_deref() {
            None | Some("parallel") => Mode::Parallel,
            Some("sequential") => Mode::Sequential { depth },
            Some(_) => {
                form.complain("mode", "must be parallel or sequential");
                Mode::Parallel
            }
        };
        let models = form.texts("models", MAX_MODELS);
        let (user_id, session_id) = (form.name("user_id"), form.name("session_id"));
        let wish = cache::wish_of_field(&mut form);
        let synthesis = form.switch("synthesis");
        form.finish()?;
        // Nothing is missing when nothing was found wrong.
        let (Some(prompt), Some(task_type)) = (prompt, task_type) else { return Err(ApiError::internal()) };
        if prompt.len() as u64 > limits.prompt_bytes {
            return Err(ApiError::prompt_too_large(prompt.len(), limits.prompt_bytes));
        }
        Ok(Self {
            question: Question { prompt, task_type, mode, models, synthesis: false },
            user_id,
            session_id,
            wish,
            synthesis,
        })
    }
}
