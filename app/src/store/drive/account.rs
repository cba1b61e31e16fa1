//! The service account: its key file, and the signed statement (a JWT, RS256) that is changed for a token.
//!
//! What must hold: the private key is in no error, log or `Debug`, and is sent nowhere; what is asked for is to read.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;

use crate::config::format::BASE_URL;

/// To read what is shared with the account, and nothing else.
const SCOPE: &str = "https://www.googleapis.com/auth/drive.readonly";
/// How long a statement holds, the longest that Google takes.
const LIFETIME_S: u64 = 3_600;
/// Largest key file that is read.
const MOST_BYTES: u64 = 64 << 10;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the service account's key file {} (drive.key_file) {problem}", path.display())]
pub struct KeyFileError {
    path: PathBuf,
    problem: String,
}

/// A key file as Google's console writes it.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key_id: Option<String>,
    private_key: String,
    token_uri: String,
}

/// A service account, ready to sign.
pub(super) struct Account {
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    /// Where a statement is changed for a token.
    pub(super) token_url: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("email", &self.email).finish_non_exhaustive()
    }
}

impl Account {
    /// Reads a key file. Blocks.
    ///
    /// # Errors
    /// Says what is wrong with it, without citing it.
    pub(super) fn load(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |problem: String| KeyFileError { path: path.to_owned(), problem };
        let size = std::fs::metadata(path).map_err(|error| failed(format!("cannot be read: {error}")))?.len();
        if size > MOST_BYTES {
            return Err(failed(format!("has {size} bytes, which is no key file")));
        }
        let text = std::fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        // By place alone: serde's message may repeat what it found.
        let file: KeyFile = serde_json::from_slice(text).map_err(|error| {
            format!(
                "is not the JSON of a service account's key (line {}): create one in Google Cloud's console and download it as JSON",
                error.line()
            )
        })?;
        if file.kind != "service_account" {
            return Err("holds another kind of credential: expected \"type\": \"service_account\"".to_owned());
        }
        if file.client_email.is_empty() {
            return Err("has an empty client_email".to_owned());
        }
        let token_url = BASE_URL
            .parse(&file.token_uri)
            .ok_or_else(|| format!("has a wrong token_uri: expected {}", BASE_URL.expected))?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes())
            .map_err(|_| "has a private_key that is no PEM of a PKCS#8 key".to_owned())?;
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|_| "has a private_key that is no RSA key of 2048 bits or more".to_owned())?;
        Ok(Self { email: file.client_email, key_id: file.private_key_id, key, token_url })
    }

    /// A statement of this account, signed, that holds from `now_s` (Unix seconds) for an hour.
    pub(super) fn statement(&self, now_s: u64) -> Result<String, String> {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.key_id});
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_url,
            "iat": now_s,
            "exp": now_s + LIFETIME_S,
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "its key does not sign".to_owned())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use base64::engine::general_purpose::STANDARD;
    use serde_json::Value;

    use super::*;

    fn file(pem: &str, token_uri: &str) -> Vec<u8> {
        json!({
            "type": "service_account",
            "client_email": "reader@project.iam.gserviceaccount.com",
            "private_key_id": "0123",
            "private_key": pem,
            "token_uri": token_uri,
        })
        .to_string()
        .into_bytes()
    }

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    #[test]
    fn a_statement_is_what_google_documents_and_its_signature_is_right() {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = key.as_der().unwrap();
        let account =
            Account::parse(&file(&pem(der.as_ref()), "https://oauth2.googleapis.com/token")).unwrap();
        let statement = account.statement(1_790_000_000).unwrap();
        let parts: Vec<_> = statement.split('.').collect();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
        assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "0123"}));
        let claims: Value = serde_json::from_slice(&decode(parts[1])).unwrap();
        let expected = json!({
            "iss": "reader@project.iam.gserviceaccount.com",
            "scope": "https://www.googleapis.com/auth/drive.readonly",
            "aud": "https://oauth2.googleapis.com/token",
            "iat": 1_790_000_000,
            "exp": 1_790_003_600,
        });
        assert_eq!(claims, expected);
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
        let signed = format!("{}.{}", parts[0], parts[1]);
        public.verify(signed.as_bytes(), &decode(parts[2])).unwrap();
        let shown = format!("{account:?}");
        assert!(shown.contains("reader@") && !shown.contains("PRIVATE"), "{shown}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_citing_it() {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pem = pem(key.as_der().unwrap().as_ref());
        let uri = "https://oauth2.googleapis.com/token";
        let wrong = [
            (b"secret".to_vec(), "not the JSON"),
            (br#"{"type":"authorized_user"}"#.to_vec(), "not the JSON"),
            (
                String::from_utf8(file(&pem, uri)).unwrap().replace("service_account", "other").into(),
                "another kind",
            ),
            (file("secret", uri), "no PEM"),
            (file(&pem.replace("MII", "AAA"), uri), "no RSA key"),
            (file(&pem, "http://elsewhere.example/token"), "token_uri"),
        ];
        for (text, expected) in wrong {
            let error = Account::parse(&text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }
}
