//! What callers write, as providers may see it: refused, or cleared of what nobody sees, by the rules of [`crate::guard::sanitise`].

use std::borrow::Cow;

use super::App;
use super::error::ApiError;
use super::suspicion::record_findings;

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
