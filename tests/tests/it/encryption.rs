//! Storage that is encrypted where it lies (`scripts/encrypted-storage.sh`): nothing in clear beneath, no wrong key, and an exporter and a
//! Prometheus that live on it over a `kill -9`.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use techsapo_tests::machine::is_installed;
use techsapo_tests::{Exporter, Process, Producer, RedisServer, facts, free_port, http, repository, wait};
use tempfile::TempDir;

/// How long a virtual machine may take to start and to do its work, without the help of the processor.
const VM_PATIENCE: Duration = Duration::from_secs(400);

/// Storage by gocryptfs: closed with this value.
struct Storage {
    folder: TempDir,
}

impl Storage {
    /// A place for storage, with a key. Or none, with a word on why.
    fn prepare_or_skip(test: &str) -> Option<Self> {
        let lacking = if !rustix::process::geteuid().is_root() {
            Some("only root can mount")
        } else if !Path::new("/dev/fuse").exists() {
            Some("this kernel has no FUSE")
        } else if !is_installed("gocryptfs") {
            Some("gocryptfs is missing; ./scripts/test.sh installs it")
        } else {
            None
        };
        if let Some(why) = lacking {
            skipped(test, why);
            return None;
        }
        let storage = Self { folder: TempDir::new().unwrap() };
        std::fs::create_dir(storage.beneath()).unwrap();
        assert!(storage.script(&["key", &storage.path("key")]).status.success());
        Some(storage)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// Where the encrypted files are.
    fn beneath(&self) -> PathBuf {
        self.folder.path().join("beneath")
    }

    /// Where they are seen in clear while it is open.
    fn open_at(&self) -> PathBuf {
        self.folder.path().join("open")
    }

    fn script(&self, words: &[&str]) -> Output {
        let mut command = Command::new(repository::root().join("scripts/encrypted-storage.sh"));
        command.args(words).env("TECHSAPO_STORAGE_DIR", self.folder.path().join("records"));
        // gocryptfs stays behind, and would keep a pipe open.
        let said = self.folder.path().join("said");
        let file = std::fs::File::create(&said).unwrap();
        let status =
            command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        Output { status, stdout: std::fs::read(said).unwrap(), stderr: Vec::new() }
    }

    /// Runs the script, which must succeed.
    fn run(&self, words: &[&str]) -> String {
        let output = self.script(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        said
    }

    /// Runs the script, which must refuse; returns what it says.
    fn refuse(&self, words: &[&str]) -> String {
        let output = self.script(words);
        assert!(!output.status.success(), "{words:?} was not refused");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn create(&self) {
        let (beneath, open) = (self.path("beneath"), self.path("open"));
        self.run(&["create", "metrics", &beneath, &open, "--key-file", &self.path("key")]);
    }

    fn open(&self) {
        self.run(&["open", "metrics", "--key-file", &self.path("key")]);
    }

    fn close(&self) {
        self.run(&["close", "metrics"]);
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // Also when something still uses it: the folder is deleted next.
        let _ = Command::new("umount").arg("--lazy").arg(self.open_at()).stderr(Stdio::null()).status();
    }
}

fn skipped(test: &str, why: &str) {
    // Not by a macro: what those print is kept back of tests that pass.
    let _ = writeln!(std::io::stderr(), "{test}: SKIPPED, {why}");
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Whether any file below `folder` holds any of `texts`, in its content or its name.
fn is_seen(folder: &Path, texts: &[&str]) -> bool {
    files(folder).iter().any(|file| {
        let (content, name) = (std::fs::read(file).unwrap(), file.to_string_lossy().into_owned());
        let holds = |text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
        texts.iter().any(|text| name.contains(text) || holds(text))
    })
}

#[test]
fn what_is_written_is_not_found_beneath_and_no_other_key_opens_it() {
    let Some(storage) = Storage::prepare_or_skip("encrypted storage") else { return };
    storage.create();
    std::fs::write(storage.open_at().join("canary-by-name"), "canary-by-content ".repeat(1_000)).unwrap();
    assert!(is_seen(&storage.open_at(), &["canary-by-content"]) && files(&storage.beneath()).len() > 1);
    assert!(!is_seen(&storage.beneath(), &["canary"]));
    assert!(storage.run(&["status"]).contains("open"));

    storage.close();
    assert_eq!(std::fs::read_dir(storage.open_at()).unwrap().count(), 0);
    assert_eq!(storage.script(&["status", "metrics"]).status.code(), Some(3));
    let wrong = storage.path("wrong");
    storage.run(&["key", &wrong]);
    assert!(
        storage.refuse(&["open", "metrics", "--key-file", &wrong]).contains("this key does not open metrics")
    );
    std::fs::set_permissions(storage.path("key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        storage
            .refuse(&["open", "metrics", "--key-file", &storage.path("key")])
            .contains("others may read the key")
    );
    std::fs::set_permissions(storage.path("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(storage.refuse(&["open", "metrics"]).contains("a key is needed"));
    assert!(storage.refuse(&["key", &storage.path("key")]).contains("never overwritten"));
    assert!(storage.refuse(&["open", "others"]).contains("no storage called others"));

    // What a service wrote while it was closed stands in clear, and would be hidden.
    std::fs::write(storage.open_at().join("stray"), "in clear").unwrap();
    assert!(
        storage
            .refuse(&["open", "metrics", "--key-file", &storage.path("key")])
            .contains("wrote there in clear")
    );
    std::fs::remove_file(storage.open_at().join("stray")).unwrap();
    storage.open();
    let kept = std::fs::read_to_string(storage.open_at().join("canary-by-name")).unwrap();
    assert_eq!(kept, "canary-by-content ".repeat(1_000));

    // A byte that somebody changed beneath is noticed.
    storage.close();
    let encrypted =
        files(&storage.beneath()).into_iter().max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&encrypted).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&encrypted, bytes).unwrap();
    storage.open();
    assert!(std::fs::read(storage.open_at().join("canary-by-name")).is_err());
    storage.close();
}

/// A Prometheus that keeps its data in `data`.
fn prometheus(folder: &Path, data: &Path, port: u16, exporter: &Exporter) -> Process {
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n  - job_name: exporter\n    static_configs:\n      \
         - targets: [{:?}]\n",
        exporter.address()
    );
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let process = Process::start("prometheus", folder, &mut command);
    wait::until_true("Prometheus is ready", || {
        http::get(&format!("http://127.0.0.1:{port}/-/ready")).is_ok_and(|answer| answer.status == 200)
    });
    process
}

/// Samples that Prometheus has of a counter.
fn samples(port: u16) -> u64 {
    let query = r#"sum(count_over_time(techsapo_telemetry_events_total{type="cache_lookup"}[1h]))"#;
    let url = format!("http://127.0.0.1:{port}/api/v1/query");
    let answer = http::send(http::client().get(url).query(&[("query", query)])).unwrap().json();
    let text = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("0").to_owned();
    text.parse::<f64>().unwrap() as u64
}

#[test]
fn an_exporter_and_a_prometheus_live_on_it_over_a_kill_and_a_closing() {
    let Some(storage) = Storage::prepare_or_skip("encrypted storage under load") else { return };
    storage.create();
    let (redis, folder, port) = (RedisServer::start(), TempDir::new().unwrap(), free_port());
    let data = storage.open_at().join("prometheus");
    let mut exporter = Exporter::of(&redis).checkpoints(&storage.open_at().join("exporter")).start();
    let mut server = prometheus(folder.path(), &data, port, &exporter);
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(500));
    let lookups = |exporter: &Exporter| {
        exporter.scrape().counter("techsapo_telemetry_events_total").with("type", "cache_lookup").total()
    };
    exporter.scrape_after(&mut producer);
    assert_eq!(lookups(&exporter), 500.0);
    wait::until_true("Prometheus has scraped it", || samples(port) >= 4);

    exporter.kill_9();
    let had = samples(port);
    server.kill_9();
    assert!(
        !is_seen(&storage.beneath(), &["cache_lookup", "techsapo_"]),
        "names of metrics are labels of series"
    );
    assert!(is_seen(&storage.open_at(), &["cache_lookup"]), "and stand in what Prometheus writes");
    wait::until_true("nothing uses it any more", || storage.script(&["close", "metrics"]).status.success());
    storage.open();

    exporter.restart();
    assert_eq!(lookups(&exporter), 500.0, "every counter was kept");
    producer.send(&facts::many(20));
    exporter.scrape_after(&mut producer);
    assert_eq!(lookups(&exporter), 520.0);
    let mut server = prometheus(folder.path(), &data, port, &exporter);
    wait::until_true("Prometheus has what it had", || samples(port) >= had);
    server.sigterm();
    exporter.sigterm();
    wait::until_true("nothing uses it any more", || storage.script(&["close", "metrics"]).status.success());
}

/// Starts the virtual machine on this disk.
fn boot(images: &Path, folder: &Path, disk: &Path) -> Process {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg", "-cpu", "max", "-m", "512", "-nographic", "-no-reboot", "-nic", "none"]);
    command.arg("-kernel").arg(images.join("vmlinuz")).arg("-initrd").arg(images.join("memory"));
    command.args(["-append", "console=ttyS0 quiet panic=-1"]);
    command.arg("-drive").arg(format!("file={},format=raw,if=virtio", disk.display()));
    Process::start("machine", folder, &mut command)
}

#[test]
fn luks_keeps_what_was_written_over_a_loss_of_power_and_shows_nothing_of_it() {
    let test = "LUKS in a virtual machine";
    let there = is_installed("qemu-system-x86_64");
    if !there || !cfg!(target_arch = "x86_64") {
        return skipped(test, "qemu-system-x86_64 is missing; ./scripts/test.sh installs it");
    }
    let output = Command::new(repository::root().join("scripts/stand-in-vm.sh")).output().unwrap();
    if !output.status.success() {
        return skipped(test, &String::from_utf8_lossy(&output.stderr));
    }
    let images = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let folder = TempDir::new().unwrap();
    let disk = folder.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();

    let mut machine = boot(&images, folder.path(), &disk);
    let says = |machine: &mut Process, text: &str| {
        wait::until_within(VM_PATIENCE, text, || {
            let ended = machine.has_ended();
            let said = machine.log();
            assert!(!ended || said.contains(text), "it ended before it said {text:?}: {said}");
            said.contains(text).then_some(())
        });
    };
    says(&mut machine, "ready to lose power");
    machine.kill_9();
    let said = machine.log();
    for line in [
        "metrics is open at /data",
        "metrics          closed   luks",
        "this key does not open metrics",
        "the wrong key: refused",
        "a disk that holds something: refused",
        "what-must-not-be-seen",
    ] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
    let beneath = std::fs::read(&disk).unwrap();
    for text in ["what-must-not-be-seen", "and-more-of-it"] {
        assert!(
            !beneath.windows(text.len()).any(|window| window == text.as_bytes()),
            "{text} stands on the disk"
        );
    }

    let mut again = boot(&images, folder.path(), &disk);
    says(&mut again, "this is the end");
    let said = again.log();
    for line in [
        "kept: what-must-not-be-seen",
        "kept: and-more-of-it",
        "metrics          open     luks",
        "metrics is closed",
    ] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
}
