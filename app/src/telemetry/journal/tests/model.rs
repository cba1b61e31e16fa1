//! A file against a naive model of it, and against any bytes.

use std::{collections::VecDeque, os::unix::fs::FileExt};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Action {
    Append(Vec<String>),
    Drop,
    /// Records.
    Acknowledge(usize),
    /// Records.
    Audit(usize),
    Upkeep,
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => prop::collection::vec("[ -~é]{0,200}", 1..5).prop_map(Action::Append),
        1 => Just(Action::Drop),
        4 => (0..6usize).prop_map(Action::Acknowledge),
        4 => (0..6usize).prop_map(Action::Audit),
        4 => Just(Action::Upkeep),
        1 => Just(Action::Reopen),
    ]
}

/// What a file should hold: seq and text of what the exporter or the audit still needs.
#[derive(Default)]
struct Model {
    held: VecDeque<(u64, String)>,
    /// The last seq of each record that there ever was.
    ends: Vec<u64>,
    acknowledged: u64,
    audited: u64,
    last: u64,
    dropped: u64,
}

impl Model {
    fn settle(&mut self) {
        let free = self.acknowledged.min(self.audited);
        self.held.retain(|(seq, _)| *seq > free);
    }

    /// The last seq of the record that comes so many behind the one that ends with `seq`.
    fn further(&self, seq: u64, records: usize) -> u64 {
        let known = self.ends.partition_point(|&end| end <= seq);
        self.ends[..(known + records).min(self.ends.len())].last().copied().unwrap_or(0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_journal_does_what_a_list_does(actions in prop::collection::vec(action(), 1..200)) {
        let folder = tempfile::tempdir().unwrap();
        let mut file = audited_file(folder.path(), 1);
        let mut model = Model::default();
        for action in actions {
            match action {
                Action::Append(texts) => {
                    put_together(&file, &texts);
                    // Whether there is room depends on what is durable; that it is said truly does not.
                    if file.last_seq() > model.last {
                        model.held.extend((model.last + 1..).zip(texts));
                        model.last = model.held.back().unwrap().0;
                        model.ends.push(model.last);
                    } else {
                        model.dropped += texts.len() as u64;
                    }
                }
                Action::Drop => {
                    file.count_dropped();
                    model.dropped += 1;
                }
                Action::Acknowledge(records) => {
                    model.acknowledged = model.further(model.acknowledged, records);
                    file.acknowledge(file.reach(file.head(), model.acknowledged + 1));
                    model.settle();
                }
                Action::Audit(records) => {
                    model.audited = model.further(model.audited, records);
                    let from = file.audited().unwrap();
                    let mut seen = Vec::new();
                    let to = file.scan(from, |seq, event| {
                        let more = seq < model.audited;
                        if seq <= model.audited {
                            seen.push((seq, String::from_utf8(event.unwrap().to_vec()).unwrap()));
                        }
                        more
                    });
                    if from.seq <= model.audited {
                        let held = model.held.iter().filter(|(seq, _)| (from.seq..=model.audited).contains(seq));
                        prop_assert_eq!(seen, held.cloned().collect::<Vec<_>>());
                        file.pass_audit(to);
                    }
                    model.settle();
                }
                Action::Upkeep => file.upkeep().unwrap(),
                Action::Reopen => {
                    let recovered = after(file, |_| {}).unwrap();
                    check(&recovered, &model)?;
                    // A recovered file takes nothing; a new one goes on.
                    drop(recovered);
                    file = audited_file(folder.path(), 1);
                    model = Model::default();
                }
            }
            check(&file, &model)?;
        }
    }

    #[test]
    fn no_bytes_whatsoever_make_recovery_fail(
        harm in prop::collection::vec((0..3 * PAGE, any::<u8>()), 0..40),
        length in 0..3 * PAGE,
        texts in prop::collection::vec("[a-z]{0,200}", 0..30),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let file = file_with(folder.path(), 2, texts.iter().map(String::as_str));
        let recovered = after(file, |file| {
            for (at, byte) in harm {
                file.write_all_at(&[byte], at as u64).unwrap();
            }
            file.set_len(length as u64).unwrap();
        });
        if let Ok(file) = recovered {
            let held = file.last_seq() + 1 - file.needed().seq;
            prop_assert_eq!(file.lines().len() as u64, held, "every seq is sent or counted");
            file.upkeep().unwrap();
        }
    }
}

fn check(file: &RunFile, model: &Model) -> Result<(), TestCaseError> {
    let texts: Vec<_> = model.held.iter().map(|(_, text)| text.clone()).collect();
    prop_assert_eq!(file.lines(), texts);
    prop_assert_eq!(file.last_seq(), model.last);
    prop_assert_eq!(file.dropped(), model.dropped);
    prop_assert_eq!(file.head().seq, model.acknowledged + 1);
    prop_assert_eq!(file.audited().unwrap().seq, model.audited + 1);
    prop_assert_eq!(file.pending_events(), model.last - model.acknowledged);
    prop_assert_eq!(file.unaudited_events(), model.last - model.audited);
    prop_assert_eq!(file.is_done(), model.held.is_empty());
    Ok(())
}
