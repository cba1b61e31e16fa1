//! Keys of vendors: from the environment, or from files that it names.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::key::{Key, MAX_BYTES};
use super::vendors::VENDORS;
use crate::config::Problem;

/// Where one key is.
#[derive(Debug, Clone)]
enum Source {
    Variable(String, Secret),
    File(String, PathBuf),
}

/// Text that may be a key and is not shown either.
#[derive(Clone)]
struct Secret(Arc<str>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Where the keys are, by vendor's section. Files are read anew whenever the keys are, so that a key can be changed while
/// the app runs.
#[derive(Debug, Clone, Default)]
pub struct KeySources(BTreeMap<&'static str, Source>);

/// The keys that are set, by vendor's section.
pub type Keys = BTreeMap<&'static str, Key>;

impl KeySources {
    /// What the environment names: `OPENAI_API_KEY`, or `OPENAI_API_KEY_FILE`; of both, the first. Empty is not set.
    pub fn of(env: &BTreeMap<String, String>) -> Self {
        let set = |name: &str| env.get(name).filter(|text| !text.trim().is_empty());
        let source = |variable: &str| {
            let file = format!("{variable}_FILE");
            match (set(variable), set(&file)) {
                (Some(key), _) => {
                    Some(Source::Variable(variable.to_owned(), Secret(Arc::from(key.as_str()))))
                }
                (None, Some(path)) => Some(Source::File(file, PathBuf::from(path))),
                (None, None) => None,
            }
        };
        Self(VENDORS.iter().filter_map(|row| Some((row.section, source(row.key_variable)?))).collect())
    }

    /// The keys as they are now.
    ///
    /// # Errors
    /// Everything that is wrong: files that cannot be read, texts that are no keys. No message holds a key.
    pub fn read(&self) -> Result<Keys, Vec<Problem>> {
        let (mut keys, mut problems) = (Keys::new(), Vec::new());
        for (&section, source) in &self.0 {
            match source.read() {
                Ok(key) => _ = keys.insert(section, key),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(keys) } else { Err(problems) }
    }

    /// The files that hold keys.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.values().filter_map(|source| match source {
            Source::File(_, path) => Some(path.as_path()),
            Source::Variable(..) => None,
        })
    }
}

impl Source {
    fn read(&self) -> Result<Key, Problem> {
        let (name, text) = match self {
            Self::Variable(name, text) => (name, Ok(text.0.to_string())),
            Self::File(name, path) => (name, std::fs::read_to_string(path)),
        };
        let problem = |message: String| Problem { place: name.clone(), key: "key".to_owned(), message };
        let text =
            text.map_err(|error| problem(format!("the file that it names cannot be read: {error}")))?;
        Key::new(&text).ok_or_else(|| {
            problem(format!("holds no key: expected 1 to {MAX_BYTES} visible ASCII characters in one line"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(pairs: &[(&str, &str)]) -> KeySources {
        KeySources::of(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn keys_come_from_variables_and_files_and_are_shown_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "sk-from-file\n").unwrap();
        let sources = sources(&[
            ("OPENAI_API_KEY", " sk-from-variable "),
            ("ANTHROPIC_API_KEY_FILE", file.to_str().unwrap()),
            ("GEMINI_API_KEY", ""),
        ]);
        let keys = sources.read().unwrap();
        assert_eq!(keys.keys().copied().collect::<Vec<_>>(), ["anthropic", "openai"]);
        assert_eq!(keys["anthropic"].header(""), "sk-from-file");
        assert_eq!(keys["openai"].header("Bearer "), "Bearer sk-from-variable");
        let shown = format!("{sources:?} {keys:?} {:?}", keys["openai"].header(""));
        assert!(!shown.contains("sk-"), "{shown}");
        std::fs::write(&file, "sk-changed").unwrap();
        assert_eq!(sources.read().unwrap()["anthropic"].header(""), "sk-changed");
    }

    #[test]
    fn everything_wrong_is_told_without_the_key() {
        let sources = sources(&[
            ("OPENAI_API_KEY", "sk-two\nlines"),
            ("GEMINI_API_KEY", "sk-schlüssel"),
            ("ANTHROPIC_API_KEY_FILE", "/nowhere/key"),
        ]);
        let problems = sources.read().unwrap_err();
        let text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        assert_eq!(problems.len(), 3, "{text}");
        assert!(!text.contains("sk-"), "{text}");
        for name in ["OPENAI_API_KEY", "GEMINI_API_KEY", "ANTHROPIC_API_KEY_FILE"] {
            assert!(text.contains(name), "{text}");
        }
    }
}
