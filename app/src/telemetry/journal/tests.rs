//! The journal against files that were filled, killed, cut short, torn and damaged; and against a naive model.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    process::{Command, Stdio},
};

use proptest::prelude::*;
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

#[test]
fn a_file_of_another_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, ["a"]);
    let error = after(file, |file| flip(file, 9)).err().unwrap();
    assert!(matches!(error, UnusableFile::Header(header::HeaderError::Format(258))), "{error}");
    let journal = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    assert_eq!((journal.files().len(), files_in(folder.path())), (1, 2));
}

/// What the version before wrote: format 1, a record for each event, with another checksum.
#[test]
fn a_file_of_the_format_before_is_drained() {
    let crc = |parts: &[&[u8]]| {
        let mut crc = crc32fast::Hasher::new();
        parts.iter().for_each(|part| crc.update(part));
        crc.finalize().to_le_bytes()
    };
    let record = |seq: u64, event: &str| {
        let (length, seq) = ((event.len() as u32).to_le_bytes(), seq.to_le_bytes());
        let crc = crc(&[event.as_bytes(), &length, &seq]);
        let mut record = [&length[..], &crc, &seq, event.as_bytes()].concat();
        record.resize(record.len().next_multiple_of(8), 0);
        record
    };
    let folder = tempfile::tempdir().unwrap();
    let recovered = after(file_with(folder.path(), 1, ["new", "new"]), |file| {
        let mut header = [0; 48];
        file.read_exact_at(&mut header, 0).unwrap();
        header[8..12].copy_from_slice(&1u32.to_le_bytes());
        let crc = crc(&[&header[..12], &header[16..]]);
        header[12..16].copy_from_slice(&crc);
        file.write_all_at(&header, 0).unwrap();
        // The third is beyond what the header knows.
        let records = [record(1, "one"), record(2, "two"), record(3, "three")].concat();
        file.write_all_at(&records, PAGE as u64).unwrap();
    });
    assert_eq!(recovered.unwrap().lines(), ["one", "two", "three"]);
}

#[test]
fn a_damaged_header_is_noticed_and_the_file_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    // Magic, checksum, capacity, id, time of creation.
    for at in [3, 13, 18, 30, 43] {
        let error = after(file_with(folder.path(), 1, ["a"]), |file| flip(file, at)).err().unwrap();
        assert!(matches!(error, UnusableFile::Header(header::HeaderError::Damaged)), "{at}: {error}");
    }
    // A head behind the tail, and a tail further away than the ring is long.
    for at in [16 * 8 + 2, 9 * 8 + 3] {
        let error = after(file_with(folder.path(), 1, ["a"]), |file| flip(file, at)).err().unwrap();
        assert!(matches!(error, UnusableFile::Header(header::HeaderError::Cursors)), "{at}: {error}");
    }
    let journal = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
    assert_eq!((journal.files().len(), files_in(folder.path())), (1, 8));
}

#[test]
fn a_file_shorter_than_its_header_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for length in [0, 10, PAGE as u64 - 1] {
        let error = after(file_with(folder.path(), 1, ["a"]), |file| file.set_len(length).unwrap());
        assert!(matches!(error, Err(UnusableFile::Header(header::HeaderError::Damaged))));
    }
}

#[test]
fn a_record_that_went_bad_is_lost_alone() {
    let folder = tempfile::tempdir().unwrap();
    // Records of 24 bytes: the second begins at 24. Its length, checksum, seq, event.
    for at in [24, 24 + 1, 24 + 3, 24 + 5, 24 + 8, 24 + 16] {
        let file = file_with(folder.path(), 1, ["one", "two", "three"]);
        let recovered = after(file, |file| flip(file, PAGE + at)).unwrap();
        assert_eq!(recovered.lines(), ["one", "null", "three"], "byte {at}");
        assert_eq!(recovered.pending_events(), 3);
    }
}

/// Each of its events takes its number and is counted.
#[test]
fn a_record_of_several_that_went_bad_is_lost_alone() {
    let folder = tempfile::tempdir().unwrap();
    // Its length, number of events, checksum, seq, events; what becomes of the other records is the same.
    for at in [24, 24 + 2, 24 + 3, 24 + 5, 24 + 8, 24 + 16, 24 + 19, 24 + 24] {
        let file = file_with(folder.path(), 1, ["one"]);
        put_together(&file, &["two", "three", "four"]);
        put_together(&file, &["five", "six"]);
        let recovered = after(file, |file| flip(file, PAGE + at)).unwrap();
        assert_eq!(recovered.lines(), ["one", "null", "null", "null", "five", "six"], "byte {at}");
        assert_eq!(recovered.pending_events(), 6);
    }
    let file = file_with(folder.path(), 1, ["one"]);
    put_together(&file, &["two", "three"]);
    let recovered = after(file, |file| flip(file, PAGE + 24 + 16)).unwrap();
    assert_eq!(recovered.lines(), ["one", "null", "null"], "the last one");
}

#[test]
fn records_at_either_end_may_be_the_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["one", "two", "three"];
    let first = after(file_with(folder.path(), 1, texts), |file| flip(file, PAGE)).unwrap();
    assert_eq!(first.lines(), ["null", "two", "three"]);
    let last = after(file_with(folder.path(), 1, texts), |file| flip(file, PAGE + 48)).unwrap();
    assert_eq!(last.lines(), ["one", "two", "null"]);
    let all = after(file_with(folder.path(), 1, texts), |file| {
        file.write_all_at(&[0xff; 72], PAGE as u64).unwrap();
    });
    assert_eq!(all.unwrap().lines(), ["null"; 3]);
}

#[test]
fn a_file_cut_short_gives_what_it_has_and_counts_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let texts: Vec<_> = (0..100).map(|n| format!("event {n:04}")).collect(); // 32 bytes each
    for kept in [0, 31, 32, 1000, 3199, 3200, 4000] {
        let file = file_with(folder.path(), 2, texts.iter().map(String::as_str));
        let recovered = after(file, |file| file.set_len((PAGE + kept) as u64).unwrap()).unwrap();
        let whole = (kept / 32).min(100);
        let found = recovered.lines();
        assert_eq!(found[..whole], texts[..whole], "{kept} bytes");
        assert_eq!(found[whole..], vec!["null"; 100 - whole], "{kept} bytes");
        recovered.upkeep().unwrap();
        free_all(&recovered);
        assert!(recovered.lines().is_empty());
    }
}

#[test]
fn a_ring_cut_short_gives_what_went_around_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, []);
    let text = |n: usize| format!("event {n:04}"); // 32 bytes each, 128 in the ring
    (0..100).for_each(|n| put(&file, &text(n)));
    free_all(&file);
    file.upkeep().unwrap();
    (100..200).for_each(|n| put(&file, &text(n)));
    let recovered = after(file, |file| file.set_len((PAGE + 110 * 32) as u64).unwrap()).unwrap();
    let expected: Vec<_> =
        (100..200).map(|n| if (110..128).contains(&n) { "null".into() } else { text(n) }).collect();
    assert_eq!(recovered.lines(), expected);
}

/// Power loss: the header page is older than the records.
#[test]
fn records_beyond_a_stale_header_are_found_and_a_torn_tail_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, ["one", "two"]);
    let mut old = [0; PAGE];
    File::open(file.path()).unwrap().read_exact(&mut old).unwrap();
    ["three", "four", "five"].into_iter().for_each(|text| put(&file, text));
    let recovered = after(file, |file| {
        file.write_all_at(&old, 0).unwrap();
        file.write_all_at(&[0; 24], PAGE as u64 + 72).unwrap(); // "four" never reached the disk
    });
    let recovered = recovered.unwrap();
    assert_eq!(recovered.lines(), ["one", "two", "three"]);
    assert_eq!(recovered.last_seq(), 3);
    // The next run finds the same.
    assert_eq!(after(recovered, |_| {}).unwrap().lines(), ["one", "two", "three"]);
}

/// Power loss: the header page is newer than the records.
#[test]
fn records_that_a_newer_header_knows_of_are_counted_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, ["one", "two", "three", "four"]);
    let recovered = after(file, |file| file.write_all_at(&[0; 48], PAGE as u64 + 48).unwrap()).unwrap();
    assert_eq!(recovered.lines(), ["one", "two", "null", "null"]);
    assert_eq!(recovered.last_seq(), 4);
}

/// Power loss: the head is older than what was freed. The space in between was not written again.
#[test]
fn a_stale_head_never_points_into_what_was_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let text = |n: u64| format!("event {n:04}"); // 32 bytes each, 128 in the ring
    let file = file_with(folder.path(), 1, []);
    let mut heads = vec![file.head()];
    for n in 1..=2000u64 {
        put(&file, &text(n));
        if n % 3 == 0 {
            let head = file.reach(file.head(), n.saturating_sub(5));
            file.acknowledge(head);
            heads.push(head);
            file.upkeep().unwrap();
        }
        let durable = *heads.iter().find(|head| head.pos == file.durable_head()).unwrap();
        let found = file.reach(durable, file.end().seq);
        assert_eq!(found, file.end());
        let mut oldest = Vec::new();
        file.read(durable, 1, &mut oldest);
        assert_eq!(String::from_utf8(oldest).unwrap(), format!("{}\n", text(durable.seq)));
    }
    assert_eq!(file.dropped(), 0);
}

/// A kill between the stores of `publish`: the seq is there, the position is not.
#[test]
fn a_kill_in_the_middle_of_publishing_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for emptied in [false, true] {
        let file = file_with(folder.path(), 1, ["one", "two", "three"]);
        if emptied {
            file.acknowledge(Cursor { pos: 48, seq: 3 });
        }
        let recovered = after(file, |file| file.write_all_at(&48u64.to_le_bytes(), 9 * 8).unwrap()).unwrap();
        let expected = ["one", "two", "three"];
        assert_eq!(recovered.lines(), &expected[if emptied { 2 } else { 0 }..]);
        assert_eq!(recovered.end(), Cursor { pos: 72, seq: 4 });
    }
}

/// The same, with records of several events.
#[test]
fn a_kill_in_the_middle_of_publishing_several_loses_none_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, ["one"]);
    put_together(&file, &["two", "three"]);
    let recovered = after(file, |file| file.write_all_at(&24u64.to_le_bytes(), 9 * 8).unwrap()).unwrap();
    assert_eq!(recovered.lines(), ["one", "two", "three"]);
    assert_eq!(recovered.end(), Cursor { pos: 56, seq: 4 });
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

/// A kill between the stores of the audit's cursor: the position is there, the seq is not.
#[test]
fn a_kill_in_the_middle_of_passing_the_audit_shifts_no_seq() {
    let folder = tempfile::tempdir().unwrap();
    for (pos, seq) in [(24, 2), (72, 4)] {
        let file = audited_file(folder.path(), 1);
        ["one", "two", "three"].iter().for_each(|text| put(&file, text));
        let recovered =
            after(file, |file| file.write_all_at(&u64::to_le_bytes(pos), 18 * 8).unwrap()).unwrap();
        assert_eq!(recovered.audited(), Some(Cursor { pos, seq }));
    }
}

/// A kill between the stores of `acknowledge`: the position is there, the seq is not.
#[test]
fn a_kill_in_the_middle_of_freeing_leaves_a_sound_file() {
    let folder = tempfile::tempdir().unwrap();
    for (pos, left) in [(48, vec!["three"]), (72, vec![])] {
        let file = file_with(folder.path(), 1, ["one", "two", "three"]);
        let recovered =
            after(file, |file| file.write_all_at(&u64::to_le_bytes(pos), 16 * 8).unwrap()).unwrap();
        assert_eq!(recovered.lines(), left);
    }
}

const CHILD: &str = "TECHSAPO_TEST_JOURNAL_CHILD";

/// Not a test of its own: the process that the next test kills.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let journal = Journal::open(Path::new(&folder), 64 << 20, false).unwrap();
    for t in 1u64.. {
        journal.append(&[fact(t)]);
        if t.is_multiple_of(1000) {
            eprintln!("appended {t}");
        }
    }
}

#[test]
fn kill_9_loses_nothing_that_was_appended() {
    let folder = tempfile::tempdir().unwrap();
    for said in [1, 3, 7] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "telemetry::journal::tests::child_that_appends_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stderr.take().unwrap());
        let mut reports = output.lines().map_while(Result::ok).filter(|line| line.starts_with("appended"));
        let last = reports.nth(said).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let journal = Journal::open(folder.path(), MIN_BYTES, false).unwrap();
        let files = journal.files();
        let found = files[0].lines();
        let appended: usize = last.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(found.len() >= appended, "{} of {appended}", found.len());
        assert_eq!(found, lines(1..=found.len() as u64));
        free_all(&files[0]);
        journal.retire_done();
        journal.close();
        assert_eq!(files_in(folder.path()), 0);
    }
}

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
