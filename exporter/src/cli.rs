//! The exporter's command line: its flags, and its tools by their names.

use clap::Parser;

use crate::flags::Flags;
use crate::tools::Command;

const ABOUT: &str = "\
Turns TechSapo's stream of events into Prometheus metrics. Every event is counted exactly once: the state is made \
durable before it is acknowledged, and only what is durable is served, so that a counter never goes backwards, \
whatever is killed when.";

const EXAMPLES: &str = "\
Examples:
  techsapo-exporter
      Redis and the app on this host, the state under data/exporter, metrics at http://127.0.0.1:10040/metrics
  techsapo-exporter --checkpoint.dir /var/lib/techsapo-exporter --redis.url redis://:password@redis.internal:6379/0
  techsapo-exporter --app.url http://127.0.0.1:4000 --app.url http://127.0.0.1:4001
  techsapo-exporter --app.url http://app.internal:4000 --app.key-file /etc/techsapo/monitor.key
      an app on another host, which opens its status to a key alone
  techsapo-exporter --web.config.file web.yml --redis.url rediss://redis.internal:6379 --tls.ca-file ca.crt \
      --tls.cert-file exporter.crt --tls.key-file exporter.key
      TLS on both sides: Prometheus is let in as web.yml says, Redis is known by ca.crt (docs/tls.md)
  TECHSAPO_EXPORTER_CHECKPOINT_URL=mysql://exporter:password@mysql.internal:3306/techsapo techsapo-exporter
      the state in a database, for a holder and its standbys on several hosts
  techsapo-exporter --checkpoint.dir /var/lib/techsapo-exporter --check
      is everything in order? With the flags that it is to serve with
  techsapo-exporter tail --type analysis,error
      the events as they come
  techsapo-exporter explain techsapo_llm_requests_total
      what a metric means; without a name, the list of all

A second exporter with the same --checkpoint.dir, or the same --checkpoint.url and --checkpoint.name, waits on standby
and takes over when the first one ends: at once if it was asked to end or shares the folder, within 12 s if it was
killed and the state is in a database. One with a state of its own, on the same Redis, refuses to count while the first
one is alive. Let Prometheus scrape all of them; prometheus/prometheus.yml shows how.

The user of --checkpoint.url needs SELECT, INSERT and UPDATE on the table exporter_checkpoints, and CREATE to make it.

Never restore --checkpoint.dir from a backup: a lower counter looks like a restart to Prometheus, which would add all
of it again. An empty folder is the right thing to begin with.

Pages: the metrics, / (landing page), /-/healthy (the process lives), /-/ready (it has caught up and serves).";

/// What the exporter is called with.
#[derive(Debug, Parser)]
#[command(
    name = "techsapo-exporter",
    version,
    about = ABOUT,
    after_help = EXAMPLES,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// What it serves with.
    #[command(flatten)]
    pub flags: Flags,

    /// Look whether settings, Redis, the checkpoint, the apps and the address are in order, say so line by line, and
    /// stop: with exit code 1 if something failed. Changes nothing; an exporter may run meanwhile.
    #[arg(long)]
    pub check: bool,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use techsapo_shared::wire::DEFAULT_STREAM;

    use super::*;

    #[test]
    fn the_flags_are_well_formed_and_their_defaults_valid() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["techsapo-exporter"]).unwrap();
        assert_eq!(cli.flags.redis.streams, [DEFAULT_STREAM]);
        assert_eq!(cli.flags.birth_hold, Duration::from_secs(20));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (flag, value) in [
            ("--web.telemetry-path", "metrics"),
            ("--web.telemetry-path", "/-/ready"),
            ("--birth-hold", "20"),
            ("--birth-hold", "soon"),
            ("--app.url", "127.0.0.1:4000"),
            ("--series-limit", "0"),
            ("--redis.stream", ""),
            ("--checkpoint.name", ""),
        ] {
            assert!(Cli::try_parse_from(["techsapo-exporter", flag, value]).is_err(), "{flag} {value}");
        }
    }

    #[test]
    fn a_wrong_redis_address_is_refused_without_repeating_its_password() {
        for url in [
            "http://user:secret@127.0.0.1",
            "nonsense-secret",
            "redis://:secret@host:port",
            "redis+sentinel://:secret@127.0.0.1?sentinel_password=secret",
        ] {
            let cli = Cli::try_parse_from(["techsapo-exporter", "--redis.url", url]).unwrap();
            let message = cli.flags.redis.route().unwrap_err();
            assert!(message.contains("--redis.url") && !message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn a_cluster_takes_streams_with_hash_tags_alone() {
        let parse = |streams: &str| {
            let url = "redis+cluster://:secret@127.0.0.1:7000,127.0.0.1:7001";
            let flags = ["techsapo-exporter", "--redis.url", url, "--redis.stream", streams];
            Cli::try_parse_from(flags).unwrap().flags.redis.route()
        };
        assert!(parse("techsapo:events:{0},techsapo:events:{1}").is_ok());
        let message = parse("techsapo:events:{0},techsapo:events").unwrap_err();
        assert!(
            message.contains("--redis.stream") && message.contains("write techsapo:events:{0}"),
            "{message}"
        );
    }

    #[test]
    fn addresses_may_stand_in_files_and_are_not_repeated_when_they_are_wrong() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let parse = |flags: &[&str]| Cli::try_parse_from([&["techsapo-exporter"], flags].concat());
        std::fs::write(&file, "redis://user:secret@redis.internal:6379\n").unwrap();
        assert!(parse(&["--redis.url-file", path]).unwrap().flags.redis.route().is_ok());
        std::fs::write(&file, "mysql://user:secret@mysql.internal/techsapo\n").unwrap();
        let cli = parse(&["--checkpoint.url-file", path]).unwrap();
        assert_eq!(cli.flags.database().unwrap().unwrap().ip_or_hostname(), "mysql.internal");
        std::fs::write(&file, "secret").unwrap();
        let message = parse(&["--redis.url-file", path]).unwrap().flags.redis.route().unwrap_err();
        assert!(!message.contains("secret"), "{message}");
        let message = parse(&["--redis.url-file", "/nowhere/url"]).unwrap().flags.redis.route().unwrap_err();
        assert!(message.contains("--redis.url-file") && message.contains("/nowhere/url"), "{message}");
        for both in [["--redis.url", "redis://127.0.0.1"], ["--checkpoint.dir", "data"]] {
            let file = if both[0] == "--redis.url" { "--redis.url-file" } else { "--checkpoint.url-file" };
            assert!(parse(&[both[0], both[1], file, path]).is_err(), "{both:?}");
        }
    }

    #[test]
    fn the_state_is_in_a_folder_or_in_a_database() {
        let parse = |flags: &[&str]| Cli::try_parse_from([&["techsapo-exporter"], flags].concat());
        assert!(parse(&[]).unwrap().flags.database().unwrap().is_none());
        let url = "mysql://user:sec%40ret@mysql.internal:3307/techsapo";
        let database = parse(&["--checkpoint.url", url]).unwrap().flags.database().unwrap().unwrap();
        assert_eq!((database.ip_or_hostname(), database.tcp_port()), ("mysql.internal", 3307));
        assert_eq!((database.pass(), database.db_name()), (Some("sec@ret"), Some("techsapo")));
        let both = parse(&["--checkpoint.url", url, "--checkpoint.dir", "data"]).unwrap_err().to_string();
        assert!(both.contains("--checkpoint.dir") && !both.contains("ret@"), "{both}");
    }

    #[test]
    fn a_wrong_database_address_is_refused_without_repeating_its_password() {
        for url in [
            "http://user:secret@127.0.0.1/db",
            "secret://",
            "mysql://user:secret@127.0.0.1",
            "mysql://:secret@127.0.0.1/db",
            "mysql://user:secret@host:port/db",
            "mysql://user@host/db?password=secret",
        ] {
            let cli = Cli::try_parse_from(["techsapo-exporter", "--checkpoint.url", url]).unwrap();
            let message = cli.flags.database().unwrap_err();
            assert!(message.contains("--checkpoint.url") && !message.contains("secret"), "{message}");
        }
    }
}
