//! The keys that are known, and what each may do: a function of the list, the key shown and the time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use techsapo_shared::labels::AuthFailureReason;

use super::record::KeyRecord;
use super::session::ShownSession;
use super::token::Shown;

/// By how much the clocks of two instances may differ that take each other's sessions.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// Two keys have the same id, or two that are not revoked the same name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two keys have the {what} {value:?}")]
pub struct Repeated {
    what: &'static str,
    value: String,
}

/// All keys that were ever made. Those that were revoked stay: a key that is unknown could be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: HashMap<String, Arc<KeyRecord>>,
}

impl KeyRing {
    /// A ring of these.
    ///
    /// # Errors
    /// When two cannot be told apart.
    pub fn new(records: Vec<KeyRecord>) -> Result<Self, Repeated> {
        let (mut keys, mut names) = (HashMap::new(), HashMap::new());
        for record in records {
            if record.revoked.is_none() && names.insert(record.name.clone(), ()).is_some() {
                return Err(Repeated { what: "name", value: record.name });
            }
            let id = record.id.clone();
            if keys.insert(id.clone(), Arc::new(record)).is_some() {
                return Err(Repeated { what: "id", value: id });
            }
        }
        Ok(Self { keys })
    }

    /// Whether none was ever made.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Every key with all that is kept of it: two rings are the same if these are.
    pub fn listed(&self) -> String {
        format!("{:?}", self.keys.iter().collect::<BTreeMap<_, _>>())
    }

    /// How many are taken now.
    pub fn usable(&self, now: Timestamp) -> usize {
        self.keys.values().filter(|key| key.refusal(now).is_none()).count()
    }

    /// Whether the key of this id is taken now.
    pub fn is_in_force(&self, id: &str, now: Timestamp) -> bool {
        self.keys.get(id).is_some_and(|key| key.refusal(now).is_none())
    }

    /// The key that was shown, if it is taken now.
    ///
    /// # Errors
    /// Why not. Only who shows the right secret learns that a key was revoked or has expired.
    pub fn find(&self, shown: &Shown<'_>, now: Timestamp) -> Result<&Arc<KeyRecord>, AuthFailureReason> {
        let known = self.keys.get(shown.id).filter(|key| key.sha256 == shown.fingerprint);
        let key = known.ok_or(AuthFailureReason::Unknown)?;
        key.refusal(now).map_or(Ok(key), Err)
    }

    /// The key of a session, if both are taken now.
    ///
    /// `longest` is how long a session lasts at most: one with a later end was made elsewhere, or before sessions were shortened.
    ///
    /// # Errors
    /// Why not. Only who shows a session that was made here learns that it is over.
    pub fn find_session(
        &self,
        session: &ShownSession<'_>,
        now: Timestamp,
        longest: Duration,
    ) -> Result<&Arc<KeyRecord>, AuthFailureReason> {
        let known = self.keys.get(session.key_id).filter(|key| session.is_of(key));
        let key = known.ok_or(AuthFailureReason::Unknown)?;
        let longest = longest.saturating_add(CLOCKS_APART);
        if session.expires <= now || session.expires.duration_since(now).unsigned_abs() > longest {
            return Err(AuthFailureReason::Expired);
        }
        key.refusal(now).map_or(Ok(key), Err)
    }
}

#[cfg(test)]
mod tests {
    use techsapo_shared::labels::TaskType;

    use super::super::record::Scope;
    use super::super::session::issue;
    use super::super::token::NewToken;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn made(name: &str) -> (NewToken, KeyRecord) {
        let token = NewToken::random().unwrap();
        let record = KeyRecord {
            id: token.id.clone(),
            name: name.to_owned(),
            tier: TaskType::Basic,
            scopes: vec![Scope::Api],
            sha256: token.fingerprint,
            created: at(0),
            expires: Some(at(100)),
            revoked: None,
        };
        (token, record)
    }

    /// Sessions last a quarter of an hour here.
    fn find<'a>(
        ring: &'a KeyRing,
        shown: &ShownSession<'_>,
        now: i64,
    ) -> Result<&'a Arc<KeyRecord>, AuthFailureReason> {
        ring.find_session(shown, at(now), Duration::from_secs(900))
    }

    #[test]
    fn a_session_that_would_last_longer_than_any_is_not_taken() {
        let (_, record) = made("ours");
        let record = KeyRecord { expires: None, ..record };
        let text = issue(&record, at(2000));
        let shown = ShownSession::parse(&text).unwrap();
        let ring = KeyRing::new(vec![record]).unwrap();
        assert_eq!(find(&ring, &shown, 1000), Err(AuthFailureReason::Expired));
        assert!(find(&ring, &shown, 1050).is_ok(), "made by a clock that is a little ahead");
    }

    #[test]
    fn a_session_ends_with_its_time_and_with_its_key() {
        let ((_, record), (_, other)) = (made("ours"), made("theirs"));
        let text = issue(&record, at(50));
        let shown = ShownSession::parse(&text).unwrap();
        let ring = |record: &KeyRecord| KeyRing::new(vec![record.clone(), other.clone()]).unwrap();
        let found = |record: &KeyRecord, now| find(&ring(record), &shown, now).map(|key| key.name.clone());
        assert_eq!(found(&record, 49), Ok("ours".to_owned()));
        assert_eq!(found(&record, 50), Err(AuthFailureReason::Expired));
        let revoked = KeyRecord { revoked: Some(at(10)), ..record.clone() };
        assert_eq!(found(&revoked, 20), Err(AuthFailureReason::Revoked));
        assert_eq!(
            find(&KeyRing::new(vec![other.clone()]).unwrap(), &shown, 0).unwrap_err(),
            AuthFailureReason::Unknown
        );
        // Another end, another key, another signature: none of them passes.
        for (from, to) in [(".50.", ".99."), (record.id.as_str(), other.id.as_str())] {
            let forged = text.replacen(from, to, 1);
            let forged = ShownSession::parse(&forged).unwrap();
            assert_eq!(find(&ring(&record), &forged, 0).unwrap_err(), AuthFailureReason::Unknown);
        }
        for wrong in ["", "..", "a.b.c", &text[1..text.len() - 1], "a.1.é", &format!("{text}0")] {
            assert!(ShownSession::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_right_secret_learns_anything_and_only_until_it_expires_or_is_revoked() {
        let ((token, record), (stranger, _)) = (made("ours"), made("theirs"));
        let ring = KeyRing::new(vec![record.clone()]).unwrap();
        let shown = Shown::parse(&token.token).unwrap();
        assert_eq!(ring.find(&shown, at(99)).unwrap().name, "ours");
        assert_eq!(ring.find(&shown, at(100)), Err(AuthFailureReason::Expired));
        assert_eq!((ring.usable(at(99)), ring.usable(at(100))), (1, 0));

        let stranger = Shown::parse(&stranger.token).unwrap();
        let wrong_secret = Shown { id: shown.id, ..stranger };
        let ring = KeyRing::new(vec![KeyRecord { revoked: Some(at(50)), ..record }]).unwrap();
        assert_eq!(ring.find(&shown, at(60)), Err(AuthFailureReason::Revoked));
        assert_eq!(ring.find(&stranger, at(60)), Err(AuthFailureReason::Unknown));
        assert_eq!(ring.find(&wrong_secret, at(60)), Err(AuthFailureReason::Unknown));
        assert!(!ring.is_empty(), "a key that was revoked was made all the same");
    }

    #[test]
    fn names_and_ids_tell_keys_apart() {
        let ((_, one), (_, other)) = (made("same"), made("same"));
        assert!(KeyRing::new(vec![one.clone(), other.clone()]).is_err());
        let revoked = KeyRecord { revoked: Some(at(1)), ..other };
        assert!(KeyRing::new(vec![one.clone(), revoked]).is_ok(), "a name can be given again");
        assert!(KeyRing::new(vec![one.clone(), KeyRecord { name: "another".into(), ..one }]).is_err());
    }
}
