//! Names that tell nothing about whom they stand for, and are the same each time: a keyed hash (HMAC-SHA-256). Without
//! the key, nobody can find out by trying whom a name stands for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::{hmac, rand};

/// Fewest bytes of a key that cannot be guessed.
const KEY_BYTES: usize = 32;
/// Characters of a short name: 64 bits, enough to tell users apart.
const SHORT: usize = 16;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("the key of the pseudonyms cannot be read or made in {} (audit.key_file)", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What stands in the file is no key.
    #[error("{} (audit.key_file) holds fewer than {KEY_BYTES} bytes, which is no key: delete it, and one is made", .0.display())]
    Short(PathBuf),
}

/// Makes pseudonyms with one key.
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    /// With a key that nobody ever sees: names last as long as this process.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn passing() -> io::Result<Self> {
        random_key().map(|key| Self::with(&key))
    }

    /// With the key in `file`, which is made if it is missing: names are the same in every run, and in all instances
    /// that have the file.
    ///
    /// # Errors
    /// When it can be neither read nor made, or holds no key.
    pub fn lasting(file: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { file: file.to_owned(), source };
        let key = match fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(file).map_err(failed)?;
                // Another instance may have been quicker; its key is as good.
                fs::read(file).map_err(failed)?
            }
            read => read.map_err(failed)?,
        };
        if key.len() < KEY_BYTES { Err(KeyError::Short(file.to_owned())) } else { Ok(Self::with(&key)) }
    }

    fn with(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A user's pseudonym.
    pub fn user(&self, id: &str) -> String {
        format!("u-{}", &self.hash(b"user", id.as_bytes())[..SHORT])
    }

    /// A session's id if it says nothing about a person (a UUID, a number, a token), else its pseudonym.
    pub fn session(&self, id: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
        // Letters alone may be a name.
        if id.chars().all(plain) && id.chars().any(|c| c.is_ascii_digit()) {
            id.to_owned()
        } else {
            format!("s-{}", &self.hash(b"session", id.as_bytes())[..SHORT])
        }
    }

    /// A prompt's fingerprint, 64 hexadecimal digits.
    pub fn prompt(&self, text: &str) -> String {
        self.hash(b"prompt", text.as_bytes())
    }

    /// `kind` keeps a prompt that is a user's name from having that user's pseudonym.
    fn hash(&self, kind: &[u8], text: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(kind);
        context.update(&[0]);
        context.update(text);
        hex::encode(context.sign())
    }
}

fn random_key() -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| io::Error::other("the system has no randomness"))?;
    Ok(key)
}

/// Makes the file, whole or not at all, unless it is there by then.
fn make(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Not by the process' number, which is the same in every container.
    let unfinished = file.with_extension(format!("{}.new", uuid::Uuid::new_v4()));
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    new.write_all(&random_key()?)?;
    new.sync_all()?;
    let linked = match fs::hard_link(&unfinished, file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    fs::remove_file(&unfinished)?;
    linked?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_gives_the_same_names_and_another_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/audit.key");
        let (one, two) = (Pseudonyms::lasting(&file).unwrap(), Pseudonyms::lasting(&file).unwrap());
        assert_eq!(one.user("taro"), two.user("taro"));
        assert_ne!(one.user("taro"), one.user("hanako"));
        assert_ne!(one.user("taro"), Pseudonyms::passing().unwrap().user("taro"));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).unwrap());
        assert_eq!(mode & 0o777, 0o600);

        fs::write(&file, "short").unwrap();
        assert!(matches!(Pseudonyms::lasting(&file), Err(KeyError::Short(_))));
    }

    #[test]
    fn a_session_that_may_be_a_person_is_a_pseudonym() {
        let names = Pseudonyms::passing().unwrap();
        for plain in ["0d5e3c1e-9a4d-4a52-9c1e-0c7fd1b0a001", "session-42", "7"] {
            assert_eq!(names.session(plain), plain);
        }
        for telling in ["taro@example.com", "山田太郎", "taro.yamada 1", "taro"] {
            assert!(names.session(telling).starts_with("s-"), "{telling}");
        }
    }

    #[test]
    fn a_prompt_s_fingerprint_is_64_digits() {
        let print = Pseudonyms::passing().unwrap().prompt("What?");
        assert!(print.len() == 64 && print.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
