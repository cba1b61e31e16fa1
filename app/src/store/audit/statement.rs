//! What comes of a statement in MySQL: a fault in our words, and the fact that it was made.

use mysql_async::{Error, IoError};
use techsapo_shared::event::{Event, MysqlQuery};
use techsapo_shared::labels::{OperationStatus, QueryType};

use crate::clock;
use crate::telemetry::Recorder;

/// Classes of SQLSTATE that speak of a row's content: bad data, a violated constraint, a trigger's own refusal.
const CONTENT_CLASSES: [&str; 3] = ["22", "23", "45"];
/// Errors about content that bear a general SQLSTATE: truncated data, a wrong string, a check constraint (MySQL), and a
/// packet that is larger than the server takes.
const CONTENT_CODES: [u16; 4] = [1265, 1366, 3819, 1153];

/// What went wrong, in words without user or password.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Fault {
    why: String,
    code: Option<u16>,
    /// The server refuses a row for what is in it; to try again is of no use.
    pub(super) about_content: bool,
}

impl Fault {
    /// The tables are not what they should be.
    pub(super) fn schema(why: String) -> Self {
        Self { why, code: None, about_content: false }
    }

    /// The server's number of the error.
    pub(super) fn code(&self) -> Option<u16> {
        self.code
    }
}

impl From<Error> for Fault {
    /// The driver's own words repeat each other; these do not.
    fn from(error: Error) -> Self {
        match error {
            Error::Server(error) => Self {
                about_content: CONTENT_CODES.contains(&error.code)
                    || CONTENT_CLASSES.iter().any(|class| error.state.starts_with(class)),
                why: error.message,
                code: Some(error.code),
            },
            Error::Io(IoError::Io(error)) => Self::schema(error.to_string()),
            Error::Driver(error) => Self::schema(error.to_string()),
            error => Self::schema(error.to_string()),
        }
    }
}

/// States every statement as a fact, if there is a journal to state it in.
#[derive(Clone)]
pub(super) struct Meter(pub(super) Option<Recorder>);

impl Meter {
    /// Waits for a statement of this kind and states how it went.
    pub(super) async fn of<T>(
        &self,
        query_type: QueryType,
        statement: impl Future<Output = mysql_async::Result<T>>,
    ) -> Result<T, Fault> {
        let result = statement.await;
        let status = if result.is_ok() { OperationStatus::Success } else { OperationStatus::Error };
        if let Some(recorder) = &self.0 {
            recorder.record(&Event::MysqlQuery(MysqlQuery { t: clock::unix_ms(), query_type, status }));
        }
        result.map_err(Fault::from)
    }
}
