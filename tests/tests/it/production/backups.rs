//! Backups of production's Redis, audit and long-term store: by TLS, certificates at both ends, and users who may do nothing else.

use std::path::Path;

use techsapo_tests::engine::succeed;
use techsapo_tests::{Backups, Process, binaries, wait};

use super::mutual::{DATA, Data, MONITORING, sql, start_database, start_gate, with_certificate};

/// A name of the database that its certificate does not bear, besides the one that it does.
const DATABASE: (&str, &str) = ("10.213.42.20", "mysql elsewhere");
const KEY: &str = "techsapo:{app}:answer:1";
const ROW: &str = "INSERT INTO techsapo_audit.analyses (producer, seq, ended_at, request_id, session_id, caller, task_type, mode, status, \
                   answer_source, cached, duration_us, cost_nanousd, prompt_bytes, prompt_hash) \
                   VALUES ('one', 1, '2026-01-01', 'r', 's', 'c', 'basic', 'parallel', 'success', 'best', 0, 1, 1, 1, 'h')";
const ROWS: &str = "SELECT COUNT(*) FROM techsapo_audit.analyses";

/// Production's servers of data, with something in each of them.
struct Servers {
    data: Data,
    redis: [Process; 2],
    _others: [Process; 3],
}

fn start() -> Option<Servers> {
    let hosts = [&DATA[..], &MONITORING, &[DATABASE]].concat();
    let data = Data::prepare_or_skip("production: backups", &hosts)?;
    let (place, prepared) = (&data.place, &data.prepared);
    let redis = [0, 1].map(|number| data.start(DATA[number].1, DATA[number].0));
    let store = [
        format!("-storageDataPath={}", place.folder().join("long-term").display()),
        "-httpListenAddr=10.213.44.20:8428".to_owned(),
    ];
    let store = place.start("victoria-metrics", "victoria-metrics", &store);
    let others = [start_database(place, prepared), store, start_gate(place, prepared)];
    let mut migrate = place.command(binaries::folder().join("techsapo"));
    with_certificate(&mut migrate, "TECHSAPO", "app");
    migrate.env("TECHSAPO_MYSQL_URL_FILE", prepared.path("secrets/production/mysql-owner-url"));
    succeed(migrate.arg("migrate"));
    assert_eq!(sql(place, ROW), "");
    wait::until_true("the replica follows", || {
        data.ask("redis-0", "techsapo", &["set", KEY, "kept"]) == "OK"
            && data.ask("redis-1", "techsapo", &["get", KEY]) == "kept"
    });
    let import = [
        "--silent",
        "--data",
        "techsapo:kept:rate5m 1",
        "http://victoria-metrics:8428/api/v1/import/prometheus",
    ];
    wait::until_true("the store has a sample", || {
        place.command("curl").args(["--noproxy", "*", "--fail"]).args(import).status().unwrap().success()
    });
    Some(Servers { data, redis, _others: others })
}

impl Servers {
    /// With what the script of production made for backups.
    fn backups(&self) -> Backups {
        let mut backups = Backups::new().by(self.data.place.way_in());
        backups.certificates(Path::new("/etc/ssl/techsapo"));
        backups.set("KINDS", "redis,audit,long-term");
        self.set_secret(&mut backups, "REDIS_URL_FILE", "backup-redis-url");
        self.set_secret(&mut backups, "MYSQL_URL_FILE", "backup-mysql-url");
        backups.set("LONG_TERM_URL", "https://long-term-store:8428");
        backups
    }

    fn set_secret(&self, backups: &mut Backups, setting: &str, secret: &str) {
        let file = self.data.prepared.path("secrets/production").join(secret);
        backups.set(setting, &file.display().to_string());
    }
}

#[test]
fn what_is_lost_comes_back_over_tls_whichever_redis_is_the_primary() {
    let Some(mut servers) = start() else { return };
    let mut backups = servers.backups();
    let said = backups.succeed("backup.sh", &[]);
    assert!(said.contains("analyses 1, analysis_calls 0"), "{said}");
    let said = backups.succeed("verify-backup.sh", &[]);
    assert_eq!(said.matches(" restored from ").count(), 3, "{said}");

    // While there is no primary there is nothing that has all; as soon as the replica is one, there is.
    servers.redis[0].kill_9();
    let said = backups.fail("backup.sh", &["--only", "redis"]);
    assert!(
        said.contains("Redis at redis-0:6379 cannot be asked")
            && said.contains("Redis at redis-1:6379 is a replica"),
        "{said}"
    );
    let data = &servers.data;
    assert_eq!(data.ask("redis-1", "sentinel", &["slaveof", "no", "one"]), "OK");
    backups.succeed("backup.sh", &[]);

    data.ask("redis-1", "techsapo", &["del", KEY]);
    sql(&data.place, "DELETE FROM techsapo_audit.analyses");
    let said = backups.fail("restore.sh", &["--yes", "--only", "audit"]);
    assert!(said.contains("denied"), "who backs up cannot write: {said}");
    servers.set_secret(&mut backups, "MYSQL_URL_FILE", "mysql-owner-url");
    backups.succeed("restore.sh", &["--yes"]);
    assert_eq!(data.ask("redis-1", "techsapo", &["get", KEY]), "kept");
    assert_eq!(sql(&data.place, ROWS), "1");
}

#[test]
fn without_a_certificate_or_with_a_wrong_one_nothing_is_handed_over() {
    let Some(servers) = start() else { return };
    let place = &servers.data.place;
    let folder = |name: &str| {
        let folder = place.folder().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    };
    let refused = |backups: &Backups, only: &str| {
        let said = backups.fail("backup.sh", &["--only", only]);
        for kind in only.split(',') {
            assert!(said.contains(&format!("{kind} was not backed up")), "{said}");
        }
        assert!(backups.stamps().is_empty());
    };
    // None to show.
    let mut backups = servers.backups();
    let bare = folder("bare");
    std::fs::copy(servers.data.prepared.path("tls/ca.crt"), bare.join("ca.crt")).unwrap();
    backups.certificates(&bare);
    refused(&backups, "redis,audit,long-term");
    // Whom the servers do not know, and who does not know them.
    let stranger = folder("stranger");
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=backup -days 1 -out backup.crt -keyout backup.key";
    succeed(std::process::Command::new("openssl").current_dir(&stranger).args(request.split(' ')));
    std::fs::copy(stranger.join("backup.crt"), stranger.join("ca.crt")).unwrap();
    backups.certificates(&stranger);
    refused(&backups, "redis,audit,long-term");
    std::fs::copy(servers.data.prepared.path("tls/ca.crt"), stranger.join("ca.crt")).unwrap();
    refused(&backups, "redis,audit,long-term");
    // Not whom it was asked for.
    let mut backups = servers.backups();
    let url =
        servers.data.prepared.read("secrets/production/backup-mysql-url").replace("@mysql:", "@elsewhere:");
    backups.unset("MYSQL_URL_FILE");
    backups.set("MYSQL_URL", &url);
    refused(&backups, "audit");
    // Nor may its users do anything else, also when they are told to a database that has them.
    assert_eq!(sql(place, &servers.data.prepared.read("run/production/mysql/users.sql")), "");
    let grants = sql(place, "SHOW GRANTS FOR backup");
    assert_eq!(grants.lines().count(), 2, "{grants}");
    assert!(grants.contains("GRANT USAGE ON *.*") && grants.contains("REQUIRE X509"), "{grants}");
    assert!(grants.contains("GRANT SELECT ON `techsapo_audit`.*"), "{grants}");
    for forbidden in
        [&["get", KEY][..], &["set", KEY, "1"], &["del", KEY], &["flushall"], &["config", "get", "dir"]]
    {
        assert!(servers.data.ask("redis-0", "backup", forbidden).contains("NOPERM"), "{forbidden:?}");
    }
}
