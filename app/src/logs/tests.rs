//! The file and the queue by themselves: rotation, what a crash leaves, a disk that is full, a writer that is stuck.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use tracing::Level;

use super::LogError;
use super::file::LogFile;
use super::line::Style;
use super::queue::{Queue, Sink};

/// Nothing here takes this long.
const LONG: Duration = Duration::from_secs(20);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("app.log")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.0.path().join(format!("app.log.{suffix}"))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits until all that was rotated is compressed.
    fn wait_tidy(&self) {
        until(|| self.names().iter().all(|name| name == "app.log" || name.ends_with(".gz")));
    }

    /// Everything in all files, the oldest first.
    fn text(&self) -> String {
        let mut rotated = BTreeMap::new();
        for name in self.names() {
            if let Some(number) = name.strip_prefix("app.log.").and_then(|rest| rest.strip_suffix(".gz")) {
                rotated.insert(number.parse::<u64>().unwrap(), unzip(&self.0.path().join(&name)));
            }
        }
        rotated.into_values().collect::<String>() + &fs::read_to_string(self.log()).unwrap()
    }
}

fn unzip(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn until(done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "it never came");
        thread::sleep(Duration::from_millis(5));
    }
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| format!("line {number:06}\n")).collect()
}

#[test]
fn lines_go_from_file_to_file_whole_once_and_in_order() {
    let folder = Folder::new();
    // Twelve bytes a line: eight in a file. The disk keeps all of them.
    let mut file = LogFile::open(&folder.log(), 100, 1_000).unwrap();
    for from in (0..200).step_by(20) {
        assert_eq!(file.write(lines(from..from + 20).as_bytes()), 0);
    }
    folder.wait_tidy();
    assert_eq!(folder.text(), lines(0..200));
    assert_eq!(folder.names().len(), 25);
    assert_eq!(unzip(&folder.beside("1.gz")), lines(0..8));
}

#[test]
fn the_newest_are_kept_and_numbers_go_on_after_a_restart() {
    let folder = Folder::new();
    for from in [0, 100] {
        let mut file = LogFile::open(&folder.log(), 100, 7).unwrap();
        file.write(lines(from..from + 100).as_bytes());
        // A run that ends takes its thread with it; here both would be in one process.
        drop(file);
        folder.wait_tidy();
    }
    let newest: Vec<_> = (18..25).map(|number| format!("app.log.{number}.gz")).collect();
    until(|| folder.names()[1..] == newest);
    assert!(lines(0..200).ends_with(&folder.text()));
}

#[test]
fn a_line_larger_than_a_file_has_a_file_of_its_own() {
    let folder = Folder::new();
    let mut file = LogFile::open(&folder.log(), 50, 7).unwrap();
    let large = format!("{}\n", "x".repeat(200));
    assert_eq!(file.write(["small\n", &large, "small\n"].concat().as_bytes()), 0);
    folder.wait_tidy();
    assert_eq!(unzip(&folder.beside("2.gz")), large);
    assert_eq!(folder.text(), ["small\n", &large, "small\n"].concat());
}

#[test]
fn what_a_crash_left_is_finished() {
    let folder = Folder::new();
    // Cut off in the middle of: writing a line; renaming; compressing; deleting what was compressed.
    fs::write(folder.log(), "line 5\nli").unwrap();
    fs::write(folder.beside("next"), "").unwrap();
    fs::write(folder.beside("gz-part"), "half").unwrap();
    fs::write(folder.beside("3"), "line 3\n").unwrap();
    fs::write(folder.beside("2"), "line 2\n").unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, b"line 2\n").unwrap();
    fs::write(folder.beside("2.gz"), encoder.finish().unwrap()).unwrap();

    let mut file = LogFile::open(&folder.log(), 30, 7).unwrap();
    until(|| !folder.beside("2").exists() && !folder.beside("3").exists());
    file.write(b"line 6\n");
    assert_eq!(folder.text(), "line 2\nline 3\nline 5\nli\nline 6\n");
    file.write(&b"line 7\n".repeat(3));
    folder.wait_tidy();
    assert_eq!(folder.text(), "line 2\nline 3\nline 5\nli\nline 6\nline 7\nline 7\nline 7\n");
}

#[test]
fn a_file_that_was_moved_away_is_made_anew() {
    let folder = Folder::new();
    let mut file = LogFile::open(&folder.log(), 100, 7).unwrap();
    file.write(b"before\n");
    fs::rename(folder.log(), folder.0.path().join("elsewhere")).unwrap();
    file.write(b"after\n");
    assert_eq!(fs::read_to_string(folder.log()).unwrap(), "after\n");
    assert_eq!(fs::read_to_string(folder.0.path().join("elsewhere")).unwrap(), "before\n");
}

#[test]
fn two_do_not_write_to_one_file() {
    let folder = Folder::new();
    let mut file = LogFile::open(&folder.log(), 20, 7).unwrap();
    let again = || LogFile::open(&folder.log(), 20, 7);
    assert!(matches!(again(), Err(LogError::InUse { .. })));
    file.write(lines(0..5).as_bytes());
    assert!(matches!(again(), Err(LogError::InUse { .. })), "also after it was rotated");
    drop(file);
    assert!(again().is_ok());
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let mut file = LogFile::open(Path::new("/dev/full"), 100, 7).unwrap();
    assert_eq!(file.write(lines(0..3).as_bytes()), 3);
}

#[test]
fn lines_of_many_threads_come_out_whole_and_each_thread_s_in_order() {
    let folder = Folder::new();
    let sink = Sink::File(LogFile::open(&folder.log(), 4_000, 1_000).unwrap());
    let queue = Queue::start(sink, Style::Json).unwrap();
    let threads = ["a", "b", "c", "d"].map(|name| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            (0..500).for_each(|number| queue.push(&format!("{name} {number:04}\n"), Level::INFO));
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    queue.close(LONG);
    folder.wait_tidy();
    let text = folder.text();
    assert_eq!(text.lines().count(), 2_000);
    for name in ["a", "b", "c", "d"] {
        let own: Vec<_> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert!(own.iter().enumerate().all(|(number, line)| *line == format!("{name} {number:04}")));
    }
}

#[test]
fn a_writer_that_is_stuck_blocks_nobody_and_later_says_what_is_missing() {
    let folder = Folder::new();
    let path = folder.log();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    // A pipe takes 64 KiB; then whoever writes stands still until somebody reads.
    let queue = Queue::start(Sink::File(LogFile::open(&path, u64::MAX, 7).unwrap()), Style::Json).unwrap();
    let line = format!("{}\n", "x".repeat(1 << 16));
    // More than there is room for twice: what the writer has taken, and what waits meanwhile.
    (0..400).for_each(|_| queue.push(&line, Level::INFO));
    (0..4).for_each(|_| queue.push("an error\n", Level::ERROR));
    queue.flush(Duration::from_millis(50));
    let reader = thread::spawn(move || {
        let mut text = String::new();
        fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    queue.close(LONG);
    drop(queue);
    let text = reader.join().unwrap();
    let came = text.lines().filter(|line| line.starts_with('x')).count();
    // Once or twice: what had been dropped when the writer took the lines before, and what was after that.
    let told = text.lines().filter(|line| line.contains("Log lines were dropped"));
    let told =
        told.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["lines"].as_u64().unwrap());
    assert_eq!(told.sum::<u64>(), 400 - came as u64);
    assert!((100..400).contains(&came), "{came} came");
    assert_eq!(text.lines().filter(|line| *line == "an error").count(), 4);
}
