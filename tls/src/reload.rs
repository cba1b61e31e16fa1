//! A value that is made of files, and made anew when they change.
//!
//! Nobody watches: whoever asks for the value looks, at most once in [`LOOK_EVERY`], whether a file is another than the
//! one that was read (by inode, size and times, so that replacing, writing in place and linking elsewhere are all seen).
//! A change that cannot be used leaves the value as it is, and is told once.

use std::error::Error;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::TlsError;

/// How often files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Largest file that is read: certificates are small.
const MOST_BYTES: u64 = 4 << 20;

/// Reads files, and remembers which and in which state.
#[derive(Debug, Default)]
pub struct Reader {
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl Reader {
    /// A whole file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, TlsError> {
        let failed = |source| TlsError::Read { path: path.to_owned(), source };
        // Noted before it is read: what is written meanwhile shows at the next look.
        self.seen.push((path.to_owned(), None));
        let file = File::open(path).map_err(failed)?;
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        if let Some((_, seen)) = self.seen.last_mut() {
            *seen = Some(stamp);
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn is_up_to_date(&self) -> bool {
        self.seen.iter().all(|(path, stamp)| fs::metadata(path).ok().map(|file| Stamp::of(&file)) == *stamp)
    }
}

type Load<T, E> = dyn Fn(&mut Reader) -> Result<T, E> + Send + Sync;

/// See the module.
pub struct Reloading<T, E = TlsError> {
    /// What it is, for the log.
    what: &'static str,
    load: Box<Load<T, E>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    files: Reader,
    looked: Instant,
    /// Why the files as they are cannot be used.
    trouble: Option<String>,
}

impl<T, E: Error> Reloading<T, E> {
    /// Makes the value with `load`, which names every file that it depends on by reading it.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn new(
        what: &'static str,
        load: impl Fn(&mut Reader) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let mut files = Reader::default();
        let value = Arc::new(load(&mut files)?);
        let state = State { value, files, looked: Instant::now(), trouble: None };
        Ok(Self { what, load: Box::new(load), state: Mutex::new(state) })
    }

    /// The value that is in force, after a look at the files if the last one was a while ago.
    pub fn current(&self) -> Arc<T> {
        let mut state = self.lock();
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            if !state.files.is_up_to_date() {
                self.reload(&mut state);
            }
        }
        Arc::clone(&state.value)
    }

    /// Whether what stands in the files is what is in force, else why not.
    ///
    /// # Errors
    /// Why the files as they are cannot be used.
    pub fn check(&self) -> Result<(), String> {
        self.current();
        self.lock().trouble.clone().map_or(Ok(()), Err)
    }

    fn reload(&self, state: &mut State<T>) {
        let mut files = Reader::default();
        match (self.load)(&mut files) {
            Ok(value) => {
                state.value = Arc::new(value);
                state.trouble = None;
                tracing::info!(what = self.what, "read anew and in force");
            }
            Err(error) => {
                let reason = error.to_string();
                if state.trouble.as_ref() != Some(&reason) {
                    tracing::error!(
                        what = self.what,
                        reason,
                        "the change cannot be used; what was read before stays in force"
                    );
                }
                state.trouble = Some(reason);
            }
        }
        state.files = files;
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, E> fmt::Debug for Reloading<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reloading({})", self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As after a while.
    fn later<E: Error>(text: &Reloading<String, E>) -> String {
        text.lock().looked -= 2 * LOOK_EVERY;
        text.current().as_ref().clone()
    }

    #[test]
    fn what_changes_is_taken_over_and_what_is_wrong_is_not() {
        let folder = tempfile::tempdir().unwrap();
        // One file names the other, as a configuration does.
        let [first, second, third] = ["first", "second", "third"].map(|name| folder.path().join(name));
        fs::write(&first, second.to_str().unwrap()).unwrap();
        fs::write(&second, "1").unwrap();
        let named = first.clone();
        let text = Reloading::new("text", move |reader| {
            let path = String::from_utf8(reader.read(&named)?).unwrap();
            let text = String::from_utf8(reader.read(Path::new(&path))?).unwrap();
            if text == "bad" { Err(TlsError::HalfPair) } else { Ok(text) }
        })
        .unwrap();
        assert_eq!(later(&text), "1");
        fs::write(&second, "2").unwrap();
        assert_eq!(*text.current(), "1", "looked at too soon");
        assert_eq!(later(&text), "2");

        fs::write(&second, "bad").unwrap();
        assert_eq!(later(&text), "2");
        assert_eq!(text.check(), Err(TlsError::HalfPair.to_string()));
        // Put right by what did not exist when it went wrong.
        fs::write(&first, third.to_str().unwrap()).unwrap();
        assert_eq!(later(&text), "2");
        assert!(text.check().unwrap_err().contains("third"));
        let new = folder.path().join("new");
        fs::write(&new, "3").unwrap();
        fs::rename(&new, &third).unwrap();
        assert_eq!((later(&text), text.check()), ("3".to_owned(), Ok(())));
    }
}
