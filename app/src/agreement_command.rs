//! `techsapo agreement`: scores pairs of answers from a file, one line of JSON for each, so that people can see how the
//! score does on answers of their own.
//!
//! In: lines `{"a": …, "b": …, "prompt"?: …, "label"?: 0|1}`; empty lines are passed over. Out: for each such line one with
//! `line` (its number, from 1), `agreement` and what it is made of; when any pair is labelled, a last one `{"summary": …}`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::analysis::agreement::Comparison;
use crate::analysis::agreement::evaluation::{Figures, Pair};

/// Longest line that is read: two answers of a megabyte each, escaped.
const MOST_LINE_BYTES: u64 = 16 << 20;

/// Scores pairs of answers by how far they agree, without a network.
///
/// Prints a line of JSON for each pair: agreement (0 to 1, calibrated), cosine, dice, similarity (before anything caps
/// it), conflicts (each with what it leaves at most) and capped (what is calibrated). When pairs are labelled, the last
/// line is {"summary": …} with the ROC-AUC, the expected calibration error (ece) and the Brier score.
///
/// Exit codes: 0 done, 1 could not read or write, 2 a line is not a pair.
#[derive(Debug, clap::Args)]
pub struct AgreementCommand {
    /// File of pairs, a line of JSON each: {"a": "…", "b": "…", "prompt": "…", "label": 1}; prompt and label may be left
    /// out, label is 1 when the answers agree and 0 when they do not. `-` reads the standard input.
    #[arg(value_name = "PAIRS.jsonl")]
    pairs: PathBuf,
}

/// Why pairs could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum AgreementError {
    /// A line that is no pair.
    #[error("line {line} of {} is not a pair, {{\"a\": \"…\", \"b\": \"…\"}} with an optional prompt and label (0 or 1)", path.display())]
    BadLine {
        /// Whose line.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A label that is neither.
    #[error("line {line} of {} has the label {label}; it is 1 when the answers agree, 0 when they do not", path.display())]
    BadLabel {
        /// Whose line.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What stands there.
        label: u8,
    },
    /// A line without an end.
    #[error("line {line} of {} is longer than {} MiB", path.display(), MOST_LINE_BYTES >> 20)]
    LongLine {
        /// Whose line.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
    },
    /// The file cannot be opened or read.
    #[error("cannot read the pairs in {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The results cannot be written.
    #[error("cannot write the results")]
    Write(#[source] io::Error),
}

impl AgreementError {
    /// Whether the input is at fault, not the system.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::BadLine { .. } | Self::BadLabel { .. } | Self::LongLine { .. })
    }
}

#[derive(Serialize)]
struct Scored<'a> {
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<u8>,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

#[derive(Serialize)]
struct Summary {
    pairs: usize,
    #[serde(flatten)]
    figures: Figures,
}

impl AgreementCommand {
    /// Scores every pair and writes the results to `out`.
    ///
    /// # Errors
    /// Says which line is wrong, or what cannot be read or written. What was scored before that has been written.
    pub fn run(&self, out: &mut impl Write) -> Result<(), AgreementError> {
        let read = |source| AgreementError::Read { path: self.pairs.clone(), source };
        if self.pairs == Path::new("-") {
            return score(&self.pairs, &mut io::stdin().lock(), out);
        }
        score(&self.pairs, &mut BufReader::new(File::open(&self.pairs).map_err(read)?), out)
    }
}

fn score(path: &Path, input: &mut impl BufRead, out: &mut impl Write) -> Result<(), AgreementError> {
    let (mut pairs, mut scored) = (0, Vec::new());
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let read = |source| AgreementError::Read { path: path.to_owned(), source };
        let bytes = input.by_ref().take(MOST_LINE_BYTES).read_until(b'\n', &mut text).map_err(read)?;
        if bytes == 0 {
            break;
        }
        if bytes as u64 == MOST_LINE_BYTES && text.last() != Some(&b'\n') {
            return Err(AgreementError::LongLine { path: path.to_owned(), line });
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let bad = |source| AgreementError::BadLine { path: path.to_owned(), line, source };
        let pair: Pair = serde_json::from_slice(&text).map_err(bad)?;
        if let Some(label) = pair.label.filter(|label| *label > 1) {
            return Err(AgreementError::BadLabel { path: path.to_owned(), line, label });
        }
        let comparison = pair.compare();
        write_line(out, &Scored { line, label: pair.label, comparison: &comparison })?;
        pairs += 1;
        scored.extend(pair.label.map(|label| (comparison.agreement, label == 1)));
    }
    if let Some(figures) = Figures::of(&scored) {
        write_line(out, &serde_json::json!({ "summary": Summary { pairs, figures } }))?;
    }
    out.flush().map_err(AgreementError::Write)
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> Result<(), AgreementError> {
    serde_json::to_writer(&mut *out, value).map_err(|error| AgreementError::Write(error.into()))?;
    out.write_all(b"\n").map_err(AgreementError::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &str) -> (Result<(), AgreementError>, Vec<serde_json::Value>) {
        let mut out = Vec::new();
        let result = score(Path::new("-"), &mut input.as_bytes(), &mut out);
        let lines = String::from_utf8(out).unwrap();
        (result, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    #[test]
    fn each_pair_is_a_line_and_labels_make_a_summary() {
        let (result, lines) = run(
            "{\"a\": \"Use it.\", \"b\": \"use  it\", \"label\": 1}\n\n{\"a\": \"Wait 30 s.\", \"b\": \"Wait 60 s.\", \"label\": 0}",
        );
        result.unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0]["line"], &lines[0]["agreement"]), (&1.into(), &1.0.into()));
        assert_eq!((&lines[1]["line"], &lines[1]["conflicts"][0]["reason"]), (&3.into(), &"number".into()));
        assert_eq!(lines[2]["summary"]["auc"], 1.0);
        assert_eq!(lines[2]["summary"]["pairs"], 2);
    }

    #[test]
    fn without_labels_there_is_no_summary() {
        let (result, lines) = run("{\"a\": \"x\", \"b\": \"y\"}\n");
        result.unwrap();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].get("summary").is_none());
    }

    #[test]
    fn a_bad_line_is_named() {
        for (input, expected) in [
            ("{\"a\": \"x\", \"b\": \"y\"}\nnonsense\n", "line 2 "),
            ("{\"a\": \"x\"}\n", "line 1 "),
            ("{\"a\": \"x\", \"b\": \"y\", \"label\": 2}\n", "label 2"),
        ] {
            let error = run(input).0.unwrap_err();
            assert!(error.is_input() && error.to_string().contains(expected), "{error}");
        }
    }
}
