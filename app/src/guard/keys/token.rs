//! How an API key is written: `tsk_`, 12 digits of its id, `_`, 64 digits of a secret, 8 digits of a checksum, all
//! hexadecimal in lower case.
//!
//! The id finds the key and may be known. The checksum tells a slip of the pen from a guess, and lets scanners for
//! leaked secrets be sure. What is kept is the SHA-256 of the whole: the secret is 256 random bits, so that there is
//! nothing to guess and a slow hash, made for passwords that people choose, would only slow down every request.

use std::fmt;

use aws_lc_rs::{constant_time, digest, rand};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "tsk_";
const ID_DIGITS: usize = 12;
const SECRET_DIGITS: usize = 64;
const CHECKSUM_DIGITS: usize = 8;
const LENGTH: usize = PREFIX.len() + ID_DIGITS + 1 + SECRET_DIGITS + CHECKSUM_DIGITS;

/// Not written as a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not written as an API key is")]
pub struct Malformed;

/// Random bits cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// What is kept of a key: enough to know it again, not enough to make it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    /// The bytes themselves, to sign with.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// In a time that does not depend on where they differ.
impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Fingerprint {}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        hex::encode(fingerprint.0)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        let well_formed = text.len() == 64 && text.bytes().all(is_digit);
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
        }
        if well_formed { Ok(Self(bytes)) } else { Err("must be 64 hexadecimal digits") }
    }
}

/// A key as a caller shows it: well written, which says nothing about its being known.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// What finds it.
    pub id: &'a str,
    /// What proves it.
    pub fingerprint: Fingerprint,
}

impl<'a> Shown<'a> {
    /// Reads a key.
    ///
    /// # Errors
    /// When it is not written as one, or its checksum is wrong.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let digits = text.strip_prefix(PREFIX).filter(|_| text.len() == LENGTH).ok_or(Malformed)?;
        let (id, rest) = digits.split_at_checked(ID_DIGITS).ok_or(Malformed)?;
        let rest = rest.strip_prefix('_').ok_or(Malformed)?;
        if !id.bytes().chain(rest.bytes()).all(is_digit) {
            return Err(Malformed);
        }
        let (body, sum) = text.split_at(LENGTH - CHECKSUM_DIGITS);
        if checksum(body) != sum {
            return Err(Malformed);
        }
        Ok(Self { id, fingerprint: Fingerprint::of(text) })
    }
}

/// A key just made, to be handed over once and then forgotten.
pub struct NewToken {
    /// What finds it.
    pub id: String,
    /// The key itself: a secret.
    pub token: String,
    /// What is kept of it.
    pub fingerprint: Fingerprint,
}

impl NewToken {
    /// Makes a key.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, NoRandom> {
        let mut bits = [0; (ID_DIGITS + SECRET_DIGITS) / 2];
        rand::fill(&mut bits).map_err(|_| NoRandom)?;
        let (id, secret) = bits.split_at(ID_DIGITS / 2);
        let id = hex::encode(id);
        let body = format!("{PREFIX}{id}_{}", hex::encode(secret));
        let token = format!("{body}{}", checksum(&body));
        let fingerprint = Fingerprint::of(&token);
        Ok(Self { id, token, fingerprint })
    }
}

fn checksum(body: &str) -> String {
    format!("{:08x}", crc32fast::hash(body.as_bytes()))
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_known_again_and_no_two_are_alike() {
        let (one, other) = (NewToken::random().unwrap(), NewToken::random().unwrap());
        let shown = Shown::parse(&one.token).unwrap();
        assert_eq!((shown.id, shown.fingerprint), (one.id.as_str(), one.fingerprint));
        assert_ne!(one.token, other.token);
        assert_ne!(one.fingerprint, other.fingerprint);
        assert!(!format!("{:?}", one.fingerprint).contains(&String::from(one.fingerprint)));
        let text = String::from(one.fingerprint);
        assert_eq!(Fingerprint::try_from(text), Ok(one.fingerprint));
        assert!(Fingerprint::try_from("00".repeat(31)).is_err());
    }

    #[test]
    fn any_digit_changed_is_noticed() {
        let token = NewToken::random().unwrap().token;
        for position in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'0' { b'1' } else { b'0' };
            let slip = String::from_utf8(bytes).unwrap();
            assert_eq!(Shown::parse(&slip).err(), Some(Malformed), "{position}");
        }
        assert!(Shown::parse(&token.to_uppercase()).is_err());
        assert!(Shown::parse(&token[1..]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_else_is_a_key(text in "(tsk_)?[0-9a-f_é]{0,100}") {
            prop_assert!(Shown::parse(&text).is_err());
        }
    }
}
