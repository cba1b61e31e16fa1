//! `POST /api/v1/generate`: one question, one answer, and how it came about.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Json, Response};
use futures_util::poll;
use techsapo_shared::labels::TaskType;

use super::App;
use super::analyse::{Answered, analyze};
use super::analyze_logs::Log;
use super::documents::{Citation, Context, material};
use super::error::ApiError;
use super::form::Form;
use super::limits::Allowance;
use super::request_id::RequestId;
use super::suspicion::record_findings;
use super::turnstile::Turn;
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

/// An analysis that may begin once it is allowed.
pub(super) struct Ready {
    pub(super) plan: Plan,
    pub(super) told: Told,
    pub(super) asker: Asker,
    pub(super) reader: Reader,
    pub(super) wish: Wish,
    /// Must be granted first.
    pub(super) allowance: Allowance,
    /// Until the providers are asked.
    pub(super) turn: Turn,
}

/// What the caller is told beside what an analysis brings.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) session_id: String,
    /// What the providers read beside the question; nothing where that was not asked for.
    pub(super) citations: Option<Vec<Citation>>,
}

impl Ready {
    /// Checks what was asked against what this caller may ask and what can be asked at all.
    pub(super) async fn check(
        app: &App,
        caller: &Caller,
        allowance: Allowance,
        request_id: &Arc<str>,
        mut asked: Asked,
    ) -> Result<Self, ApiError> {
        if !caller.may_ask(asked.question.task_type) {
            return Err(ApiError::forbidden_task_type(asked.question.task_type, caller.tier()));
        }
        let mut turn = app.turnstile.turn().await;
        asked.question.prompt = sanitise(app, "prompt", asked.question.prompt)?;
        asked.question.synthesis = match (app.settings.synthesis.when, asked.synthesis) {
            (SynthesisWhen::Never, Some(true)) => {
                let problem = "is switched off here (setting synthesis.when)".to_owned();
                return Err(ApiError::invalid_request(&[("synthesis", problem)]));
            }
            (SynthesisWhen::Never, _) => false,
            (SynthesisWhen::Asked, wanted) => wanted.unwrap_or(false),
            (SynthesisWhen::Always, wanted) => wanted.unwrap_or(true),
        };
        let (mut passages, mut citations) = (Vec::new(), None);
        if let Some(context) = asked.context {
            // It may be a lot of work.
            turn.wait_for(allowance.granted()).await?;
            let query = asked.log.as_ref().map_or(&asked.question.prompt, |(_, keywords)| keywords);
            passages = turn.wait_for(context.look_up(app, query)).await?;
            citations = Some(Citation::all(&passages));
        }
        let extract = asked.log.as_ref().map(|(extract, _)| extract.as_str());
        asked.question.material = material(&passages, extract);
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
        Ok(Self {
            plan,
            told: Told { session_id, citations },
            asker,
            reader,
            wish: asked.wish,
            allowance,
            turn,
        })
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

/// What a caller wrote in `field`, as providers may see it.
pub(super) fn sanitise(app: &App, field: &'static str, prompt: String) -> Result<String, ApiError> {
    let checked = app.sanitiser.check(&prompt);
    record_findings(&app.recorder, &checked.findings);
    if let Some(kind) = checked.refused_for() {
        return Err(ApiError::input_refused(kind));
    }
    if checked.text.trim().is_empty() {
        return Err(ApiError::invalid_request(&[(field, "must not be empty".to_owned())]));
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

/// A request as it came, found right.
pub(super) struct Asked {
    question: Question,
    context: Option<Context>,
    /// What is to be read of a log, and what it is about.
    log: Option<(String, String)>,
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
        Self::rest(form, prompt, task_type, limits)
    }

    /// Adds what a log tells.
    pub(super) fn attach(&mut self, log: &Log) {
        self.log = Some((log.extract.clone(), log.keywords.clone()));
    }

    /// Reads the fields that all routes with analyses share; `prompt` and `task_type` are missing only where that was noted.
    pub(super) fn rest(
        mut form: Form,
        prompt: Option<String>,
        task_type: Option<TaskType>,
        limits: &LimitSettings,
    ) -> Result<Self, ApiError> {
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
        let context = Context::read(&mut form);
        let synthesis = form.switch("synthesis");
        form.finish()?;
        // Nothing is missing when nothing was found wrong.
        let (Some(prompt), Some(task_type)) = (prompt, task_type) else { return Err(ApiError::internal()) };
        if prompt.len() as u64 > limits.prompt_bytes {
            return Err(ApiError::prompt_too_large(prompt.len(), limits.prompt_bytes));
        }
        let question = Question { prompt, task_type, mode, models, material: None, synthesis: false };
        Ok(Self { question, context, log: None, user_id, session_id, wish, synthesis })
    }
}
