//! Users and their passwords, of which only bcrypt's hashes are known here.
//!
//! Working out a hash takes long on purpose. So a password that was right is remembered for as long as the configuration
//! stands, and wrong ones are worked on one after the other: guessing costs one processor at most, and never delays who
//! knows the password.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::HeaderValue;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

/// Highest cost of a hash: each step doubles the time, and this one takes about two seconds.
const MOST_COST: u32 = 15;

/// What is wrong with a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// It is something else.
    #[error("is no bcrypt hash")]
    Malformed,
    /// It would take too long.
    #[error("is a bcrypt hash of a cost above {MOST_COST}")]
    TooDear,
}

/// Who is let in; everybody, if nobody is named.
pub(super) struct Users {
    hashes: Arc<BTreeMap<String, String>>,
    /// Passwords that were right, by user.
    known: Mutex<BTreeMap<String, Vec<u8>>>,
    one_at_a_time: Semaphore,
}

impl Default for Users {
    fn default() -> Self {
        Self { hashes: Arc::default(), known: Mutex::default(), one_at_a_time: Semaphore::new(1) }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.hashes.keys()).finish()
    }
}

impl Users {
    /// By name and bcrypt hash. The error is the first user whose hash is wrong.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Result<Self, (String, BadHash)> {
        for (user, hash) in &hashes {
            let parts: bcrypt::HashParts = hash.parse().map_err(|_| (user.clone(), BadHash::Malformed))?;
            if parts.get_cost() > MOST_COST {
                return Err((user.clone(), BadHash::TooDear));
            }
        }
        Ok(Self { hashes: Arc::new(hashes), ..Self::default() })
    }

    /// Whether whoever shows this `Authorization` is let in.
    pub(super) async fn admit(&self, shown: Option<&HeaderValue>) -> bool {
        if self.hashes.is_empty() {
            return true;
        }
        let Some((user, password)) = shown.and_then(credentials) else { return false };
        if self.is_known(&user, &password) {
            return true;
        }
        let Ok(_turn) = self.one_at_a_time.acquire().await else { return false };
        // Whoever was before may have shown the same.
        if self.is_known(&user, &password) {
            return true;
        }
        let hashes = Arc::clone(&self.hashes);
        let work = tokio::task::spawn_blocking(move || {
            // For a user who does not exist it takes as long as for one who does.
            let (hash, exists) = match hashes.get(&user) {
                Some(hash) => (Some(hash), true),
                None => (hashes.values().next(), false),
            };
            let right = hash.is_some_and(|hash| bcrypt::verify(&password, hash).unwrap_or(false));
            (right && exists).then_some((user, password))
        });
        let Ok(Some((user, password))) = work.await else { return false };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(user, password);
        true
    }

    fn is_known(&self, user: &str, password: &[u8]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(user).is_some_and(|right| right.as_slice().ct_eq(password).into())
    }
}

/// User and password of `Basic …`.
fn credentials(shown: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = shown.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let user = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((user, decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(text))).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_of_the_right_user_is_let_in_again_and_again() {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        let hashes = [("ada", hash("one:two")), ("bob", hash("three"))];
        let users = Users::new(hashes.map(|(user, hash)| (user.to_owned(), hash)).into()).unwrap();
        for _ in 0..2 {
            for (text, admitted) in [
                ("ada:one:two", true),
                ("ada:one", false),
                ("ada:three", false),
                ("bob:three", true),
                ("bob:", false),
                ("eve:one:two", false),
                ("ada", false),
            ] {
                assert_eq!(users.admit(Some(&basic(text))).await, admitted, "{text}");
            }
            assert!(!users.admit(None).await);
            assert!(!users.admit(Some(&HeaderValue::from_static("Bearer x"))).await);
        }
        assert!(Users::default().admit(None).await);
        assert_eq!(format!("{users:?}"), r#"{"ada", "bob"}"#);
    }

    #[test]
    fn what_is_no_hash_or_takes_for_ever_is_refused() {
        let dear = "$2b$31$abcdefghijklmnopqrstuuDnwYrW2kQXeCCZ1PSfVaJOGpyO1Hfm2";
        for (hash, why) in [("secret", BadHash::Malformed), (dear, BadHash::TooDear)] {
            let refused = Users::new([("ada".to_owned(), hash.to_owned())].into()).err();
            assert_eq!(refused, Some(("ada".to_owned(), why)), "{hash}");
        }
    }
}
