//! Reads the fields of a JSON object and notes everything that is wrong, so that a caller hears it all at once.
//! Fields that nobody asks for are ignored; `null` is the same as absence.

use serde_json::{Map, Value};
use techsapo_shared::labels::ClosedLabel;

use super::error::ApiError;

/// An object whose fields are taken out one by one.
pub(super) struct Form {
    fields: Map<String, Value>,
    problems: Vec<(&'static str, String)>,
}

impl Form {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let fields = serde_json::from_slice(body).map_err(|error| ApiError::invalid_json(&error))?;
        Ok(Self { fields, problems: Vec::new() })
    }

    /// Notes that something is wrong with a field.
    pub(super) fn complain(&mut self, field: &'static str, problem: impl Into<String>) {
        self.problems.push((field, problem.into()));
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    /// A text that may be absent.
    pub(super) fn text(&mut self, field: &'static str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            _ => {
                self.complain(field, "must be a string");
                None
            }
        }
    }

    /// A text that must stand and say something.
    pub(super) fn required_text(&mut self, field: &'static str) -> Option<String> {
        if self.fields.get(field).is_none_or(Value::is_null) {
            self.complain(field, "is missing");
            return None;
        }
        let text = self.text(field)?;
        if text.trim().is_empty() {
            self.complain(field, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A short name that may be absent: at most 128 characters, none of them a control.
    pub(super) fn name(&mut self, field: &'static str) -> Option<String> {
        let name = self.text(field)?;
        if name.is_empty() || name.chars().count() > 128 || name.chars().any(char::is_control) {
            self.complain(field, "must have 1 to 128 characters and no control characters");
            return None;
        }
        Some(name)
    }

    /// One of the values of a closed list, which must stand.
    pub(super) fn required_label<L: ClosedLabel>(&mut self, field: &'static str) -> Option<L> {
        let text = self.required_text(field)?;
        let label = L::parse(&text);
        if label.is_none() {
            let known: Vec<_> = L::ALL.iter().map(|value| value.as_str()).collect();
            self.complain(field, format!("must be one of {}", known.join(", ")));
        }
        label
    }

    /// One of the values of a closed list, which may be absent.
    pub(super) fn label<L: ClosedLabel>(&mut self, field: &'static str) -> Option<L> {
        self.fields.get(field).filter(|value| !value.is_null())?;
        self.required_label(field)
    }

    /// A text, or the lines of one as a list, which must stand and say something; `most` bounds the list's length.
    pub(super) fn required_lines(&mut self, field: &'static str, most: usize) -> Option<String> {
        if !matches!(self.fields.get(field), Some(Value::Array(_))) {
            return self.required_text(field);
        }
        let text = self.texts(field, most).join("\n");
        if text.trim().is_empty() && !self.problems.iter().any(|(known, _)| *known == field) {
            self.complain(field, "must not be empty");
        }
        Some(text)
    }

    /// Yes or no, which may be absent.
    pub(super) fn switch(&mut self, field: &'static str) -> Option<bool> {
        let value = self.take(field)?;
        if value.as_bool().is_none() {
            self.complain(field, "must be true or false");
        }
        value.as_bool()
    }

    /// A whole number within a range, which may be absent.
    pub(super) fn number(&mut self, field: &'static str, least: usize, most: usize) -> Option<usize> {
        let value = self.take(field)?;
        // 2.0 is a whole number too.
        let whole = |number: &f64| number.fract() == 0.0 && (0.0..1e15).contains(number);
        let number = value.as_u64().or_else(|| value.as_f64().filter(whole).map(|number| number as u64));
        let number = number.and_then(|number| usize::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.complain(field, format!("must be a whole number from {least} to {most}"));
        }
        number
    }

    /// Takes apart an object that may be absent: its fields are then named `object.field`.
    pub(super) fn open(&mut self, object: &'static str) {
        let prefix = format!("{object}.");
        self.fields.retain(|name, _| !name.starts_with(&prefix));
        match self.take(object) {
            None => {}
            Some(Value::Object(inner)) => {
                self.fields.extend(inner.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)));
            }
            Some(_) => self.complain(object, "must be an object"),
        }
    }

    /// Yes or no, which may be absent.
    pub(super) fn flag(&mut self, field: &'static str) -> Option<bool> {
        let flag = self.take(field)?.as_bool();
        if flag.is_none() {
            self.complain(field, "must be true or false");
        }
        flag
    }

    /// A list of texts, which may be absent; `most` bounds its length.
    pub(super) fn texts(&mut self, field: &'static str, most: usize) -> Vec<String> {
        let Some(value) = self.take(field) else { return Vec::new() };
        let texts = match value {
            Value::Array(items) if items.len() <= most => items
                .into_iter()
                .map(|item| if let Value::String(text) = item { Some(text) } else { None })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        };
        texts.unwrap_or_else(|| {
            self.complain(field, format!("must be a list of at most {most} strings"));
            Vec::new()
        })
    }

    /// What was found wrong, if anything.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::invalid_request(&self.problems)) }
    }
}
