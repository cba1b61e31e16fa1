//! Documents as passages, and how well each answers a query: BM25 over our own terms. Pure: no network, no clock.
//!
//! A query's term counts for a passage the more often it stands there (saturating: [`SATURATION`]), the shorter the passage
//! is ([`LENGTH_SHARE`]), and the rarer it is in all. A document's name belongs to each of its passages. The sum is divided
//! by the most that such a query could reach, so that a score is 0 to 1: a passage of mean length that holds each
//! term once has 0.45, whatever the query. Equal scores stand in the order of names and passages.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::passages::passages;
use crate::analysis::agreement::terms::terms;
use crate::guard::sanitise::visible;

/// How soon repetition counts no more (BM25's k₁).
const SATURATION: f64 = 1.2;
/// How much a long passage is held against it (BM25's b).
const LENGTH_SHARE: f64 = 0.75;
/// Characters of a query that are read.
const MOST_QUERY_CHARS: usize = 4_000;
/// Different terms of a query that are looked for, the first.
const MOST_QUERY_TERMS: usize = 128;

/// What Drive tells of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Drive's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where a person can read it.
    pub link: Option<String>,
    /// When it was changed last, RFC 3339.
    pub modified_time: String,
}

/// A document that can be searched.
#[derive(Debug)]
pub struct Document {
    /// Where it is from.
    pub origin: Origin,
    /// Its passages, in order.
    pub passages: Vec<Passage>,
    /// Whether only its beginning was read.
    pub is_cut: bool,
    /// Size of the text.
    pub bytes: usize,
}

/// A part of a document.
#[derive(Debug)]
pub struct Passage {
    /// The text.
    pub text: String,
    /// Hashes of its terms, in order, and how often each stands there.
    terms: Vec<(u64, u32)>,
    /// Number of its terms, with repetitions.
    length: u32,
}

impl Document {
    /// Prepares a text. Takes milliseconds for a long one.
    pub(super) fn new(origin: Origin, text: &str, is_cut: bool) -> Self {
        let text = visible(text).replace("\r\n", "\n");
        let name = terms(&origin.name);
        let passage = |text: String| {
            let mut counts = BTreeMap::new();
            let mut length = 0;
            for term in terms(&text).iter().chain(&name) {
                *counts.entry(hash(term)).or_insert(0) += 1;
                length += 1;
            }
            Passage { text, terms: counts.into_iter().collect(), length }
        };
        let passages = passages(&text).into_iter().map(passage).collect();
        Self { origin, passages, is_cut, bytes: text.len() }
    }
}

/// Every document, as it was read last.
#[derive(Debug, Default)]
pub struct Index {
    documents: Vec<Arc<Document>>,
    /// Mean number of terms of a passage.
    mean_length: f64,
    passages: usize,
}

/// A passage that was found.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The document that it stands in.
    pub document: Arc<Document>,
    /// Its place there, from 0.
    pub passage: usize,
    /// How well it fits, 0 to 1.
    pub score: f64,
}

impl Hit {
    /// The passage's text.
    pub fn text(&self) -> &str {
        self.document.passages.get(self.passage).map_or("", |passage| &passage.text)
    }
}

impl Index {
    /// An index of these documents.
    pub(super) fn new(mut documents: Vec<Arc<Document>>) -> Self {
        let order = |document: &Arc<Document>| (document.origin.name.clone(), document.origin.id.clone());
        documents.sort_by_cached_key(order);
        let passages = documents.iter().map(|document| document.passages.len()).sum::<usize>();
        let lengths = documents.iter().flat_map(|document| &document.passages);
        let terms: f64 = lengths.map(|passage| f64::from(passage.length)).sum();
        let mean_length = if passages == 0 { 0.0 } else { terms / passages as f64 };
        Self { documents, mean_length, passages }
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// Number of passages.
    pub fn passages(&self) -> usize {
        self.passages
    }

    /// The passages that fit a query best, the best first; only those that hold a term of it. Time grows with the index:
    /// milliseconds for thousands of passages.
    pub fn search(&self, query: &str, most: usize) -> Vec<Hit> {
        let asked = asked(query);
        // The passages that hold any. How often each holds each term is counted again below: kept, it would be half a
        // kibibyte a passage, for every search that runs.
        let mut found: Vec<(&Arc<Document>, usize)> = Vec::new();
        let mut holders = vec![0_u32; asked.len()];
        for document in &self.documents {
            for (place, passage) in document.passages.iter().enumerate() {
                let mut holds_any = false;
                for (holders, term) in holders.iter_mut().zip(&asked) {
                    let holds = passage.count(*term) > 0;
                    *holders += u32::from(holds);
                    holds_any |= holds;
                }
                if holds_any {
                    found.push((document, place));
                }
            }
        }
        let weights: Vec<_> = holders.iter().map(|holders| rarity(self.passages, *holders)).collect();
        let most_reachable = weights.iter().sum::<f64>() * (SATURATION + 1.0);
        let mut scored: Vec<_> = found
            .into_iter()
            .map(|(document, place)| {
                let passage = &document.passages[place];
                let length = f64::from(passage.length) / self.mean_length;
                let reached: f64 = asked
                    .iter()
                    .zip(&weights)
                    .map(|(term, weight)| weight * saturated(passage.count(*term), length))
                    .sum();
                (reached / most_reachable, document, place)
            })
            .collect();
        // Stable: what scores the same stays in the order of names and places.
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let hit = |(score, document, passage)| Hit { document: Arc::clone(document), passage, score };
        scored.into_iter().take(most).map(hit).collect()
    }
}

impl Passage {
    fn count(&self, term: u64) -> u32 {
        self.terms.binary_search_by_key(&term, |(known, _)| *known).map_or(0, |at| self.terms[at].1)
    }
}

/// The different terms of a query, in its order.
fn asked(query: &str) -> Vec<u64> {
    let end = query.char_indices().nth(MOST_QUERY_CHARS).map_or(query.len(), |(end, _)| end);
    let mut asked = Vec::new();
    for term in terms(&query[..end]) {
        let term = hash(&term);
        if !asked.contains(&term) {
            asked.push(term);
        }
        if asked.len() == MOST_QUERY_TERMS {
            break;
        }
    }
    asked
}

/// How much a term weighs that so many of all passages hold; above zero for each.
fn rarity(passages: usize, holders: u32) -> f64 {
    let (all, holders) = (passages as f64, f64::from(holders));
    (1.0 + (all - holders + 0.5) / (holders + 0.5)).ln()
}

/// What a term's count is worth in a passage of `length` times the mean.
fn saturated(count: u32, length: f64) -> f64 {
    let count = f64::from(count);
    count * (SATURATION + 1.0) / (count + SATURATION * (1.0 - LENGTH_SHARE + LENGTH_SHARE * length))
}

/// The same in every run: the hasher has no seed.
fn hash(term: &str) -> u64 {
    FxBuildHasher.hash_one(term)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, text: &str) -> Arc<Document> {
        let origin = Origin {
            id: format!("id of {name}"),
            name: name.to_owned(),
            link: None,
            modified_time: "2026-01-01T00:00:00Z".to_owned(),
        };
        Arc::new(Document::new(origin, text, false))
    }

    fn index() -> Index {
        Index::new(vec![
            document(
                "Redis",
                "When Redis is out of memory, it refuses to write. Raise maxmemory, or let keys expire.",
            ),
            document("Certificates", "Certificates are renewed every 90 days. The timer runs at night."),
            document("障害対応手順", "データベースに接続できないときは、まず接続数の上限を確認します。"),
            document("休暇申請", "有給休暇は、前日までに上長へ申請してください。"),
            document(
                "Backups",
                "Backups of the database are made every 6 hours, and verified daily by restoring them.",
            ),
        ])
    }

    fn names(index: &Index, query: &str) -> Vec<String> {
        index.search(query, 9).iter().map(|hit| hit.document.origin.name.clone()).collect()
    }

    #[test]
    fn the_passage_that_answers_comes_first_in_both_languages() {
        let index = index();
        for (query, expected) in [
            ("How often are certificates renewed?", "Certificates"),
            ("redis refuses writes: out of memory", "Redis"),
            ("データベースの接続エラーの確認方法", "障害対応手順"),
            ("休暇はいつまでに申請しますか", "休暇申請"),
            ("restoring a backup", "Backups"),
            ("証明書 Certificate 90", "Certificates"),
        ] {
            assert_eq!(names(&index, query).first().map(String::as_str), Some(expected), "{query}");
        }
    }

    #[test]
    fn scores_are_shares_and_in_order_and_what_holds_no_term_is_not_found() {
        let index = index();
        let hits = index.search("database backups hours restoring", 9);
        assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
        assert!(hits.iter().all(|hit| hit.score > 0.0 && hit.score < 1.0), "{hits:?}");
        assert_eq!(index.search("database", 1).len(), 1);
        assert!(names(&index, "zeppelin").is_empty());
        assert!(names(&index, "the of and").is_empty() && names(&index, "").is_empty());
        assert!(Index::default().search("anything", 5).is_empty());
    }

    #[test]
    fn a_passage_of_mean_length_with_each_term_once_scores_045() {
        let index = Index::new(vec![document("", "alpha beta gamma"), document("", "delta epsilon zeta")]);
        let hits = index.search("alpha gamma", 5);
        assert_eq!(hits.len(), 1);
        assert!((hits[0].score - 1.0 / (SATURATION + 1.0)).abs() < 1e-9, "{}", hits[0].score);
    }

    #[test]
    fn what_nobody_sees_is_not_in_a_passage() {
        let document = document("x", "\u{feff}one\r\ntwo\u{200b}\u{e0041}three");
        assert_eq!(document.passages[0].text, "one\ntwothree");
    }
}
