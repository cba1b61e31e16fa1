//! Files of other formats, killed, torn, cut short and damaged: what is left is read, and what is not is counted.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::fs::FileExt,
    process::{Command, Stdio},
};

use super::*;

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

/// A kill between the stores of the audit's cursor: the position is there, the seq is not.
#[test]
fn a_kill_in_the_middle_of_passing_the_audit_shifts_no_seq() {
    let folder = tempfile::tempdir().unwrap();
    for (pos, left) in [(24, vec![(2, "two"), (3, "three")]), (72, vec![])] {
        let file = audited_file(folder.path(), 1);
        ["one", "two", "three"].iter().for_each(|text| put(&file, text));
        let recovered =
            after(file, |file| file.write_all_at(&u64::to_le_bytes(pos), 18 * 8).unwrap()).unwrap();
        let mut found = Vec::new();
        let passed = recovered.scan(recovered.audited().unwrap(), |seq, event| {
            found.extend(event.map(|event| (seq, String::from_utf8(event.to_vec()).unwrap())));
            true
        });
        assert_eq!(found, left.into_iter().map(|(seq, text)| (seq, text.to_owned())).collect::<Vec<_>>());
        assert_eq!(passed, recovered.end());
    }
}

/// A kill between the stores of `acknowledge`: the position is there, the seq is not. What the exporter has is at most told to it as lost.
#[test]
fn a_kill_in_the_middle_of_freeing_leaves_a_sound_file() {
    let folder = tempfile::tempdir().unwrap();
    for (pos, left) in [(48, vec!["three"]), (72, vec!["null"; 3])] {
        let file = file_with(folder.path(), 1, ["one", "two", "three"]);
        let recovered =
            after(file, |file| file.write_all_at(&u64::to_le_bytes(pos), 16 * 8).unwrap()).unwrap();
        assert_eq!(recovered.lines(), left);
        assert_eq!(recovered.last_seq(), 3);
    }
}

/// Lost events of which the exporter has acknowledged only some, before another run drains the file.
#[test]
fn what_is_left_of_a_bad_end_is_counted_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_with(folder.path(), 1, ["one"]);
    put_together(&file, &["two", "three", "four"]);
    let recovered = after(file, |file| flip(file, PAGE + 24 + 16)).unwrap();
    assert_eq!(recovered.lines(), ["one", "null", "null", "null"]);
    recovered.acknowledge(recovered.reach(recovered.head(), 3));
    let next = after(recovered, |_| {}).unwrap();
    assert_eq!((next.head().seq, next.lines()), (3, vec!["null".to_owned(); 2]));
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
                "telemetry::journal::tests::harm::child_that_appends_until_it_is_killed",
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
