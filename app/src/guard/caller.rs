//! Who is asking, as handlers, audit and log know it. Never holds a key, only what it is called.

use std::net::IpAddr;
use std::sync::Arc;

use techsapo_shared::labels::TaskType;

use super::address::Client;
use super::keys::record::KeyRecord;

/// Name of whoever needs no key.
const ANONYMOUS: &str = "anonymous";

/// Who is asking, and from where.
#[derive(Debug, Clone)]
pub struct Caller {
    /// None: anonymous.
    key: Option<Arc<KeyRecord>>,
    client: Client,
}

/// What limits count a caller by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A key, by its id.
    Key(Arc<str>),
    /// Whoever is anonymous, by address.
    Address(IpAddr),
}

impl Caller {
    /// Who showed this key.
    pub fn with_key(key: Arc<KeyRecord>, client: Client) -> Self {
        Self { key: Some(key), client }
    }

    /// Who needs none: this machine's users, as long as no key was made.
    pub fn anonymous(client: Client) -> Self {
        Self { key: None, client }
    }

    /// The key that was shown, or that the session is of.
    pub fn key(&self) -> Option<&KeyRecord> {
        self.key.as_deref()
    }

    /// What the key is called.
    pub fn name(&self) -> &str {
        self.key.as_ref().map_or(ANONYMOUS, |key| &key.name)
    }

    /// The plan, which decides how many requests a minute are answered.
    pub fn tier(&self) -> TaskType {
        self.key.as_ref().map_or(TaskType::Basic, |key| key.tier)
    }

    /// Whether a task as demanding as this may be asked for: a key's plan bounds it. Who is anonymous is the owner of
    /// this machine, trying things out; only the number of requests is bounded.
    pub fn may_ask(&self, task_type: TaskType) -> bool {
        self.key.as_ref().is_none_or(|key| task_type <= key.tier)
    }

    /// What limits count it by.
    pub fn account(&self) -> Account {
        match &self.key {
            Some(key) => Account::Key(Arc::from(key.id.as_str())),
            None => Account::Address(self.client.subscriber()),
        }
    }

    /// Where it asks from.
    pub fn client(&self) -> Client {
        self.client
    }
}
