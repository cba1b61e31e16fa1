//! What makes two questions the same, as a hash: no question stands in a store as a key.
//!
//! Everything that decides the answer goes in, each part with its length before it, so that no two different lists of parts
//! read alike: the reader as far as answers are not shared, tier, mode with its depth, who is asked in which order (name,
//! models, variant), whether and by whom answers are merged, the question [normalised](normalise), and what is read beside it (documents, a
//! log). Names and ids of sessions do not: nothing of an earlier question enters
//! a later one.

use std::borrow::Cow;

use aws_lc_rs::digest::{self, SHA256};
use techsapo_shared::labels::ClosedLabel as _;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

use super::Reader;
use crate::analysis::{Choice, Mode, Plan, Question};
use crate::config::format::CacheScope;
use crate::providers::Material;
use crate::store::redis::PREFIX;

/// Raised whenever the parts below, a value's form (`stored`) or the words that providers are asked in change: builds that
/// differ in it share nothing.
const VERSION: u32 = 3;

/// The hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; digest::SHA256_OUTPUT_LEN]);

impl Key {
    /// The key of a question as it will be put, for this reader.
    pub(super) fn of(plan: &Plan, scope: CacheScope, reader: &Reader) -> Self {
        // Spelled out, so that a new field is thought of here.
        let Question { prompt, task_type, mode, models: _, material, synthesis } = plan.question();
        let mut parts = Parts(digest::Context::new(&SHA256));
        parts.add(&VERSION.to_le_bytes());
        let Reader { key, user } = reader;
        let (key, user) = match scope {
            CacheScope::Everyone => (None, None),
            CacheScope::Caller => (Some(key), None),
            CacheScope::User => (Some(key), Some(user)),
        };
        for name in [key, user] {
            // Shared, nobody and somebody are three different things.
            parts.add(&[name.map_or(0, |name| 1 + u8::from(name.is_some()))]);
            parts.add(name.and_then(Option::as_deref).unwrap_or("").as_bytes());
        }
        parts.add(task_type.as_str().as_bytes());
        parts.add(match mode {
            Mode::Parallel => b"parallel",
            // How deep it goes is in the number of those who are asked.
            Mode::Sequential { depth: _ } => b"sequential",
        });
        parts.add_all(plan.choices());
        parts.add(&[u8::from(*synthesis)]);
        parts.add_all(plan.merger().into_iter());
        parts.add(normalise(prompt).as_bytes());
        // Another document, another log: another question.
        parts.add(&[u8::from(material.is_some())]);
        parts.add(material.as_ref().map_or("", Material::as_str).as_bytes());
        parts.key()
    }

    /// The key in Redis.
    pub(super) fn in_redis(&self) -> String {
        format!("{PREFIX}answer:{VERSION}:{}", hex::encode(self.0))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A key of no question.
    #[cfg(test)]
    pub(super) fn numbered(number: usize) -> Self {
        let mut parts = Parts(digest::Context::new(&SHA256));
        parts.add(&(number as u64).to_le_bytes());
        parts.key()
    }
}

struct Parts(digest::Context);

impl Parts {
    fn key(self) -> Key {
        let mut key = [0; digest::SHA256_OUTPUT_LEN];
        key.copy_from_slice(self.0.finish().as_ref());
        Key(key)
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn add_all(&mut self, choices: impl Iterator<Item = Choice>) {
        let choices: Vec<_> = choices.collect();
        self.add(&(choices.len() as u64).to_le_bytes());
        for Choice { provider, models, variant } in choices {
            self.add(provider.as_str().as_bytes());
            self.add(variant.as_bytes());
            self.add(&(models.len() as u64).to_le_bytes());
            models.iter().for_each(|model| self.add(model.as_bytes()));
        }
    }
}

/// A question without what cannot change its meaning: composed characters (NFC), one kind of line end, no white space around it.
/// Letter case, width and white space inside stay: in code and in names they mean something.
fn normalise(prompt: &str) -> String {
    let lines = if prompt.contains('\r') {
        Cow::Owned(prompt.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(prompt)
    };
    let text = lines.trim();
    // Nearly all text is composed already, and to compose it again would cost more than all the rest of a key.
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text.to_owned(),
        IsNormalized::No | IsNormalized::Maybe => text.nfc().collect(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::time::Duration;

    use techsapo_shared::labels::TaskType;

    use super::*;
    use crate::analysis::{Analyzer, Limits};
    use crate::providers::simulated::{Behaviour, NAMES, Simulated};
    use crate::providers::{LiveProviders, Provider};
    use crate::turnstile::Turnstile;

    /// Of so many simulated providers.
    pub(in crate::store::answers) fn analyzer(seed: u64, names: usize) -> Analyzer {
        let provider = |index: usize| {
            let behaviour = Behaviour {
                seed,
                latency: Duration::ZERO,
                latency_jitter: Duration::ZERO,
                failure_ppm: 0,
                timeout_ppm: 0,
                disagreement_ppm: 0,
                input_price_nanousd: 0,
                output_price_nanousd: 0,
            };
            let name = NAMES[index];
            Arc::new(Simulated::new(name, format!("model-{index}"), behaviour)) as Arc<dyn Provider>
        };
        let providers = (0..names).map(provider).collect();
        let limits = Limits { call: Duration::from_secs(1), analysis: Duration::from_secs(1) };
        Analyzer::new(Arc::new(LiveProviders::new(providers)), limits, Turnstile::new(1))
    }

    pub(in crate::store::answers) fn question(prompt: &str) -> Question {
        Question {
            prompt: prompt.to_owned(),
            task_type: TaskType::Basic,
            mode: Mode::Parallel,
            models: Vec::new(),
            material: None,
            synthesis: false,
        }
    }

    fn key(question: Question) -> Key {
        let plan = analyzer(1, 4).plan(question).unwrap();
        Key::of(&plan, CacheScope::Everyone, &Reader::default())
    }

    #[test]
    fn only_what_cannot_change_the_meaning_is_passed_over() {
        let same = key(question("Caf\u{e9}?\nWhy?"));
        for alike in ["  Caf\u{e9}?\nWhy?\n", "Cafe\u{301}?\r\nWhy?", "Caf\u{e9}?\rWhy?\u{3000}"] {
            assert_eq!(key(question(alike)), same, "{alike:?}");
        }
        for other in ["caf\u{e9}?\nWhy?", "Caf\u{e9}? Why?", "Caf\u{e9}?\n Why?", "Caf\u{e9}\u{ff1f}\nWhy?"] {
            assert_ne!(key(question(other)), same, "{other:?}");
        }
    }

    #[test]
    fn whatever_may_change_the_answer_changes_the_key() {
        let asked = |task_type, mode, models: &[&str]| {
            let models = models.iter().map(|model| (*model).to_owned()).collect();
            key(Question { task_type, mode, models, ..question("Why?") })
        };
        let sequential = |depth| Mode::Sequential { depth };
        let mut keys = vec![
            asked(TaskType::Basic, Mode::Parallel, &[]),
            asked(TaskType::Premium, Mode::Parallel, &[]),
            asked(TaskType::Basic, sequential(None), &[]),
            asked(TaskType::Basic, sequential(Some(3)), &[]),
            asked(TaskType::Basic, Mode::Parallel, &["model-0", "model-2"]),
            asked(TaskType::Basic, Mode::Parallel, &["model-2", "model-0"]),
            asked(TaskType::Basic, Mode::Parallel, &["model-0", "model-1", "model-2"]),
            key(Question { material: Some(Material::new("", [].into_iter())), ..question("Why?") }),
            key(Question {
                material: Some(Material::new("", [("log", "A log.")].into_iter())),
                ..question("Why?")
            }),
        ];
        let merged = || Question { synthesis: true, ..question("Why?") };
        keys.push(key(merged()));
        for model in ["model-0", "model-1"] {
            let plan = analyzer(1, 4).merging_by(Some(model.to_owned())).plan(merged()).unwrap();
            keys.push(Key::of(&plan, CacheScope::Everyone, &Reader::default()));
        }
        for analyzer in [analyzer(2, 4), analyzer(1, 2)] {
            let plan = analyzer.plan(question("Why?")).unwrap();
            keys.push(Key::of(&plan, CacheScope::Everyone, &Reader::default()));
        }
        // Fewer spares: whoever stands by has no part in a whole answer.
        assert_eq!(keys.pop(), keys.first().copied());
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        assert_eq!(
            asked(TaskType::Basic, sequential(Some(1)), &[]),
            keys[2],
            "it is raised to what the tier needs"
        );
    }

    #[test]
    fn answers_are_shared_as_far_as_the_scope_goes() {
        let plan = analyzer(1, 4).plan(question("Why?")).unwrap();
        let name = |name: &str| Some(name.to_owned());
        let readers = [
            Reader { key: None, user: None },
            Reader { key: name(""), user: None },
            Reader { key: name("one"), user: None },
            Reader { key: name("one"), user: name("taro") },
            Reader { key: name("one"), user: name("hanako") },
            Reader { key: name("two"), user: name("taro") },
        ];
        let kinds =
            |scope| readers.iter().map(|reader| Key::of(&plan, scope, reader)).collect::<HashSet<_>>().len();
        assert_eq!([CacheScope::Everyone, CacheScope::Caller, CacheScope::User].map(kinds), [1, 4, 6]);
    }

    #[test]
    fn a_key_in_redis_tells_nothing_of_the_question() {
        let key = key(question("Why is the sky blue?")).in_redis();
        let prefix = format!("{PREFIX}answer:{VERSION}:");
        let digits = key.strip_prefix(&prefix).unwrap();
        assert!(digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    }
}
