//! A session: what a browser shows in place of a key where it cannot send a header (WebSocket, server-sent events).
//!
//! Written `<key id>.<end, Unix seconds>.<HMAC-SHA256 of both>`, signed with what is kept of the key. So every instance
//! that knows the keys knows its sessions, none is kept anywhere, and a key that is revoked takes its sessions along.

use aws_lc_rs::hmac;
use jiff::Timestamp;

use super::record::KeyRecord;
use super::token::Malformed;

/// Keeps these signatures apart from any other use of the same secret.
const PURPOSE: &[u8] = b"techsapo session ";

/// A session as a browser shows it: well written, which says nothing about its being known.
#[derive(Debug, Clone, Copy)]
pub struct ShownSession<'a> {
    /// Id of its key.
    pub key_id: &'a str,
    /// From when on it is not taken any more.
    pub expires: Timestamp,
    signed: &'a str,
    signature: [u8; 32],
}

impl<'a> ShownSession<'a> {
    /// Reads a session.
    ///
    /// # Errors
    /// When it is not written as one.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let (signed, digits) = text.rsplit_once('.').ok_or(Malformed)?;
        let (key_id, seconds) = signed.split_once('.').ok_or(Malformed)?;
        let seconds = seconds.parse().ok().filter(|seconds: &i64| seconds.to_string().len() <= 12);
        let expires = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or(Malformed)?;
        let mut signature = [0; 32];
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(Malformed);
        }
        for (byte, digits) in signature.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| Malformed)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| Malformed)?;
        }
        Ok(Self { key_id, expires, signed, signature })
    }

    /// Whether it was made for this key. In a time that does not depend on where the signatures differ.
    pub(super) fn is_of(&self, key: &KeyRecord) -> bool {
        hmac::verify(&secret(key), &message(self.signed), &self.signature).is_ok()
    }
}

/// Makes a session of this key.
pub fn issue(key: &KeyRecord, expires: Timestamp) -> String {
    let signed = format!("{}.{}", key.id, expires.as_second());
    let signature = hmac::sign(&secret(key), &message(&signed));
    format!("{signed}.{}", hex::encode(signature.as_ref()))
}

fn secret(key: &KeyRecord) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.sha256.as_bytes())
}

fn message(signed: &str) -> Vec<u8> {
    [PURPOSE, signed.as_bytes()].concat()
}
