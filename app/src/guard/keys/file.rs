//! The file of keys: read whole, changed under a lock, replaced in one step, readable by its owner alone.
//!
//! A reader needs no lock: it sees the file before a change or after it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::record::KeyRecord;

/// Stands above the keys.
const HEAD: &str = "# API keys: what each may do, and the SHA-256 by which it is known. No key can be made from this.\n\
                    # Written by `techsapo keys`; a running app takes in every change.\n\n";

/// More than hundreds of thousands of keys take. What never ends, such as a device, is read no further.
const MOST_BYTES: u64 = 64 << 20;

/// Something is wrong with the file of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It does not hold keys. (The message names the place, and never what stands there.)
    #[error("{} is not a list of keys: {reason}; restore it, or make new keys with `techsapo keys create`", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The keys cannot be written as TOML.
    #[error("the keys cannot be written: {0}")]
    Encode(#[from] toml::ser::Error),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    key: Vec<KeyRecord>,
}

/// The keys in a file; nothing where there is none.
///
/// # Errors
/// When it cannot be read, or is not a list of keys.
pub fn read(path: &Path) -> Result<Option<Vec<KeyRecord>>, KeyFileError> {
    let read = |file: File| {
        let mut text = String::new();
        file.take(MOST_BYTES + 1).read_to_string(&mut text).map(|_| text)
    };
    let text = match File::open(path).and_then(read) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(system("read", path)(error)),
    };
    if text.len() as u64 > MOST_BYTES {
        let reason = format!("it has more than {MOST_BYTES} bytes");
        return Err(KeyFileError::Content { path: path.to_owned(), reason });
    }
    let content: Content = toml::from_str(&text).map_err(|error| KeyFileError::Content {
        path: path.to_owned(),
        reason: error.message().to_owned(),
    })?;
    Ok(Some(content.key))
}

/// Whether others than its owner may read it.
pub fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// Changes the keys in a file, which is made if there is none. Whoever changes it at the same time waits.
///
/// # Errors
/// Whatever `change` has against it, or what is wrong with the file; it is then as it was.
pub fn update<T, E: From<KeyFileError>>(
    path: &Path,
    change: impl FnOnce(&mut Vec<KeyRecord>) -> Result<T, E>,
) -> Result<T, E> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(system("make the folder", folder))?;
    let lock_path = with_suffix(path, ".lock");
    let lock = private().create(true).open(&lock_path).map_err(system("open", &lock_path))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| system("lock", &lock_path)(error.into()))?;

    let mut keys = read(path)?.unwrap_or_default();
    let result = change(&mut keys)?;
    replace(path, folder, &keys)?;
    Ok(result)
}

fn replace(path: &Path, folder: &Path, keys: &[KeyRecord]) -> Result<(), KeyFileError> {
    let text = format!("{HEAD}{}", toml::to_string(&Content { key: keys.to_vec() })?);
    let temporary = with_suffix(path, ".new");
    // The lock makes it ours; one that a crash left may be truncated.
    let mut file =
        private().create(true).truncate(true).open(&temporary).map_err(system("open", &temporary))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(system("write", &temporary))?;
    hand_over(&file, path, folder);
    fs::rename(&temporary, path).map_err(system("replace", path))?;
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(system("write", folder))
}

/// Gives the new file to whom the old one belonged, or the folder: keys that root makes are for the app to read. Nobody
/// but root can, and nobody else needs to.
fn hand_over(file: &File, path: &Path, folder: &Path) {
    if let Ok(owner) = fs::metadata(path).or_else(|_| fs::metadata(folder)) {
        let _ = fchown(file, Some(owner.uid()), Some(owner.gid()));
    }
}

/// For its owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn system(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::System { action, path, source }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use techsapo_shared::labels::TaskType;

    use super::super::record::Scope;
    use super::super::token::NewToken;
    use super::*;

    fn record(name: &str) -> KeyRecord {
        let token = NewToken::random().unwrap();
        KeyRecord {
            id: token.id,
            name: name.to_owned(),
            tier: TaskType::Critical,
            scopes: vec![Scope::Api, Scope::Monitor],
            sha256: token.fingerprint,
            created: Timestamp::UNIX_EPOCH,
            expires: Some(Timestamp::UNIX_EPOCH),
            revoked: None,
        }
    }

    fn add(path: &Path, name: &str) -> Result<(), KeyFileError> {
        update(path, |keys| {
            keys.push(record(name));
            Ok(())
        })
    }

    #[test]
    fn what_is_written_is_read_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/keys.toml");
        assert_eq!(read(&path).unwrap(), None);
        add(&path, "one").unwrap();
        assert!(!is_open_to_others(&path));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(is_open_to_others(&path));
        add(&path, "\"other\"\n").unwrap();
        assert!(!is_open_to_others(&path));
        let names: Vec<_> = read(&path).unwrap().unwrap().into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["one", "\"other\"\n"]);
    }

    #[test]
    fn what_never_ends_is_read_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("it has more than"), "{error}");
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || (0..5).for_each(|n| add(path, &format!("{writer}-{n}")).unwrap()));
            }
        });
        assert_eq!(read(&path).unwrap().unwrap().len(), 40);
    }

    #[test]
    fn a_file_that_is_something_else_is_left_alone_and_not_cited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        fs::write(&path, "key = [{ id = \"x\", secret = \"very-secret\" }]").unwrap();
        let said = add(&path, "one").unwrap_err().to_string();
        assert!(said.contains("keys.toml") && !said.contains("very-secret"), "{said}");
        assert!(fs::read_to_string(&path).unwrap().contains("very-secret"));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        add(&path, "one").unwrap();
        let refused: Result<(), KeyFileError> = update(&path, |keys| {
            keys.clear();
            Err(KeyFileError::Content { path: PathBuf::new(), reason: "no".to_owned() })
        });
        assert!(refused.is_err());
        assert_eq!(read(&path).unwrap().unwrap().len(), 1);
    }
}
