//! What goes wrong is said, told to Prometheus, and never taken for a backup.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use techsapo_tests::stack::said;
use techsapo_tests::{Backups, MariaDb, Process, check_metrics, free_port, textfile, wait};

use super::redis;

/// A database with a table of three rows.
fn database() -> MariaDb {
    let mysql = MariaDb::start();
    mysql.sql("CREATE TABLE analyses (n INT PRIMARY KEY, ended_at DATETIME(3)); INSERT INTO analyses VALUES (1, NOW()), (2, NOW()), (3, NULL)");
    mysql
}

#[test]
fn a_damaged_cut_off_or_missing_backup_is_found() {
    let (redis, mysql) = (redis(), database());
    redis.cli::<()>(&["SET", "techsapo:{app}:answer:2:a", "b"]);
    let backups = Backups::of(&redis).with_audit(&mysql);
    backups.make();
    backups.succeed("verify-backup.sh", &[]);
    assert_eq!(backups.figure("verification_success", "audit"), Some(1.0));

    let file = backups.newest("audit");
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() - 20] ^= 1;
    for (content, reason) in [
        (Some(flipped), "is damaged"),
        (Some(whole[..whole.len() - 1].to_vec()), "bytes; "),
        (None, "is missing"),
    ] {
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        for script in [&["verify-backup.sh"][..], &["restore.sh", "--yes"]] {
            let said = backups.fail(script[0], &script[1..]);
            assert!(said.contains("audit") && said.contains(reason), "{script:?}: {said}");
        }
        assert_eq!(backups.figure("verification_success", "audit"), Some(0.0));
        assert_eq!(backups.figure("verification_success", "redis"), Some(1.0));
        fs::write(&file, &whole).unwrap();
    }

    // Sound files, in which there is not what there should be.
    let manifest = backups.dir().join(format!("manifest-{}.txt", backups.stamps()[0]));
    let text = fs::read_to_string(&manifest).unwrap();
    for (line, other, reason) in [
        (
            "count audit analyses 3",
            "count audit analyses 4",
            "rows of analyses: 3 were restored, 4 were backed up",
        ),
        ("count redis keys 1", "count redis keys 2", "keys: 1 were restored, 2 were backed up"),
    ] {
        fs::write(&manifest, text.replace(line, other)).unwrap();
        let said = backups.fail("verify-backup.sh", &[]);
        assert!(said.contains(reason), "{said}");
    }
    fs::write(&manifest, text).unwrap();
    backups.succeed("verify-backup.sh", &[]);
}

#[test]
fn a_server_that_is_away_or_refuses_fails_its_kind_alone() {
    let (redis, mysql) = (redis(), database());
    redis.cli::<()>(&["CONFIG", "SET", "requirepass", "sesame-open"]);
    let closed = free_port();
    let redis_with = |password: &str| format!("redis://:{password}@127.0.0.1:{}", redis.port());
    let cases = [
        ("REDIS_URL", redis_with("wr0ng"), "redis", "cannot be asked"),
        ("REDIS_URL", format!("redis://127.0.0.1:{closed}"), "redis", "Connection refused"),
        ("REDIS_URL", "http://127.0.0.1".to_owned(), "redis", "not of the form redis or rediss://"),
        ("MYSQL_URL", mysql.url().replace(mysql.password(), "wr0ng"), "audit", "Access denied"),
        ("MYSQL_URL", format!("mysql://127.0.0.1:{closed}/techsapo_audit"), "audit", "cannot be asked"),
        ("MYSQL_URL", format!("{}x", mysql.url()), "audit", "cannot be asked"),
    ];
    for (setting, value, kind, reason) in cases {
        let mut backups = Backups::of(&redis).with_audit(&mysql);
        backups.set("REDIS_URL", &redis_with("sesame-open"));
        backups.set(setting, &value);
        let said = backups.fail("backup.sh", &[]);
        assert!(
            said.contains(&format!("{kind} was not backed up")) && said.contains(reason),
            "{value}: {said}"
        );
        assert!(!said.contains("wr0ng"), "{said}");
        let other = if kind == "redis" { "audit" } else { "redis" };
        assert_eq!(backups.figure("last_run_success", kind), Some(0.0), "{value}");
        assert_eq!(backups.figure("last_success_timestamp_seconds", kind), None, "{value}");
        assert_eq!(backups.figure("last_run_success", other), Some(1.0), "{value}");
        assert!(backups.newest(other).exists());
        assert!(backups.succeed("backup.sh", &["--list"]).contains("INCOMPLETE"), "{value}");
        assert_eq!(check_metrics(&backups.told()), Vec::<String>::new());
    }
}

#[test]
fn what_fails_is_tried_a_second_time() {
    let mut backups = Backups::new();
    let late = backups.scratch().join("late.toml");
    backups.set("KINDS", "config");
    backups.set("CONFIG_PATHS", &late.display().to_string());
    backups.set("RETRY_AFTER", "1");
    let said = backups.fail("backup.sh", &[]);
    assert!(said.contains("is tried again in 1 s") && said.contains("config was not backed up"), "{said}");

    backups.set("RETRY_AFTER", "10");
    let mut command = backups.script("backup.sh", &[]);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(running.stderr.as_mut().unwrap()).read_line(&mut told).unwrap();
    assert!(told.contains("config could not be backed up, and is tried again in 10 s"), "{told}");
    fs::write(&late, "here = true").unwrap();
    assert!(running.wait().unwrap().success());
    assert_eq!(backups.figure("last_run_success", "config"), Some(1.0));
    backups.set("RETRY_AFTER", "soon");
    assert!(backups.fail("backup.sh", &[]).contains("RETRY_AFTER must be a whole number"));
}

#[test]
fn what_prometheus_is_told_is_declared_and_a_success_stays_known_when_the_next_run_fails() {
    let (redis, mysql) = (redis(), database());
    let mut backups = Backups::of(&redis).with_audit(&mysql);
    backups.make();
    backups.succeed("verify-backup.sh", &[]);
    let success = backups.figure("last_success_timestamp_seconds", "redis");
    assert!(success.is_some());
    backups.set("REDIS_URL", &format!("redis://127.0.0.1:{}", free_port()));
    backups.fail("backup.sh", &[]);
    assert_eq!(backups.figure("last_run_success", "redis"), Some(0.0));
    assert_eq!(backups.figure("last_success_timestamp_seconds", "redis"), success);
    assert_eq!(check_metrics(&backups.told()), Vec::<String>::new());

    let declared = textfile::declared().into_iter().map(|metric| metric.name);
    let declared: BTreeSet<_> = declared.filter(|name| name.starts_with("techsapo_backup_")).collect();
    let told = backups.told();
    let told = told.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('{').next().unwrap());
    assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), declared);

    // What is backed up no more is told of no more.
    backups.set("KINDS", "audit");
    backups.make();
    assert_eq!(backups.figure("last_run_success", "redis"), None);
    assert_eq!(backups.figure("last_run_success", "audit"), Some(1.0));
}

#[test]
fn a_full_disk_is_named_and_leaves_no_backup() {
    let redis = redis();
    let noise: Vec<u8> = (0..400_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    redis::cmd("SET").arg("techsapo:{app}:x").arg(noise).exec(&mut redis.connection()).unwrap();
    let backups = Backups::of(&redis);
    fs::create_dir(backups.dir()).unwrap();
    // A small disk that only this script sees.
    let mut command = backups.script("backup.sh", &[]);
    let script = command.get_program().to_owned();
    let mut confined = Command::new("unshare");
    confined.args([
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        r#"mount -t tmpfs -o size=64k none "$1" && exec "$0""#,
    ]);
    confined.arg(script).arg(backups.dir());
    let variables = command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)));
    for (name, value) in variables.collect::<Vec<_>>() {
        match value {
            Some(value) => confined.env(name, value),
            None => confined.env_remove(name),
        };
    }
    let output = confined.output().unwrap();
    if said(&output).contains("unshare") {
        eprintln!("skipped: no small disk can be made here: {}", said(&output));
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("the disk of") && said(&output).contains("is full"), "{}", said(&output));
    assert_eq!(backups.figure("last_run_success", "redis"), Some(0.0));
    assert!(command.output().unwrap().status.success(), "with room it works");
}

#[test]
fn two_runs_never_meet_and_one_that_is_killed_leaves_nothing_that_counts() {
    let redis = redis();
    let backups = Backups::of(&redis);
    redis.pause();
    let mut first = Process::start("backup", backups.scratch(), &mut backups.script("backup.sh", &[]));
    let begun = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".partial-"))
    };
    wait::until_true("the first has begun", || begun(&backups.dir()));
    // Stands for what the one that is at work has fetched so far.
    let fetched = backups.dir().join(".partial-fetch");
    fs::create_dir(&fetched).unwrap();
    fs::write(fetched.join("half"), "").unwrap();
    for script in [&["backup.sh"][..], &["restore.sh", "--yes"]] {
        let output = backups.script(script[0], &script[1..]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("another run is at work"), "{}", said(&output));
        assert!(fetched.join("half").exists(), "{script:?} took away what is another's");
    }
    fs::remove_dir_all(&fetched).unwrap();
    assert_eq!(backups.told(), "", "the one that is refused has nothing to tell");
    first.kill_9();
    redis.resume();
    assert!(begun(&backups.dir()) && backups.stamps().is_empty());
    // What it left in the folder of temporary files the system removes; in that of backups the next run does.
    fs::remove_dir_all(backups.scratch().join("tmp")).unwrap();
    fs::create_dir(backups.scratch().join("tmp")).unwrap();
    backups.make();
    backups.succeed("verify-backup.sh", &[]);
}

#[test]
fn without_the_right_key_nothing_is_made_and_nothing_opened() {
    let redis = redis();
    let mut backups = Backups::of(&redis);
    let folder = backups.scratch().join("configuration");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "content").unwrap();
    backups.set("KINDS", "redis,config");
    backups.set("CONFIG_PATHS", folder.to_str().unwrap());
    backups.make();
    let other = backups.scratch().join("other-key").display().to_string();
    backups.new_key(&other);
    backups.set("KEY", &other);
    for (script, arguments) in [("verify-backup.sh", &[][..]), ("restore.sh", &["--yes"])] {
        let said = backups.fail(script, arguments);
        // A plan does not open what it would only pour out.
        assert!(said.contains("does not open it"), "{script}: {said}");
    }
    // Whatever reads the archive after that has its own complaints.
    for (script, arguments) in
        [("verify-backup.sh", &["--only", "config"][..]), ("restore.sh", &["--plan", "--only", "config"])]
    {
        let said = backups.fail(script, arguments);
        assert!(said.contains("does not open it") && !said.contains("tar:"), "{script}: {said}");
    }
    backups.set("KEY", "/nowhere/key");
    let said = backups.fail("backup.sh", &[]);
    assert!(said.contains("age-keygen -o /nowhere/key"), "{said}");
    assert_eq!(backups.figure("last_run_success", "redis"), Some(0.0));
    assert_eq!(backups.stamps().len(), 1);
}

#[test]
fn a_password_stands_in_no_command_line_and_in_no_file_of_the_backup() {
    const SECRETS: [&str; 2] = ["only-for-this-redis", "only-for-this-mysql"];
    // A Redis that waits a while for others who ask, so that whoever asks is seen.
    let (redis, mysql) = (techsapo_tests::RedisServer::start(), database());
    redis.cli::<()>(&["CONFIG", "SET", "requirepass", SECRETS[0]]);
    mysql.sql(&format!("GRANT ALL ON techsapo.* TO backup@'127.0.0.1' IDENTIFIED BY '{}'", SECRETS[1]));
    let mut backups = Backups::of(&redis).with_audit(&mysql);
    backups.set("MYSQL_URL", &format!("mysql://backup:{}@127.0.0.1:{}/techsapo", SECRETS[1], mysql.port()));
    let file = backups.scratch().join("redis-url");
    fs::write(&file, format!("redis://:{}@127.0.0.1:{}\n", SECRETS[0], redis.port())).unwrap();
    backups.set("REDIS_URL_FILE", &file.display().to_string());
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                for process in fs::read_dir("/proc").unwrap().flatten() {
                    let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
                    seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
                }
            }
            seen
        });
        backups.make();
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    });
    let asked =
        |program: &str, word: &str| seen.iter().any(|line| line.contains(program) && line.contains(word));
    assert!(asked("redis-cli", "--rdb"), "{seen:?}");
    for secret in SECRETS {
        let telling: Vec<_> = seen.iter().filter(|line| line.contains(secret)).collect();
        assert!(telling.is_empty(), "{telling:?}");
    }
    for entry in fs::read_dir(backups.dir()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let holds = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!SECRETS.into_iter().any(holds) && !holds("INSERT INTO"));
    }
}

#[test]
fn settings_that_are_none_and_arguments_that_are_none_are_refused() {
    let redis = redis();
    let backups = Backups::of(&redis);
    let file = backups.scratch().join("settings");
    for (text, reason) in [
        ("TECHSAPO_BACKUP_DRI=/x\n", "line 1: 'TECHSAPO_BACKUP_DRI' is not one of the settings"),
        ("# fine\n\nTECHSAPO_BACKUP_KEEP_DAYS=many\n", "must be a whole number; it is 'many'"),
        ("TECHSAPO_BACKUP_KEEP_DAYS\n", "line 1"),
    ] {
        fs::write(&file, text).unwrap();
        for script in ["backup.sh", "verify-backup.sh", "restore.sh"] {
            let said = backups.fail(script, &["--settings", file.to_str().unwrap()]);
            assert!(said.contains(reason), "{script}: {said}");
        }
    }
    for script in ["backup.sh", "verify-backup.sh", "restore.sh"] {
        let said = backups.fail(script, &["--settings", "/nowhere/backup.conf"]);
        assert!(said.contains("there is no file of settings /nowhere/backup.conf"), "{script}: {said}");
        for option in ["--only", "--settings"] {
            assert!(backups.fail(script, &[option]).contains(&format!("{option} needs a value")), "{script}");
        }
    }
    for script in ["backup.sh", "verify-backup.sh", "restore.sh", "install-backup-cron.sh"] {
        assert!(backups.fail(script, &["--bogus"]).contains("unknown argument '--bogus'"), "{script}");
        let help = backups.succeed(script, &["--help"]);
        assert!(help.contains(&format!("./scripts/{script}")) && help.contains("backup.conf"), "{help}");
    }
    assert!(backups.fail("backup.sh", &["--only", "redis,cats"]).contains("'cats' is none of the kinds"));
}
