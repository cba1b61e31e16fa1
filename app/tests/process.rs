//! The app as a process: what it says when it cannot start, and how it stops.

#![allow(clippy::unwrap_used)] // A test that meets the unexpected has failed.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The binary with an environment of its own, in a folder of its own, on any port.
fn techsapo(folder: &Path, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_techsapo"));
    command
        .current_dir(folder)
        .env_clear()
        .env("TECHSAPO_LISTEN", "127.0.0.1:0")
        .env("TECHSAPO_REDIS_URL", "redis://127.0.0.1:1")
        .env("TECHSAPO_SHUTDOWN_DEADLINE", "100ms")
        .envs(env.iter().copied());
    command
}

fn run(env: &[(&str, &str)], args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    techsapo(folder.path(), env).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_settings_are_told_all_at_once_and_end_with_two() {
    let env =
        [("TECHSAPO_LISTEN", "here"), ("TECHSAPO_LIMITS_BODY_BYTES", "-1"), ("TECHSAPO_LOG_LEVEL", "loud")];
    for args in [&[][..], &["--check"]] {
        let output = run(&env, args);
        assert_eq!(output.status.code(), Some(2));
        let text = said(&output);
        assert!(text.contains("3 settings are wrong"), "{text}");
        assert!(env.iter().all(|(name, _)| text.contains(name)), "{text}");
    }
}

#[test]
fn what_a_start_refuses_a_check_refuses_too() {
    for (name, value, reason) in [
        (
            "TECHSAPO_JOURNAL_MAX_BYTES",
            "1",
            "journal.max_bytes: \"1\" is not right; expected at least 1048576",
        ),
        ("TECHSAPO_KEYS_FILE", "/etc/passwd", "/etc/passwd is not a list of keys"),
    ] {
        for args in [&[][..], &["--check"]] {
            let output = run(&[(name, value)], args);
            assert_eq!(output.status.code(), Some(2), "{name} {args:?}");
            assert!(said(&output).contains(reason), "{}", said(&output));
        }
    }
}

#[test]
fn a_wrong_file_of_providers_and_wrong_keys_are_told_all_at_once_and_end_with_two() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("providers.toml");
    std::fs::write(&file, "[openai]\nmodels = []\n[acme]\n").unwrap();
    let env = [("TECHSAPO_PROVIDERS_FILE", file.to_str().unwrap()), ("OPENAI_API_KEY", "sk-two\nlines")];
    for args in [&[][..], &["--check"]] {
        let output = run(&env, args);
        assert_eq!(output.status.code(), Some(2));
        let text = said(&output);
        for part in [
            "3 settings are wrong",
            "providers.toml:2: openai.models",
            "acme: is no vendor",
            "OPENAI_API_KEY",
        ] {
            assert!(text.contains(part), "{part:?} is missing in {text}");
        }
        assert!(!text.contains("sk-"), "{text}");
    }
    std::fs::write(&file, "[openai]\nmodels = [\"gpt-5\"]\n").unwrap();
    let output = run(&[env[0], ("OPENAI_API_KEY", "sk-one")], &["--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn certificates_that_cannot_be_used_are_told_and_end_with_two() {
    let one = ("TECHSAPO_TLS_CERT_FILE", "/nowhere/app.crt");
    let both = [one, ("TECHSAPO_TLS_KEY_FILE", "/nowhere/app.key")];
    for (env, told) in [
        (&[("TECHSAPO_TLS_LISTEN", "server")][..], "tls.cert_file and tls.key_file"),
        (&[one], "are given together"),
        (&both, "/nowhere/app.crt cannot be read"),
        (&[("TECHSAPO_TLS_CA_FILE", "/proc/self/environ")], "holds no certificate"),
        (
            &[
                ("TECHSAPO_MYSQL_URL", "mysql://u:p@127.0.0.1/db"),
                ("TECHSAPO_MYSQL_CA_FILE", "/nowhere/ca.crt"),
            ],
            "mysql.ca_file: /nowhere/ca.crt",
        ),
        (&[("TECHSAPO_TLS_LISTEN", "yes")], "off, server or mutual"),
    ] {
        let output = run(env, &["--check"]);
        let text = said(&output);
        assert!(output.status.code() == Some(2) && text.contains(told), "{env:?}: {text}");
    }
}

#[test]
fn a_named_file_that_is_not_there_is_an_error_and_a_default_one_is_not() {
    let output = run(&[], &["--check", "--config", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("nowhere.toml"));
    let output = run(&[], &["--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn the_configuration_that_it_prints_is_one_that_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run(&[("TECHSAPO_LISTEN", "127.0.0.1:4711")], &["--print-config"]).stdout;
    let path = folder.path().join("config/techsapo.toml");
    std::fs::create_dir(folder.path().join("config")).unwrap();
    std::fs::write(&path, &printed).unwrap();
    let mut command = techsapo(folder.path(), &[]);
    let again = command.env_remove("TECHSAPO_LISTEN").arg("--print-config").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(&again.stdout));
    assert!(String::from_utf8_lossy(&printed).contains("127.0.0.1:4711"));
}

#[test]
fn a_taken_port_is_one_clear_message() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&[("TECHSAPO_LISTEN", &address)], &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&address) && text.contains("TECHSAPO_LISTEN"), "{text}");
}

#[test]
fn a_journal_that_cannot_be_written_is_one_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    // Not even the superuser makes a folder inside a file.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let journal = file.join("journal").display().to_string();
    let output = techsapo(folder.path(), &[("TECHSAPO_JOURNAL_DIR", &journal)]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&journal), "{text}");
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |args: &[&str]| techsapo(folder.path(), &[]).arg("keys").args(args).output().unwrap();
    let made = keys(&["create", "--name", "backup job", "--tier", "premium", "--expires", "90d"]);
    assert!(made.status.success(), "{}", said(&made));
    let token = String::from_utf8(made.stdout.clone()).unwrap();
    assert!(token.starts_with("tsk_") && token.ends_with('\n') && token.lines().count() == 1, "{token}");

    let file = std::fs::read_to_string(folder.path().join("data/keys.toml")).unwrap();
    assert!(file.contains("backup job") && !file.contains(token.trim()));
    let listed = || String::from_utf8(keys(&["list"]).stdout).unwrap();
    let list = listed();
    let line = list.lines().find(|line| line.contains("backup job")).unwrap();
    assert!(line.contains("premium") && line.ends_with("in force") && !list.contains(token.trim()), "{list}");

    let again = keys(&["create", "--name", "backup job", "--tier", "basic"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("another name"), "{}", said(&again));
    assert!(keys(&["revoke", "backup job"]).status.success());
    assert!(listed().contains("revoked"));
    let gone = keys(&["revoke", "backup job"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(said(&gone).contains("keys list"), "{}", said(&gone));
    for wrong in [["--tier", "golden"], ["--expires", "soon"], ["--expires", "0d"], ["--name", ""]] {
        let mut args = vec!["create", "--name", "x", "--tier", "basic"];
        args.extend(wrong);
        assert_eq!(keys(&args).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_key_in_a_file_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monitor.key");
    let create = || {
        let mut command = techsapo(folder.path(), &[]);
        command
            .args(["keys", "create", "--name", "exporter", "--tier", "basic", "--scope", "monitor", "--to"]);
        command.arg(&file).output().unwrap()
    };
    let made = create();
    assert!(made.status.success() && made.stdout.is_empty(), "{}", said(&made));
    let key = std::fs::read_to_string(&file).unwrap();
    assert!(key.starts_with("tsk_") && !said(&made).contains(key.trim()), "{}", said(&made));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(create().status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key, "a key in force stays");

    let revoke = techsapo(folder.path(), &[]).args(["keys", "revoke", "exporter"]).output().unwrap();
    assert!(revoke.status.success(), "{}", said(&revoke));
    assert!(create().status.success());
    let second = std::fs::read_to_string(&file).unwrap();
    assert_ne!(second, key, "one that was revoked is replaced");
    // Somebody deleted the file: that key may be in other hands.
    std::fs::remove_file(&file).unwrap();
    let taken = create();
    assert_eq!(taken.status.code(), Some(1));
    assert!(said(&taken).contains("revoke that key first") && !file.exists(), "{}", said(&taken));
}

#[test]
fn beyond_this_machine_it_does_not_start_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let env = [("TECHSAPO_LISTEN", "0.0.0.0:0")];
    for (args, code) in [(&[][..], 1), (&["--check"], 2)] {
        let refused = techsapo(folder.path(), &env).args(args).output().unwrap();
        assert_eq!(refused.status.code(), Some(code));
        let text = said(&refused);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("techsapo keys create") && text.contains("TECHSAPO_LISTEN"), "{text}");
    }

    let create = ["keys", "create", "--name", "first", "--tier", "basic"];
    assert!(techsapo(folder.path(), &[]).args(create).status().unwrap().success());
    let mut app = techsapo(folder.path(), &env).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(app.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("Serving")), "it starts");
    send(&app, "TERM");
    assert_eq!(log.count().min(1), 1);
    assert_eq!(app.wait().unwrap().code(), Some(0));
}

#[test]
fn a_signal_stops_it_in_order() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut app = techsapo(folder.path(), &[]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(app.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(log.any(|line| line.contains("Serving")), "it starts");
        send(&app, signal);
        let rest: Vec<_> = log.collect();
        assert!(rest.iter().any(|line| line.contains("Stopped")), "{rest:?}");
        assert_eq!(app.wait().unwrap().code(), Some(0));
    }
}

fn send(app: &Child, signal: &str) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(app.id().to_string()).status().unwrap();
    assert!(status.success());
}

#[test]
fn pairs_are_scored_without_settings_and_a_bad_line_ends_with_two() {
    let folder = tempfile::tempdir().unwrap();
    let score = |text: &str| {
        std::fs::write(folder.path().join("pairs.jsonl"), text).unwrap();
        // Wrong settings do not matter: none are read.
        let env = [("TECHSAPO_LISTEN", "here")];
        techsapo(folder.path(), &env).args(["agreement", "pairs.jsonl"]).output().unwrap()
    };
    let output = score("{\"a\": \"Yes.\", \"b\": \"No.\", \"label\": 0}\n");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.lines().last().unwrap().starts_with("{\"summary\":"), "{lines}");
    let output = score("{\"a\": \"Yes.\", \"b\": \"No.\"}\n{\"a\": 1}\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("line 2"), "{}", said(&output));
    let output = run(&[], &["agreement", "nowhere.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("nowhere.jsonl"), "{}", said(&output));
}
