//! The rights that a backup needs in Redis are those that the installation's user has, and no more are given to it.

use techsapo_tests::{Backups, repository};

use super::redis;

/// The user that `scripts/compose-prepare.sh` makes, as a line of Redis' list of users.
fn user() -> String {
    let libraries = "source scripts/lib/common.sh; source scripts/lib/secrets.sh";
    let digest = "digest_of() { printf wanted | sha256sum | cut -d ' ' -f 1; }";
    let mut bash = std::process::Command::new("bash");
    bash.current_dir(repository::root()).args(["-c", &format!("{libraries}; {digest}; redis_backup_user")]);
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_installation_s_user_for_backups_can_make_and_restore_them_and_nothing_else() {
    let redis = redis();
    let line = user();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let acl: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(words).collect();
    redis.cli::<String>(&acl);
    let url = redis.url().replace("redis://", "redis://backup:wanted@");
    let mut backups = Backups::of(&redis);
    backups.set("REDIS_URL", &url);
    redis.cli::<String>(&["SET", "techsapo:{app}:answer:1", "kept"]);
    backups.succeed("backup.sh", &[]);
    redis.cli::<String>(&["FLUSHALL"]);
    backups.succeed("restore.sh", &["--yes"]);
    assert_eq!(redis.cli::<String>(&["GET", "techsapo:{app}:answer:1"]), "kept");
    backups.succeed("restore.sh", &["--yes", "--exporter-lost"]);
    for forbidden in [&["GET", "techsapo:{app}:answer:1"][..], &["FLUSHALL"], &["XLEN", "techsapo:events"]] {
        let check: Vec<&str> = ["ACL", "DRYRUN", "backup"].iter().chain(forbidden).copied().collect();
        assert!(redis.cli::<String>(&check).contains("no permissions"), "{forbidden:?}");
    }
}
