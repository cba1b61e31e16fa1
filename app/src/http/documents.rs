//! Documents: `POST /api/v1/rag/search`, and the passages that a question takes along as context.
//!
//! What must hold: a document's text is data that others wrote. Passages that give orders to a model are kept from the
//! providers; all of them stand between marks ([`Material`]). Searching waits for nobody: it uses what is in memory.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;

use super::App;
use super::body;
use super::error::ApiError;
use super::form::Form;
use super::request_id::RequestId;
use super::sanitise::sanitise;
use super::suspicion::record_findings;
use crate::clock;
use crate::guard::sanitise::Finding;
use crate::providers::Material;
use crate::store::drive::Drive;
use crate::store::drive::index::{Hit, Index};

/// Most passages of one search.
const MOST_RESULTS: usize = 50;
/// Passages of a search that does not say how many.
const RESULTS: usize = 5;
/// Most passages that a question takes along.
const MOST_CONTEXT: usize = 20;
/// How providers are to use passages.
const NOTE: &str = "Passages of documents bear the documents' names. Where your answer rests on one, name its number in square brackets, such \
                    as [1]; where they do not answer the question, say so.";
/// What the piece with a log is called, and what it is.
const LOG: &str = "log";
const LOG_NOTE: &str = "The last piece is the log.";

/// A passage, and where it stands.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Citation {
    /// Its place among those that were found, from 1.
    number: usize,
    document: Source,
    /// Its place in the document, from 0, and how many there are.
    passage: usize,
    passages: usize,
    /// How well it fits the query, 0 to 1.
    score: f64,
}

#[derive(Debug, Clone, Serialize)]
struct Source {
    id: String,
    name: String,
    link: Option<String>,
    modified_time: String,
    /// Whether only the document's beginning is searched.
    truncated: bool,
}

/// What the providers read beside a question: passages, and what is worth reading of a log. Nothing where there is neither.
pub(super) fn material(passages: &[Hit], log: Option<&str>) -> Option<Material> {
    let named = |hit: &Hit| hit.document.origin.name.clone();
    let names: Vec<_> = passages.iter().map(named).collect();
    let pieces = names.iter().map(String::as_str).zip(passages.iter().map(Hit::text));
    let note = match (passages.is_empty(), log) {
        (true, None) => return None,
        (true, Some(_)) => LOG_NOTE.to_owned(),
        (false, None) => NOTE.to_owned(),
        (false, Some(_)) => format!("{NOTE} {LOG_NOTE}"),
    };
    Some(Material::new(&note, pieces.chain(log.map(|log| (LOG, log)))))
}

impl Citation {
    /// Where these passages stand, numbered as the providers see them.
    pub(super) fn all(hits: &[Hit]) -> Vec<Self> {
        hits.iter().enumerate().map(|(at, hit)| Self::new(at + 1, hit)).collect()
    }

    fn new(number: usize, hit: &Hit) -> Self {
        let origin = &hit.document.origin;
        let document = Source {
            id: origin.id.clone(),
            name: origin.name.clone(),
            link: origin.link.clone(),
            modified_time: origin.modified_time.clone(),
            truncated: hit.document.is_cut,
        };
        Self {
            number,
            document,
            passage: hit.passage,
            passages: hit.document.passages.len(),
            score: hit.score,
        }
    }
}

#[derive(Serialize)]
struct SearchResponse<'a> {
    query: &'a str,
    results: Vec<Found<'a>>,
    index: IndexView,
    request_id: &'a str,
    timestamp: String,
}

#[derive(Serialize)]
struct Found<'a> {
    #[serde(flatten)]
    citation: Citation,
    text: &'a str,
}

/// What was searched.
#[derive(Serialize)]
struct IndexView {
    documents: usize,
    passages: usize,
    /// When Drive was looked at last.
    read_at: Option<String>,
}

/// The handler of `POST /api/v1/rag/search`.
pub(super) async fn search(
    State(app): State<Arc<App>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let limits = &app.settings.limits;
    let mut form = Form::parse(&body::read(request, limits).await?)?;
    let query = form.required_text("query");
    let most = form.number("top_k", 1, MOST_RESULTS).unwrap_or(RESULTS);
    form.finish()?;
    // Nothing is missing when nothing was found wrong.
    let query = query.ok_or_else(ApiError::internal)?;
    if query.len() as u64 > limits.prompt_bytes {
        return Err(ApiError::prompt_too_large(query.len(), limits.prompt_bytes));
    }
    let query = sanitise(&app, "query", query)?;
    let (drive, index) = index(&app)?;
    let hits = hits(drive, &index, &query, most).await?;
    let numbered = hits.iter().enumerate();
    let found = |(at, hit)| Found { citation: Citation::new(at + 1, hit), text: Hit::text(hit) };
    let read_at_ms = drive.status().read_at_ms;
    let view = IndexView {
        documents: index.documents(),
        passages: index.passages(),
        read_at: read_at_ms.map(clock::rfc3339),
    };
    Ok(Json(SearchResponse {
        query: &query,
        results: numbered.map(found).collect(),
        index: view,
        request_id: &request_id,
        timestamp: clock::rfc3339(clock::unix_ms()),
    })
    .into_response())
}

/// What is asked for as context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    most: usize,
}

impl Context {
    /// The field `context` of a request: `{documents, top_k?}`.
    pub(super) fn read(form: &mut Form) -> Option<Self> {
        form.open("context");
        let wanted = form.flag("context.documents");
        let most = form.number("context.top_k", 1, MOST_CONTEXT).unwrap_or(RESULTS);
        wanted.unwrap_or(false).then_some(Self { most })
    }

    /// The passages that fit a query best and may go to the providers.
    pub(super) async fn look_up(self, app: &App, query: &str) -> Result<Vec<Hit>, ApiError> {
        let (drive, index) = index(app)?;
        let mut hits = hits(drive, &index, query, self.most).await?;
        hits.retain(|hit| may_be_shown(app, hit));
        Ok(hits)
    }
}

/// Whether a passage may go to the providers: one that orders a model about may not. Counted either way.
fn may_be_shown(app: &App, hit: &Hit) -> bool {
    let checked = app.sanitiser.check(hit.text());
    record_findings(&app.recorder, &checked.findings);
    let refused = checked.findings.iter().any(|Finding { blocked, .. }| *blocked);
    if refused {
        let (document, passage) = (hit.document.origin.id.as_str(), hit.passage);
        tracing::warn!(
            document,
            passage,
            "A passage of a document was kept from the providers: it gives orders to a model"
        );
    }
    !refused
}

/// What can be searched.
fn index(app: &App) -> Result<(&Drive, Arc<Index>), ApiError> {
    let drive = app.documents.as_ref().ok_or_else(ApiError::documents_off)?;
    let unread = || ApiError::documents_unavailable(drive.status().problem.as_deref());
    Ok((drive, drive.index().ok_or_else(unread)?))
}

async fn hits(drive: &Drive, index: &Arc<Index>, query: &str, most: usize) -> Result<Vec<Hit>, ApiError> {
    drive.search(Arc::clone(index), query.to_owned(), most).await.map_err(|error| {
        tracing::error!(reason = %error, "A search broke off");
        ApiError::internal()
    })
}
