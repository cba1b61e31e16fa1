//! An analysis that may begin once it is allowed: what was asked, checked against what its caller may ask and what can be asked at all.

use std::sync::Arc;

use super::App;
use super::asked::Asked;
use super::documents::{Citation, material};
use super::error::ApiError;
use super::limits::Allowance;
use super::sanitise::sanitise;
use crate::analysis::Plan;
use crate::config::format::SynthesisWhen;
use crate::facts::Asker;
use crate::guard::caller::Caller;
use crate::store::answers::{Reader, Wish};
use crate::turnstile::Turn;

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
