//! Settings from a file and from the environment, right and wrong ones.

use super::*;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn problems(text: &str, pairs: &[(&str, &str)]) -> Vec<Problem> {
    load(Some(file(text).path()), &env(pairs)).unwrap_err().problems
}

#[test]
fn every_default_is_right_and_every_setting_is_explained() {
    let loaded = load(None, &BTreeMap::new()).unwrap();
    assert_eq!(loaded.settings.listen.port(), 4000);
    assert_eq!(loaded.settings.budget.daily_usd, 2_330_000_000);
    for setting in SETTINGS {
        assert!(setting.help().ends_with('.'), "{}", setting.key);
        assert!(!setting.expected.is_empty(), "{}", setting.key);
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let file =
        file("listen = \"127.0.0.1:1\"\n[redis]\nstreams = [\"a\", \"b\"]\n[limits]\nbody_bytes = 300000\n");
    let env = env(&[
        ("TECHSAPO_LISTEN", "127.0.0.1:2"),
        ("TECHSAPO_JOURNAL_DIR", "/j"),
        ("TECHSAPO_EXPORTER_URL", ""),
    ]);
    let settings = load(Some(file.path()), &env).unwrap().settings;
    assert_eq!(settings.listen.port(), 2);
    assert_eq!(settings.redis.streams, ["a", "b"]);
    assert_eq!(settings.limits.body_bytes, 300_000);
    assert_eq!(settings.journal.dir, Path::new("/j"));
    assert_eq!(settings.exporter.url, "http://127.0.0.1:10040");
}

#[test]
fn a_value_may_stand_in_a_file_of_its_own_which_no_message_repeats() {
    let secret = file("redis://user:secret@redis.internal\n");
    let path = secret.path().to_str().unwrap();
    let named = [("TECHSAPO_REDIS_URL_FILE", path)];
    let settings = file("[redis]\nurl = \"redis://127.0.0.1:1\"\n");
    let loaded = load(Some(settings.path()), &env(&named)).unwrap();
    assert!(loaded.to_toml().contains("redis://***@redis.internal"), "it wins over the file of settings");
    assert_eq!(loaded.warnings, [""; 0]);
    let both = [named[0], ("TECHSAPO_REDIS_URL", "redis://127.0.0.1:2")];
    assert!(load(None, &env(&both)).unwrap().to_toml().contains("redis://127.0.0.1:2"), "the variable wins");
    std::fs::write(secret.path(), "the-secret").unwrap();
    let error = load(None, &env(&named)).unwrap_err().to_string();
    assert!(
        error.contains("TECHSAPO_REDIS_URL_FILE: redis.url: what that file holds is not right"),
        "{error}"
    );
    assert!(!error.contains("the-secret"), "{error}");
    let error = load(None, &env(&[("TECHSAPO_MYSQL_URL_FILE", "/nowhere/url")])).unwrap_err().to_string();
    assert!(error.contains("TECHSAPO_MYSQL_URL_FILE") && error.contains("/nowhere/url"), "{error}");
}

#[test]
fn no_variable_names_both_a_setting_and_a_file_of_another() {
    let names: Vec<_> = SETTINGS.iter().map(|setting| env_name(setting.key)).collect();
    let both: Vec<_> = SETTINGS.iter().map(|setting| file_env_name(setting.key)).collect();
    assert!(both.iter().all(|name| !names.contains(name)));
}

#[test]
fn everything_wrong_is_reported_at_once_with_place_value_and_what_would_be_right() {
    let found = problems(
        "listen = 4000\n[redis]\nulr = \"x\"\n[limits]\nbody_bytes = \"much\"\n[budget]\ndaily_usd = -1\n",
        &[("TECHSAPO_SIMULATED_FAILURE_RATE", "2"), ("TECHSAPO_REDIS_URL", "ftp://user:secret@host")],
    );
    let text = ConfigError { problems: found.clone() }.to_string();
    assert_eq!(found.len(), 6, "{text}");
    for part in [
        "6 settings are wrong",
        ":1: listen: \"4000\" is not right; expected an IP address and a port",
        ":3: redis.ulr: is no setting; did you mean redis.url?",
        ":5: limits.body_bytes: \"much\" is not right; expected a size above zero",
        ":7: budget.daily_usd: \"-1\" is not right",
        "TECHSAPO_SIMULATED_FAILURE_RATE: simulated.failure_rate: \"2\" is not right",
        "TECHSAPO_REDIS_URL: redis.url: \"ftp://***@host\" is not right",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[test]
fn contradictions_unknown_sections_and_bad_syntax() {
    let found = problems("[analysis]\ndeadline = \"1s\"\nprovider_timeout = \"2s\"\n", &[]);
    assert!(found[0].message.contains("at most analysis.deadline (1s)"), "{found:?}");
    assert!(problems("[rediss]\nurl = \"x\"\n", &[])[0].message.contains("is no setting"));
    assert!(problems("redis = 1\n", &[])[0].message.contains("write [redis]"));
    assert!(problems("url = \"x\"\n", &[])[0].message.contains("did you mean redis.url?"));
    assert_eq!(problems("listen = \n", &[])[0].key, "syntax");
    let missing = load(Some(Path::new("/nowhere/techsapo.toml")), &BTreeMap::new()).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/techsapo.toml"));
}

#[test]
fn a_misspelled_variable_is_a_warning_and_a_foreign_one_is_nothing() {
    let env = env(&[
        ("TECHSAPO_REDIS_ULR", "x"),
        ("TECHSAPO_GRAFANA_PASSWORD", "x"),
        ("TECHSAPO_BACKUP_BUCKET", "x"),
    ]);
    let warnings = load(None, &env).unwrap().warnings;
    assert!(warnings.iter().any(|text| text.contains("did you mean TECHSAPO_REDIS_URL?")), "{warnings:?}");
    assert!(!warnings.iter().any(|text| text.contains("GRAFANA")), "{warnings:?}");
}

#[test]
fn a_cluster_asks_for_hash_tags_in_the_streams() {
    let url = "[redis]\nurl = \"redis+cluster://u:secret@127.0.0.1:1,127.0.0.1:2\"\n";
    let found = problems(url, &[]);
    let text = ConfigError { problems: found }.to_string();
    assert!(text.contains("redis.streams: ") && text.contains("write techsapo:events:{0} instead"), "{text}");
}

#[test]
fn no_password_of_an_address_is_shown() {
    for address in [
        "redis://user:secret@host",
        "redis+sentinel://user:secret@host/main?sentinel_password=secret",
        "redis+sentinel://host/main?sentinel_password=secret@",
        "redis://user:se?cret@host",
    ] {
        let shown = hide_password(address);
        assert!(shown.contains("://***") && !shown.contains("cret"), "{shown}");
    }
    for mistyped in ["techsapo:s3cret@host/audit", "redis:/user:s3cret@host/audit"] {
        assert_eq!(hide_password(mistyped), "***@host/audit");
    }
}

#[test]
fn the_committed_file_is_what_the_declaration_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/techsapo.toml");
    let loaded = load(None, &BTreeMap::new()).unwrap();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, loaded.to_toml()).unwrap();
    }
    assert_eq!(load(Some(&path), &BTreeMap::new()).unwrap().settings, loaded.settings);
    let generated = loaded.to_toml();
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == generated,
        "config/techsapo.toml is not what the declaration says; UPDATE_GENERATED=1 cargo test -p techsapo writes it"
    );
}
