//! Loading: where each value comes from, and everything that is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::format::Format;
use super::{SECTIONS, SETTINGS, Settings};

/// Names that begin so belong to TechSapo.
const ENV_PREFIX: &str = "TECHSAPO_";

/// Environment variable of a setting: `redis.url` is `TECHSAPO_REDIS_URL`.
pub fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Environment variable that names a file with the setting's value: `TECHSAPO_REDIS_URL_FILE`.
fn file_env_name(key: &str) -> String {
    format!("{}_FILE", env_name(key))
}

/// Settings, and what a person should hear about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Environment variables that look like a setting misspelled. No errors: other programs may own them.
    pub warnings: Vec<String>,
    /// Every value as it was written, by key, in the order of [`SETTINGS`].
    effective: Vec<(&'static str, String)>,
}

impl Loaded {
    /// The settings in effect as a file that says the same (but no passwords), each with its help.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(
            "# TechSapo's settings. Each can be set by the environment variable beside it, which wins.\n\
             # `techsapo --check` tells whether everything is right; `techsapo --print-config` writes this file.\n",
        );
        let mut section = "";
        for (setting, (key, value)) in SETTINGS.iter().zip(&self.effective) {
            let (own_section, name) = key.split_once('.').unwrap_or(("", key));
            if own_section != section {
                section = own_section;
                let about =
                    SECTIONS.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, doc)| doc);
                text.push_str(&format!("\n# {}\n[{section}]\n", super::join_lines(about)));
            }
            let (help, env) = (setting.help(), env_name(key));
            text.push_str(&format!("\n# {help} ({env})\n{name} = {}\n", toml_value(value, setting.list)));
        }
        text
    }
}

fn toml_value(text: &str, list: bool) -> String {
    if list && text.is_empty() {
        return "[]".to_owned();
    }
    if list {
        let items: Vec<_> = text.split(',').map(|item| toml_value(item.trim(), false)).collect();
        return format!("[{}]", items.join(", "));
    }
    let numeric =
        text.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) && text.parse::<f64>().is_ok();
    let bare = numeric || ["true", "false"].contains(&text);
    // A string of JSON is one of TOML too.
    if bare { text.to_owned() } else { serde_json::Value::String(hide_password(text)).to_string() }
}

/// Something wrong in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File and line, or environment variable.
    pub place: String,
    /// The setting, or the key that is none.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.key, self.message)
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[error("{} wrong:{}", count(problems.len()), list(problems))]
pub struct ConfigError {
    /// Each problem by itself, in the order of the settings; never empty.
    pub problems: Vec<Problem>,
}

fn count(problems: usize) -> String {
    if problems == 1 { "one setting is".to_owned() } else { format!("{problems} settings are") }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Loads the settings from a file (if there is one) and the environment's variables.
///
/// # Errors
/// Lists everything that is wrong: bad syntax, unknown keys, bad values, contradictions.
pub fn load(file: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Loaded, ConfigError> {
    let mut source = Source { env, ..Source::default() };
    if let Some(path) = file {
        source.read_file(path);
    }
    source.read_named_files();
    let settings = Settings::read(&mut source);
    if let Some(settings) = &settings {
        for (key, expected) in settings.contradictions() {
            source.complain(key, &expected);
        }
    }
    let Source { mut problems, effective, .. } = source;
    match settings {
        Some(settings) if problems.is_empty() => {
            Ok(Loaded { settings, warnings: misspelled(env), effective })
        }
        _ => {
            problems.sort_by_key(|problem| SETTINGS.iter().position(|setting| setting.key == problem.key));
            Err(ConfigError { problems })
        }
    }
}

/// A value as it was written.
#[derive(Clone)]
struct Found {
    /// Where: file and line, or environment variable.
    place: String,
    text: String,
    /// Whether it is for nobody's eyes, as whatever stands in a file of its own.
    secret: bool,
}

/// Where values are looked for. Collects what is wrong on the way.
pub(super) struct Source<'a> {
    env: &'a BTreeMap<String, String>,
    /// By key: what the file says, and where.
    file: BTreeMap<String, Found>,
    /// By key: what the file holds that the environment names, and where it names it.
    named: BTreeMap<&'static str, Found>,
    effective: Vec<(&'static str, String)>,
    problems: Vec<Problem>,
}

impl Default for Source<'_> {
    fn default() -> Self {
        static NOTHING: BTreeMap<String, String> = BTreeMap::new();
        Self {
            env: &NOTHING,
            file: BTreeMap::new(),
            named: BTreeMap::new(),
            effective: Vec::new(),
            problems: Vec::new(),
        }
    }
}

impl Source<'_> {
    /// The value of `key`, or nothing when it is wrong, which is then noted.
    pub(super) fn read<T>(&mut self, key: &'static str, default: &str, format: &Format<T>) -> Option<T> {
        let text = self.find(key).map_or_else(|| default.to_owned(), |found| found.text);
        let value = format.parse(&text);
        self.effective.push((key, text));
        if value.is_none() {
            self.complain(key, format.expected);
        }
        value
    }

    /// Where `key` is set, and to what.
    fn find(&self, key: &str) -> Option<Found> {
        let place = env_name(key);
        match self.variable(&place) {
            Some(text) => Some(Found { place, text: text.clone(), secret: false }),
            None => self.named.get(key).or_else(|| self.file.get(key)).cloned(),
        }
    }

    /// An empty variable is what compose files make of one that is not set.
    fn variable(&self, name: &str) -> Option<&String> {
        self.env.get(name).filter(|text| !text.is_empty())
    }

    /// Reads the files that the environment names instead of values.
    fn read_named_files(&mut self) {
        for setting in SETTINGS {
            let place = file_env_name(setting.key);
            let Some(path) =
                self.variable(&place).filter(|_| self.variable(&env_name(setting.key)).is_none())
            else {
                continue;
            };
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    let found = Found { place, text: text.trim().to_owned(), secret: true };
                    self.named.insert(setting.key, found);
                }
                Err(error) => {
                    let message = format!("the file {path} that it names cannot be read: {error}");
                    self.note(place, setting.key, message);
                }
            }
        }
    }

    fn complain(&mut self, key: &str, expected: &str) {
        let Found { place, text, secret } = self.find(key).unwrap_or_else(|| {
            let default =
                SETTINGS.iter().find(|setting| setting.key == key).map_or("", |setting| setting.default);
            Found { place: "the default".to_owned(), text: default.to_owned(), secret: false }
        });
        let shown =
            if secret { "what that file holds".to_owned() } else { format!("\"{}\"", hide_password(&text)) };
        let message = format!("{shown} is not right; expected {expected}");
        self.problems.push(Problem { place, key: key.to_owned(), message });
    }

    fn read_file(&mut self, path: &Path) {
        let place = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(Problem { place, key: "the file".to_owned(), message: error.to_string() });
                return;
            }
        };
        let line = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        match DeTable::parse(&text) {
            Ok(table) => self.read_table(table.get_ref(), "", &|offset| format!("{place}:{}", line(offset))),
            Err(error) => {
                let place = format!("{place}:{}", line(error.span().map_or(0, |span| span.start)));
                self.problems.push(Problem {
                    place,
                    key: "syntax".to_owned(),
                    message: error.message().to_owned(),
                });
            }
        }
    }

    fn read_table(&mut self, table: &DeTable<'_>, section: &str, place: &dyn Fn(usize) -> String) {
        for (name, value) in table {
            let key = format!("{section}{}", name.get_ref());
            let place_here = place(name.span().start);
            let is_section = SECTIONS.iter().any(|(section, _)| *section == key);
            match value.get_ref() {
                DeValue::Table(inner) if is_section => self.read_table(inner, &format!("{key}."), place),
                _ if is_section => self.note(place_here, &key, format!("is a section: write [{key}]")),
                _ if !SETTINGS.iter().any(|setting| setting.key == key) => {
                    self.note(place_here, &key, format!("is no setting{}", did_you_mean(&key)));
                }
                value => match written(value) {
                    Some(text) => {
                        self.file.insert(key, Found { place: place_here, text, secret: false });
                    }
                    None => self.note(place_here, &key, "is a table; expected a value".to_owned()),
                },
            }
        }
    }

    fn note(&mut self, place: String, key: &str, message: String) {
        self.problems.push(Problem { place, key: key.to_owned(), message });
    }
}

/// A value as it would stand in the environment.
pub(super) fn written(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(items) => {
            items.iter().map(|item| written(item.get_ref())).collect::<Option<Vec<_>>>()?.join(",")
        }
        DeValue::Table(_) => return None,
    })
}

fn did_you_mean(key: &str) -> String {
    let name = |key: &str| key.rsplit('.').next().map(str::to_owned);
    // The right name in the wrong section is nearer than any spelling.
    let same_name = SETTINGS.iter().find(|setting| name(setting.key) == name(key)).map(|setting| setting.key);
    nearest(key, SETTINGS.iter().map(|setting| setting.key))
        .or(same_name)
        .map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn misspelled(env: &BTreeMap<String, String>) -> Vec<String> {
    let known = |setting: &super::Setting| [env_name(setting.key), file_env_name(setting.key)];
    let known: Vec<_> = SETTINGS.iter().flat_map(known).collect();
    env.keys()
        .filter(|name| name.starts_with(ENV_PREFIX) && !known.contains(name))
        .filter_map(|name| {
            let near = nearest(name, known.iter().map(String::as_str))?;
            // One slip in a long name: more than that, and it is somebody else's.
            (strsim::damerau_levenshtein(name, near) <= 2)
                .then(|| format!("{name} is no setting; did you mean {near}?"))
        })
        .collect()
}

/// The text without the password of an address in it.
pub(super) fn hide_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        // An address all the same, mistyped.
        return text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("***@{host}"));
    };
    match rest.rsplit_once('@') {
        // A question may hold one too, and where a password with signs of its own ends nobody knows.
        _ if rest.contains('?') => format!("{scheme}://***"),
        Some((_, host)) => format!("{scheme}://***@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
