//! The values of an open label, each known by a small number.

use std::fmt;

use rustc_hash::FxHashMap;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{OTHER_ID, ValueId};
use crate::catalog::OTHER;

/// Most values that are remembered for one open domain; beyond it every new one is [`OTHER`].
const MAX_SYMBOLS: usize = 20_000;

/// The values of one open domain, in the order in which they were first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Symbols {
    /// All names, one after another.
    text: String,
    /// Where in `text` each ends.
    ends: Vec<usize>,
    /// Made by [`Symbols::prepare`]: whoever only shows names needs no look-up.
    ids: FxHashMap<Box<str>, ValueId>,
}

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Self { text: String::new(), ends: Vec::new(), ids: FxHashMap::default() };
        symbols.intern(OTHER);
        symbols
    }
}

impl Serialize for Symbols {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Symbols {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReadSymbols)
    }
}

/// Reads names without making a text of each: a scrape reads as many as there are series.
struct ReadSymbols;

impl<'de> Visitor<'de> for ReadSymbols {
    type Value = Symbols;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Symbols, A::Error> {
        let ends = Vec::with_capacity(names.size_hint().unwrap_or(0).min(MAX_SYMBOLS));
        let mut symbols = Symbols { text: String::new(), ends, ids: FxHashMap::default() };
        while let Some(name) = names.next_element::<&str>()? {
            symbols.push(name);
        }
        Ok(symbols)
    }
}

impl Symbols {
    pub(super) fn intern(&mut self, name: &str) -> ValueId {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        if self.ends.len() >= MAX_SYMBOLS {
            return OTHER_ID;
        }
        let id = self.ends.len() as ValueId;
        self.push(name);
        self.ids.insert(name.into(), id);
        id
    }

    fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    /// Makes what was read from a checkpoint searchable.
    pub(super) fn prepare(&mut self) {
        self.ids = self.names().zip(0..).map(|(name, id)| (name.into(), id)).collect();
    }

    fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.ends.len()).map(|at| self.at(at).unwrap_or(OTHER))
    }

    pub(super) fn name(&self, id: ValueId) -> &str {
        self.at(usize::from(id)).unwrap_or(OTHER)
    }

    fn at(&self, at: usize) -> Option<&str> {
        let begin = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.text.get(begin..*self.ends.get(at)?)
    }
}
