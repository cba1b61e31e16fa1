//! Whatever anybody writes to the stream: the decoder and the state take it, nothing panics, no counter decreases, and
//! the state can still be written and read back.
//!
//! A fuzzer for stable Rust. It begins with the files in `tests/corpus`, changes them at random (from a seed), and keeps
//! what made the exporter answer in a way that it had not seen before, so that it comes deeper by itself. An input that
//! breaks something is written to the corpus, and from then on every run begins with it.
//!
//! A file is an entry: `name=value`, fields separated by a line `--`; any bytes are one. The field `@` is its id's time.
//! `TECHSAPO_FUZZ_INPUTS=10000000 TECHSAPO_FUZZ_SEED=2` makes a run longer, and another.
#![allow(clippy::unwrap_used)] // What goes wrong here fails the test, and that is what a panic does.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use techsapo_exporter::apply::Quarantined;
use techsapo_exporter::catalog::{FAMILIES, FamilyId, Kind};
use techsapo_exporter::checkpoint;
use techsapo_exporter::state::State;
use techsapo_shared::wire::{Batch, DEFAULT_STREAM, EntryId, Line, decode_line};
use uuid::Uuid;

/// Inputs of one run, unless the environment says otherwise.
const INPUTS: u64 = 50_000;
/// After so many inputs the state is written, read back and compared.
const CHECKED_EVERY: u64 = 1_000;
/// After so many it begins anew: a full state meets less that is new.
const BEGUN_EVERY: u64 = 20_000;
/// Longest input: long ones are slow and say nothing more.
const MAX_BYTES: usize = 4_096;
/// Inputs that are kept in memory to be changed further.
const MAX_POOL: usize = 2_000;
const SEPARATOR: &[u8] = b"\n--\n";
/// What numbers and names are replaced with.
const TOKENS: &[&str] = &[
    "0",
    "1",
    "-1",
    "1e3",
    "0.5",
    "65536",
    "65537",
    "4294967296",
    "9007199254740993",
    "18446744073709551614",
    "18446744073709551615",
    "18446744073709551616",
    "253402300799999",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "\\u0000",
    "\u{1F600}",
    "\n",
    "\n--\n",
    "other",
    "Gemini",
    "UTC",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// The files of the corpus, in the order of their names.
fn kept() -> Vec<Vec<u8>> {
    let files: BTreeSet<PathBuf> =
        std::fs::read_dir(corpus()).unwrap().map(|file| file.unwrap().path()).collect();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// An input as an entry's fields.
fn fields(input: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut rest = Some(input);
    let parts = std::iter::from_fn(|| {
        let all = rest?;
        let end = all.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        rest = end.map(|end| &all[end + SEPARATOR.len()..]);
        Some(&all[..end.unwrap_or(all.len())])
    });
    let field = |part: &'_ [u8]| part.iter().position(|&byte| byte == b'=');
    parts.map(|part| field(part).map_or((part, &[][..]), |at| (&part[..at], &part[at + 1..]))).collect()
}

/// Changes an input in one to four places.
fn change(random: &mut Random, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(24)).min(input.len());
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => drop(input.drain(at..end)),
            3 => {
                let copy = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => {
                let token = TOKENS[random.below(TOKENS.len())];
                input.splice(at..at, token.bytes());
            }
            5 | 6 => replace_token(random, input, at),
            _ => {
                let other = &pool[random.below(pool.len())];
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
        }
    }
    input.truncate(MAX_BYTES);
}

/// Replaces the number or word that begins at or behind `at`.
fn replace_token(random: &mut Random, input: &mut Vec<u8>, at: usize) {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let Some(start) = input[at..].iter().position(is_part).map(|start| at + start) else { return };
    let end = input[start..].iter().position(|byte| !is_part(byte)).map_or(input.len(), |end| start + end);
    input.splice(start..end, TOKENS[random.below(TOKENS.len())].bytes());
}

/// The exporter's core, fed one input after the other.
struct Target {
    state: State,
    quarantine: Vec<Quarantined>,
    entry: u64,
    tallies: [u64; 4],
}

impl Target {
    fn new() -> Self {
        let state = State::new(Uuid::nil(), &[DEFAULT_STREAM.to_owned()], 50);
        Self { state, quarantine: Vec::new(), entry: 1_790_000_000_000, tallies: [0; 4] }
    }

    /// Takes an input, and says in what way it was answered.
    fn take(&mut self, input: &[u8]) -> u64 {
        let fields = fields(input);
        let time = fields.iter().find(|(name, _)| *name == b"@").map(|(_, value)| [*value, b"-0"].concat());
        self.entry += 1;
        let id = time.and_then(|id| EntryId::parse(&id)).unwrap_or(EntryId { ms: self.entry, seq: 0 });

        let mut answer = BTreeSet::new();
        let batch = Batch::decode(fields.iter().copied());
        match &batch {
            Ok(batch) => {
                answer.insert(format!("origin {}", batch.origin.is_some()));
                assert_eq!(batch.lines().count() as u64, batch.count);
                answer.extend(batch.lines().map(|line| match decode_line(line) {
                    Ok(Line::Event(event)) => format!("event {}", event.type_index()),
                    Ok(Line::Lost) => "lost".to_owned(),
                    Err(error) => error.to_string(),
                }));
            }
            Err(error) => drop(answer.insert(error.to_string())),
        }
        let count = batch.as_ref().map_or(1, |batch| batch.count);
        self.state.apply_entry(
            DEFAULT_STREAM,
            id,
            batch.map_err(|error| (error, &[][..])),
            &mut self.quarantine,
        );
        self.state.surplus_producers(id.ms);

        let after = self.tallies();
        let mut took = 0;
        for (place, (before, after)) in self.tallies.into_iter().zip(after).enumerate() {
            assert!(after >= before, "a counter of the pipeline decreased");
            if after > before {
                answer.insert(format!("tally {place}"));
            }
            took += after - before;
        }
        self.tallies = after;
        assert!(took <= count, "an entry of {count} events counted {took}");
        answer.extend(self.quarantine.drain(..).map(|refused| refused.reason));
        BuildHasherDefault::<DefaultHasher>::default().hash_one(answer)
    }

    /// What every event becomes one of: counted, rejected, or known already; and batches rejected.
    fn tallies(&self) -> [u64; 4] {
        [
            FamilyId::TelemetryEvents,
            FamilyId::TelemetryRejected,
            FamilyId::TelemetryDuplicates,
            FamilyId::TelemetryRejectedBatches,
        ]
        .map(|family| {
            let mut total = 0;
            self.state.series.for_each(family, |_, cells| total += cells[0]);
            total
        })
    }

    /// Every counter and every bucket, by family and labels.
    fn counters(&self) -> Vec<(String, Vec<u64>)> {
        let counters = FamilyId::ALL.iter().zip(FAMILIES).filter(|(_, row)| row.kind != Kind::Gauge);
        let mut all = Vec::new();
        for (&family, row) in counters {
            self.state.series.for_each(family, |labels, cells| {
                all.push((format!("{}{labels:?}", row.name), cells.to_vec()));
            });
        }
        all
    }

    /// Writes the state and goes on with what was read back. Gives its counters.
    fn restart(&mut self) -> Vec<(String, Vec<u64>)> {
        let mut read = checkpoint::decode(&checkpoint::encode(&self.state)).unwrap();
        // What was read once is the same whenever it is read: nothing that counts is left unwritten.
        assert!(
            checkpoint::decode(&checkpoint::encode(&read)).unwrap() == read,
            "a state changes by being written"
        );
        assert_eq!(read.resume(&[DEFAULT_STREAM.to_owned()], self.state.series_limit), []);
        read.revision = self.state.revision;
        self.state = read;
        self.counters()
    }
}

/// Whether every counter of `before` is at least as great in `after`.
fn check_increased(before: &[(String, Vec<u64>)], after: &[(String, Vec<u64>)]) {
    let mut rest = after.iter();
    for (name, cells) in before {
        // Series are only added, so that the old ones come in the same order.
        let (_, now) = rest.find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name} is gone"));
        assert!(cells.iter().zip(now).all(|(before, now)| before <= now), "{name} decreased");
    }
}

#[test]
fn whatever_stands_in_the_stream_is_taken() {
    let mut random = Random(number("TECHSAPO_FUZZ_SEED", 1));
    let inputs = number("TECHSAPO_FUZZ_INPUTS", INPUTS);
    let mut pool = kept();
    assert!(!pool.is_empty(), "there is no corpus in {}", corpus().display());
    let (mut first, mut answers) = (pool.clone().into_iter(), HashSet::new());
    let mut target = Target::new();
    let mut counters = target.counters();
    for number in 1..=inputs {
        let input = first.next().unwrap_or_else(|| {
            let mut input = pool[random.below(pool.len())].clone();
            change(&mut random, &mut input, &pool);
            input
        });
        let took = catch_unwind(AssertUnwindSafe(|| {
            let answer = target.take(&input);
            if number % CHECKED_EVERY == 0 {
                let before = target.counters();
                check_increased(&counters, &before);
                counters = target.restart();
                assert!(counters == before, "a restart changed a counter");
            }
            answer
        }));
        let Ok(answer) = took else {
            let name =
                format!("broke-{:016x}", BuildHasherDefault::<DefaultHasher>::default().hash_one(&input));
            std::fs::write(corpus().join(&name), &input).unwrap();
            panic!(
                "input {number} broke something; it is kept as {name}: {}",
                String::from_utf8_lossy(&input)
            );
        };
        if answers.insert(answer) && pool.len() < MAX_POOL {
            pool.push(input);
        }
        if number % BEGUN_EVERY == 0 {
            target = Target::new();
            counters = target.counters();
        }
    }
    eprintln!("{inputs} inputs, {} different answers", answers.len());
}
