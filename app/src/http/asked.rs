//! What a request for an analysis asks: its body, read and found right.

use techsapo_shared::labels::TaskType;

use super::cache;
use super::documents::Context;
use super::error::ApiError;
use super::form::Form;
use crate::analysis::{MAX_DEPTH, Mode, Question};
use crate::config::LimitSettings;
use crate::store::answers::Wish;

/// Most models that one question can name.
const MAX_MODELS: usize = 8;

/// A request as it came, found right.
pub(super) struct Asked {
    pub(super) question: Question,
    pub(super) context: Option<Context>,
    /// What is to be read of a log, and what it is about.
    pub(super) log: Option<(String, String)>,
    pub(super) user_id: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) wish: Wish,
    /// Whether the answers are to be merged, if the request says.
    pub(super) synthesis: Option<bool>,
}

impl Asked {
    /// Reads a body that holds `prompt` and `task_type`.
    pub(super) fn parse(body: &[u8], limits: &LimitSettings) -> Result<Self, ApiError> {
        let mut form = Form::parse(body)?;
        let prompt = form.required_text("prompt");
        let task_type = form.required_label::<TaskType>("task_type");
        Self::rest(form, prompt, task_type, limits)
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
