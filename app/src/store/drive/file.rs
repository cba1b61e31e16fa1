//! A file of Google Drive, and a page of them, as its lists tell of them.

use serde::Deserialize;

/// The kind of Google's own documents.
pub(super) const GOOGLE_DOC: &str = "application/vnd.google-apps.document";

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub(super) next_page_token: Option<String>,
    pub(super) files: Vec<File>,
}

/// A file, as lists tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) mime_type: String,
    /// RFC 3339, in UTC: text orders as time does.
    pub(super) modified_time: String,
    pub(super) web_view_link: Option<String>,
}

impl File {
    pub(super) fn is_google_doc(&self) -> bool {
        self.mime_type == GOOGLE_DOC
    }
}
