//! What a journal holds, frees, drops and hands over. `harm`: to files that were killed, torn and damaged; `model`: against a naive one.

mod harm;
mod model;

use std::os::unix::fs::FileExt;

use techsapo_shared::{
    event::{Anomaly, ErrorEvent},
    labels::{AnomalyType, Service, Severity},
};

use super::*;

const PAGE: usize = header::HEADER_BYTES;

fn fact(t: u64) -> Event<'static> {
    Event::Anomaly(Anomaly { t, kind: AnomalyType::TrafficSpike })
}

fn line(t: u64) -> String {
    serde_json::to_string(&fact(t)).unwrap()
}

fn lines(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(line).collect()
}

/// A file of `pages` pages with a record per text.
fn file_with<'a>(folder: &Path, pages: usize, texts: impl IntoIterator<Item = &'a str>) -> RunFile {
    let file = RunFile::create(folder, (pages * PAGE) as u64, false).unwrap();
    texts.into_iter().for_each(|text| put(&file, text));
    file
}

/// A file of `pages` pages whose records also wait for the audit.
fn audited_file(folder: &Path, pages: usize) -> RunFile {
    RunFile::create(folder, (pages * PAGE) as u64, true).unwrap()
}

fn put(file: &RunFile, text: &str) {
    put_together(file, &[text]);
}

/// Appends these in one record.
fn put_together<T: AsRef<str>>(file: &RunFile, texts: &[T]) {
    let mut draft = Draft::default();
    draft.begin();
    for text in texts {
        let write = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(text.as_ref().as_bytes());
            Ok::<_, ()>(())
        };
        draft.add(write).unwrap();
    }
    draft.finish();
    file.append(&mut draft);
}

/// Ends the file's run without a word, as a kill would, then does `harm` to its bytes, then recovers it.
fn after(file: RunFile, harm: impl FnOnce(&File)) -> Result<RunFile, UnusableFile> {
    let path = file.path().to_owned();
    drop(file);
    harm(&OpenOptions::new().read(true).write(true).open(&path).unwrap());
    RunFile::recover(&path)
}

fn flip(file: &File, at: usize) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
}

/// Files in `folder`, without the lock.
fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != LOCK_FILE).count()
}

fn free_all(file: &RunFile) {
    let end = file.end();
    file.acknowledge(end);
}

#[test]
fn what_is_appended_is_read_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    (1..=1000).for_each(|t| journal.append(&[fact(t)]));
    assert_eq!(journal.current().lines(), lines(1..=1000));
    assert_eq!(journal.pending_events(), 1000);
    let sample = journal.sample();
    assert_eq!((sample.capacity_bytes, sample.dropped), (MIN_BYTES, 0));
    assert_eq!(
        sample.used_bytes,
        1000 * ring::record_size(line(1).len()).max(ring::record_size(line(1000).len()))
    );
}

#[test]
fn reading_is_cut_at_a_size_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, ["aaaa", "bbbb", "cccc", "d"]);
    let mut batch = Vec::new();
    let middle = file.read(file.head(), 12, &mut batch);
    assert_eq!((batch.as_slice(), middle.seq), (b"aaaa\nbbbb\n".as_slice(), 3));
    batch.clear();
    assert_eq!(file.read(middle, 12, &mut batch), file.end());
    assert_eq!(batch, b"cccc\nd\n");
    batch.clear();
    file.read(file.head(), 1, &mut batch);
    assert_eq!(batch, b"aaaa\n", "at least one event, however long");
    assert_eq!(file.reach(file.head(), 3), middle);
}

/// What was stated together is one record, and still each event has its number.
#[test]
fn events_of_one_record_are_numbered_and_read_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, ["one"]);
    put_together(&file, &["two", "three", "four"]);
    put(&file, "five");
    assert_eq!(file.lines(), ["one", "two", "three", "four", "five"]);
    assert_eq!((file.last_seq(), file.pending_events()), (5, 5));

    let mut batch = Vec::new();
    let second = file.read(file.head(), 10, &mut batch);
    assert_eq!((batch.as_slice(), second.seq), (b"one\n".as_slice(), 2), "a batch holds whole records");
    for seq in 2..=4 {
        assert_eq!(file.reach(file.head(), seq), second, "the record that holds event {seq}");
    }
    let last = file.reach(file.head(), 5);
    assert_eq!(last.seq, 5);

    let mut seen = Vec::new();
    let stopped = file.scan(file.head(), |seq, event| {
        seen.push((seq, String::from_utf8(event.unwrap().to_vec()).unwrap()));
        seq < 3
    });
    assert_eq!(stopped, last, "behind a record, not within it");
    let expected = [(1, "one"), (2, "two"), (3, "three"), (4, "four")];
    assert_eq!(seen, expected.map(|(seq, text)| (seq, text.to_owned())));

    let recovered = after(file, |_| {}).unwrap();
    assert_eq!(recovered.lines(), ["one", "two", "three", "four", "five"]);
    assert_eq!(recovered.end().seq, 6);
}

#[test]
fn as_many_events_as_a_batch_may_have_are_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = RunFile::create(folder.path(), 1 << 20, false).unwrap();
    let group = ["x"; MAX_RECORD_EVENTS];
    let fitting = techsapo_shared::wire::MAX_BATCH_EVENTS as usize / MAX_RECORD_EVENTS;
    put(&file, "x");
    (0..=fitting).for_each(|_| put_together(&file, &group));
    let mut lines = Vec::new();
    let to = file.read(file.head(), usize::MAX, &mut lines);
    let events = lines.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!((events as u64, to.seq), (to.seq - 1, 2 + ((fitting - 1) * MAX_RECORD_EVENTS) as u64));
    assert_eq!(file.lines().len() as u64, file.last_seq());
}

#[test]
fn records_go_around_the_ring_many_times() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, []);
    for round in 0..500u64 {
        let text = "x".repeat(1 + (round as usize * 37) % 700);
        put_together(&file, &[&text, "z"]);
        put(&file, "y");
        assert_eq!(file.lines(), [text, "z".to_owned(), "y".to_owned()]);
        free_all(&file);
        file.upkeep().unwrap();
    }
    assert_eq!((file.last_seq(), file.dropped()), (1500, 0));
    let recovered = after(file, |_| {}).unwrap();
    assert!(recovered.lines().is_empty());
    assert_eq!(recovered.end().seq, 1501);
}

#[test]
fn a_full_journal_drops_and_counts_and_takes_more_when_space_is_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let text = "x".repeat(496); // 512 bytes with its header: eight fill the ring.
    let file = file_with(folder.path(), 1, std::iter::repeat_n(text.as_str(), 11));
    assert_eq!((file.lines().len(), file.dropped()), (8, 3));

    let third = file.reach(file.head(), 3);
    file.acknowledge(third);
    put(&file, &text);
    assert_eq!(file.dropped(), 4, "the head is not on the disk yet");
    file.upkeep().unwrap();
    (0..3).for_each(|_| put(&file, &text));
    assert_eq!((file.lines().len(), file.dropped(), file.last_seq()), (8, 5, 10));
}

#[test]
fn an_event_that_is_too_long_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    let long = "x".repeat(ring::MAX_RECORD_BYTES);
    let (severity, service) = (Severity::Error, Service::Other);
    journal.append(&[Event::Error(ErrorEvent { t: 1, error_type: long.into(), severity, service })]);
    journal.append(&[fact(2)]);
    assert_eq!(journal.current().lines(), [line(2)]);
    assert_eq!((journal.sample().dropped, journal.current().oversized()), (1, 1));
}

/// Of events that are stated together, only the one that is too long is dropped; nor is their number or length a reason to lose any.
#[test]
fn what_does_not_fit_into_one_record_is_spread_over_several() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    let many: Vec<_> = (1..=3 * MAX_RECORD_EVENTS as u64 + 1).map(fact).collect();
    journal.append(&many);
    assert_eq!(journal.current().lines(), lines(1..=many.len() as u64));
    free_all(journal.current());

    let error = |bytes| {
        let error_type = "x".repeat(bytes).into();
        Event::Error(ErrorEvent { t: 1, error_type, severity: Severity::Error, service: Service::Other })
    };
    let third = error(ring::MAX_RECORD_BYTES / 3);
    journal.append(&[
        fact(1),
        error(ring::MAX_RECORD_BYTES),
        fact(2),
        third.clone(),
        third.clone(),
        third,
        fact(3),
    ]);
    let found = journal.current().lines();
    assert_eq!((found.len(), &found[0], &found[1], &found[5]), (6, &line(1), &line(2), &line(3)));
    assert_eq!((journal.sample().dropped, journal.current().oversized()), (1, 1));
    journal.append(&[]);
    assert_eq!(journal.current().lines(), found);
}

#[test]
fn many_threads_append_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let journal = &journal;
            scope.spawn(move || (0..1000).for_each(|n| journal.append(&[fact(thread * 1000 + n)])));
        }
        let mut seen = journal.current().head();
        while seen.seq <= 4000 {
            let mut batch = Vec::new();
            seen = journal.current().read(seen, 4096, &mut batch);
            assert!(batch.split(|&byte| byte == b'\n').all(|line| line.is_empty() || line.starts_with(b"{")));
            std::thread::yield_now();
        }
    });
    let mut found = journal.current().lines();
    found.sort_unstable();
    let mut expected = lines(0..=3999);
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    let Err(error) = Journal::open(folder.path(), MIN_BYTES, false) else { panic!("two at once") };
    assert!(matches!(error, JournalError::InUse(_)), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    Journal::open(folder.path(), MIN_BYTES, false).unwrap();
}

#[test]
fn what_makes_a_journal_impossible_is_said_clearly() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Journal::open(folder.path(), MIN_BYTES - 1, false), Err(JournalError::TooSmall(_))));
    let occupied = folder.path().join("occupied");
    fs::write(&occupied, "a file").unwrap();
    let Err(error) = Journal::open(&occupied, MIN_BYTES, false) else { panic!("a file is no folder") };
    assert!(error.to_string().contains("occupied"), "{error}");
    let Err(error) = Journal::open(folder.path(), 1 << 60, false) else { panic!("no disk is that large") };
    assert!(matches!(error, JournalError::Create { .. }), "{error}");
    assert_eq!(files_in(folder.path()), 1, "nothing is left of it but the file in the way");
}

#[test]
fn a_file_of_an_earlier_run_keeps_its_id_and_is_deleted_when_drained() {
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    (1..=3).for_each(|t| first.append(&[fact(t)]));
    let producer = first.current().producer().to_owned();
    drop(first);

    let second = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    second.append(&[fact(4)]);
    let files = second.files();
    assert_eq!(files.len(), 2);
    assert_eq!((files[0].producer(), files[0].head().seq), (producer.as_str(), 1));
    assert_eq!((files[0].lines(), files[1].lines()), (lines(1..=3), lines(4..=4)));
    assert_eq!(second.pending_events(), 4);

    free_all(&files[0]);
    second.retire_done();
    assert_eq!((second.files().len(), files_in(folder.path())), (1, 1));
}

#[test]
fn an_empty_file_is_deleted_by_the_next_run_and_an_acknowledged_one_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    drop(Journal::open(folder.path(), MIN_BYTES, false).unwrap());
    let journal = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    assert_eq!(files_in(folder.path()), 1);
    journal.append(&[fact(1)]);
    journal.close();
    assert_eq!(files_in(folder.path()), 1, "something is pending");
    free_all(journal.current());
    journal.close();
    assert_eq!(files_in(folder.path()), 0);
    journal.append(&[fact(2)]);
    assert_eq!((journal.pending_events(), journal.sample().dropped), (0, 1), "it takes nothing more");
}

#[test]
fn drops_that_nobody_was_told_of_are_inherited() {
    let folder = tempfile::tempdir().unwrap();
    let first = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    first.append(&[fact(1)]);
    (0..5).for_each(|_| first.current().count_dropped());
    assert_eq!(first.current().carry_dropped(1), 5);
    (0..2).for_each(|_| first.current().count_dropped());
    drop(first);

    // The batch that carried five was acknowledged; two were never carried.
    let second = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    let left = Arc::clone(&second.files()[0]);
    assert_eq!((left.dropped(), second.sample().dropped), (7, 0), "as long as it can tell of them itself");
    free_all(&left);
    left.settle_dropped(1);
    second.retire_done();
    assert_eq!(second.sample().dropped, 2);
    second.close();
    assert_eq!(files_in(folder.path()), 1, "a file with untold drops is not deleted");
    drop(second);
    assert_eq!(Journal::open(folder.path(), MIN_BYTES, false).unwrap().sample().dropped, 2);
}

/// What was sent before with a lower count may be acknowledged by that: it never carries a higher one.
#[test]
fn which_drops_a_batch_tells_of_depends_on_its_last_record_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, ["a", "b", "c", "d"]);
    let drop_some = |count| (0..count).for_each(|_| file.count_dropped());
    drop_some(5);
    assert_eq!(file.carry_dropped(2), 5);
    drop_some(2);
    assert_eq!((file.carry_dropped(1), file.carry_dropped(2)), (0, 5), "sent again, in other pieces");
    assert_eq!(file.carry_dropped(3), 5, "the count before is not acknowledged yet");
    file.settle_dropped(1);
    assert_eq!(file.dropped_untold(), 7);
    file.settle_dropped(3);
    assert_eq!(file.dropped_untold(), 2);
    assert_eq!(file.carry_dropped(3), 5, "it was sent before");
    assert_eq!(file.carry_dropped(4), 7);
    file.settle_dropped(4);
    assert_eq!(file.dropped_untold(), 0);
}

/// Space that the exporter has freed is not written again while the audit needs it, nor the other way round; and a
/// file goes only when both are done.
#[test]
fn a_record_is_free_when_both_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), MIN_BYTES, true).unwrap();
    (1..=10).for_each(|t| journal.append(&[fact(t)]));
    let file = Arc::clone(journal.current());
    file.acknowledge(file.end());
    assert_eq!((file.lines(), journal.pending_events(), journal.unaudited_events()), (lines(1..=10), 0, 10));
    file.pass_audit(file.reach(file.audited().unwrap(), 7));
    assert_eq!((file.lines(), journal.unaudited_events()), (lines(7..=10), 4));
    journal.close();
    drop((file, journal));

    let next = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    next.retire_done();
    assert_eq!(files_in(folder.path()), 2, "the audit still needs it");
    assert_eq!(next.unaudited_events(), 4, "this run's file is not audited");
    let earlier = Arc::clone(&next.files()[0]);
    earlier.pass_audit(earlier.end());
    next.retire_done();
    assert_eq!(files_in(folder.path()), 1);
}
