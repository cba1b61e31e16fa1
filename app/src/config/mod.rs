//! The settings: one declaration each, from which key, environment variable, default, help and parsing derive.
//!
//! A setting's value is taken from the environment (`TECHSAPO_SECTION_NAME`, unless empty), else from the file that the
//! environment names (`TECHSAPO_SECTION_NAME_FILE`; for secrets, which containers are given as files), else from the file
//! of settings, else from its default.
//! Loading reports everything that is wrong at once, each with its place, the bad value and what would be right.
//! The environment comes in as a map, so tests set none.
//!
//! To add a setting: add a row below and run `UPDATE_GENERATED=1 cargo test -p techsapo`, which writes
//! `config/techsapo.toml`.

mod declare;
pub mod format;
mod load;
pub mod providers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use format::TlsListen;
pub use load::{ConfigError, Loaded, Problem, env_name, load};

use crate::guard::address::Network;
use crate::guard::host::Host;
use crate::telemetry::journal::MIN_BYTES;
use declare::settings;
use format::{
    ADDRESS, BASE_URL, BYTES, CACHE_SCOPE, COUNT, CacheScope, DRIVE_IDS, DURATION, FRACTION, HOSTS, HTTP_URL,
    INSTANCE, LOG_FORMAT, LOG_LEVEL, LogFormat, MODELS, MYSQL_URL, NETWORKS, NUMBER, OPTIONAL_MODEL,
    OPTIONAL_PATH, OTHER_HTTP_URL, OTHER_REDIS_URL, PATH, PRICES, REDIS_URL, SIMULATED_MIX, STREAMS,
    STRICTNESS, SWITCH, SYNTHESIS_WHEN, SimulatedMix, Strictness, SynthesisWhen, TIME_ZONE, TIMEOUT,
    TLS_LISTEN, USD,
};
use jiff::tz::TimeZone;
use techsapo_redis_route::Route;

settings! {
    /// Everything that can be set.
    Settings {
        /// Address and port that the app listens on.
        listen: SocketAddr = ADDRESS("127.0.0.1:4000"),
        /// Name of this instance in measurements; empty: its host and port.
        instance: Option<String> = INSTANCE(""),
    }

    /// Redis, which carries events to the exporter.
    redis: RedisSettings {
        /// Where Redis is: redis://[user:password@]host:port[/db], or redis+cluster://host:port,host:port,… or
        /// redis+sentinel://host:port,host:port,…/master-name; with rediss instead of redis by TLS. The app answers also while it is away.
        url: Route = REDIS_URL("redis://127.0.0.1:6379"),
        /// Keys of the event streams; a run of the app writes to one of them. In a cluster each has a hash tag:
        /// techsapo:events:{0}.
        streams: Vec<String> = STREAMS("techsapo:events"),
    }

    /// What instances of the app share: counts for limits, cached answers.
    store: StoreSettings {
        /// Where the Redis for it is; empty: the one that carries events. Requests are answered also while it is away.
        redis_url: Option<Route> = OTHER_REDIS_URL(""),
        /// How long one operation may take before a request goes on without it.
        timeout: Duration = TIMEOUT("100ms"),
    }

    /// Measuring.
    telemetry: TelemetrySwitch {
        /// Off, this instance writes no journal and sends no event: whatever it does is missing from the metrics.
        enabled: bool = SWITCH("true"),
    }

    /// The journal, which holds events until the exporter has them for good.
    journal: JournalSettings {
        /// Folder of the journal; one app at a time.
        dir: PathBuf = PATH("data/journal"),
        /// Room for events of one run. Full, events are dropped and counted; answers go on.
        max_bytes: u64 = BYTES("64MiB"),
    }

    /// MySQL or MariaDB, which keeps the audit: who asked what, what came of it, what it cost.
    mysql: MysqlSettings {
        /// Database of the audit; `?require_ssl=true` encrypts the way to it. Empty: there is no audit.
        url: Option<String> = MYSQL_URL(""),
        /// Certificates of the authority that the server is known by (PEM); empty: those of tls.ca_file.
        ca_file: Option<PathBuf> = OPTIONAL_PATH(""),
        /// Bring the tables up to date at the start; false leaves that to `techsapo migrate`.
        migrate: bool = SWITCH("true"),
    }

    /// The audit.
    audit: AuditSettings {
        /// Share of the journal that may wait for MySQL; what is older then waits in files beside it.
        journal_share: u32 = FRACTION("0.5"),
        /// Key of the pseudonyms that stand for users and prompts; made if it is missing. Instances share it.
        key_file: PathBuf = PATH("data/audit.key"),
    }

    /// TLS: whom the app trusts, and who it is, towards Redis (rediss://), MySQL (?require_ssl=true), the exporter and Alertmanager
    /// (https://), and towards its callers. Changes of the files take effect at once. See docs/tls.md.
    tls: TlsSettings {
        /// Certificates of the authorities that all of them are known by (PEM); empty: the well-known ones.
        ca_file: Option<PathBuf> = OPTIONAL_PATH(""),
        /// The app's own certificate, with those between it and the authority (PEM); empty: it has none.
        cert_file: Option<PathBuf> = OPTIONAL_PATH(""),
        /// Its key (PEM).
        key_file: Option<PathBuf> = OPTIONAL_PATH(""),
        /// How the app itself is served: off (HTTP), server (HTTPS, with its own certificate) or mutual (HTTPS, for callers that show a certificate of ca_file).
        listen: TlsListen = TLS_LISTEN("off"),
    }

    /// Google Drive, whose documents are searched and given to the providers as context. See docs/drive.md.
    drive: DriveSettings {
        /// JSON key of a service account with which documents are read; empty: there are none. A new key in it is used at once.
        key_file: Option<PathBuf> = OPTIONAL_PATH(""),
        /// Ids of the folders that are read, with all folders within; empty: whatever is shared with the account.
        folders: Vec<String> = DRIVE_IDS(""),
        /// Where Drive's API is.
        base_url: String = BASE_URL("https://www.googleapis.com"),
        /// How often changes are looked for.
        refresh: Duration = TIMEOUT("5m"),
        /// How long one request to Drive may take, all its attempts together.
        timeout: Duration = TIMEOUT("20s"),
        /// Most documents; those changed last are taken.
        documents: usize = COUNT("1000"),
        /// How much of a document is read; the rest is not searched.
        document_bytes: u64 = BYTES("1MiB"),
        /// How much text is held in memory, all documents together; searching needs about three times as much.
        index_bytes: u64 = BYTES("32MiB"),
    }

    /// The exporter, whose page `/metrics` passes through.
    exporter: ExporterSettings {
        /// Where the exporter is.
        url: String = HTTP_URL("http://127.0.0.1:10040"),
    }

    /// Alertmanager, whose alerts the live page shows.
    alertmanager: AlertmanagerSettings {
        /// Where Alertmanager is; empty: the page shows no alerts.
        url: Option<String> = OTHER_HTTP_URL(""),
    }

    /// API keys, made by `techsapo keys`.
    keys: KeySettings {
        /// File of the keys. Changes take effect at once.
        file: PathBuf = PATH("data/keys.toml"),
        /// How long a browser's session lasts before its page shows the key again.
        session: Duration = TIMEOUT("15m"),
    }

    /// How requests reach the app.
    http: HttpSettings {
        /// Networks of the proxies before the app, such as 10.0.0.0/8; only these are believed when they name a caller's address in X-Forwarded-For.
        trusted_proxies: Vec<Network> = NETWORKS(""),
        /// Names that callers without a key may ask for this app by, besides localhost and loopback addresses: what a proxy before the app sends as Host.
        allowed_hosts: Vec<Host> = HOSTS(""),
    }

    /// The live figures at `/api/v1/metrics/stream` and `/ws/metrics`.
    live: LiveSettings {
        /// Time between two looks at the exporter while somebody watches.
        interval: Duration = TIMEOUT("2s"),
        /// Watchers at once; more are refused with 503.
        connections: usize = COUNT("256"),
    }

    /// What one caller may take.
    limits: LimitSettings {
        /// Requests a minute by a key of the basic plan, or from an address without a key.
        basic_per_minute: usize = COUNT("100"),
        /// Requests a minute by a key of the premium plan.
        premium_per_minute: usize = COUNT("1000"),
        /// Requests a minute by a key of the critical plan.
        critical_per_minute: usize = COUNT("5000"),
        /// Most headers of a request.
        headers: usize = COUNT("64"),
        /// Largest head of a request: path, query and headers.
        header_bytes: u64 = BYTES("16KiB"),
        /// Largest body of a request.
        body_bytes: u64 = BYTES("1MiB"),
        /// Largest prompt, in bytes of UTF-8.
        prompt_bytes: u64 = BYTES("200000"),
        /// How long a connection may take to send a request's head, or lie idle; over HTTP/2 it may lie idle for write_timeout if that is longer.
        header_timeout: Duration = TIMEOUT("10s"),
        /// How long a request's body may take.
        body_timeout: Duration = TIMEOUT("15s"),
        /// How long a caller may take nothing of what it is sent.
        write_timeout: Duration = TIMEOUT("30s"),
        /// Connections open at once; more wait in the kernel's queue.
        connections: usize = COUNT("1024"),
        /// Analyses running at once.
        concurrent_analyses: usize = COUNT("64"),
        /// Analyses waiting to run; more are refused with 503.
        queued_analyses: usize = COUNT("256"),
    }

    /// What is looked for in prompts: off, flag (only counted) or on (taken out or refused as the rule says). See docs/security.md.
    sanitise: SanitiseSettings {
        /// Characters that nobody sees; on: taken out.
        control_characters: Strictness = STRICTNESS("on"),
        /// Orders to the model to set aside its instructions; on: attempts are refused.
        prompt_injection: Strictness = STRICTNESS("on"),
        /// Orders to tell this service's own secrets; on: refused.
        secret_access: Strictness = STRICTNESS("on"),
        /// SQL, scripts and paths as attackers write them; only ever counted, for people ask about them.
        payloads: Strictness = STRICTNESS("on"),
    }

    /// How an analysis is made.
    analysis: AnalysisSettings {
        /// How long an analysis may take, all its calls together.
        deadline: Duration = TIMEOUT("60s"),
        /// How long one call to a provider may take.
        provider_timeout: Duration = TIMEOUT("30s"),
    }

    /// One answer made of those of all providers, by a further call: see docs/answers.md.
    synthesis: SynthesisSettings {
        /// When: never, asked (when the request's field synthesis is true) or always (unless it is false).
        when: SynthesisWhen = SYNTHESIS_WHEN("asked"),
        /// The model that merges the answers; empty: that of the first provider that answered.
        model: Option<String> = OPTIONAL_MODEL(""),
    }

    /// Answers that are given again instead of asking anew. They stand in clear where they are kept: see docs/answers.md.
    cache: CacheSettings {
        /// Off, every question is put to the providers.
        enabled: bool = SWITCH("true"),
        /// How long an answer is given again.
        ttl: Duration = TIMEOUT("1h"),
        /// To whom: the same user of the same API key (user), the same key (caller) or whoever asks the same (everyone).
        scope: CacheScope = CACHE_SCOPE("caller"),
        /// Least confidence of an answer that is kept.
        min_confidence: u32 = FRACTION("0.7"),
        /// Largest answer that is kept.
        answer_bytes: u64 = BYTES("256KiB"),
        /// Room for answers in this process.
        memory_bytes: u64 = BYTES("32MiB"),
        /// Keep them also in the store's Redis, for all instances and later runs.
        redis: bool = SWITCH("true"),
    }

    /// Who is asked. Keys come from the environment alone: see docs/providers.md.
    providers: ProvidersSettings {
        /// File of vendors, models and prices; empty: config/providers.toml if it exists, else what is built in. Changes of it take effect at once.
        file: Option<PathBuf> = OPTIONAL_PATH(""),
        /// When the simulated providers are asked: auto (when no vendor has a key), always (after the real ones) or never.
        simulated: SimulatedMix = SIMULATED_MIX("auto"),
    }

    /// Circuit breakers of providers: one that keeps failing is not asked for a while.
    breakers: BreakerSettings {
        /// Fewest failures within the window that open a breaker.
        failures: usize = COUNT("5"),
        /// Smallest share of failures among the calls of the window that opens it; both must be reached.
        failure_rate: u32 = FRACTION("0.5"),
        /// How long a call counts.
        window: Duration = TIMEOUT("1m"),
        /// How long a breaker stays open before one call finds out whether the provider is well again.
        open_for: Duration = TIMEOUT("5s"),
        /// How long at most: every such call that fails doubles the time.
        open_for_at_most: Duration = TIMEOUT("2m"),
    }

    /// The built-in simulated providers, which answer without any key. Lists are in the order Gemini, OpenAI, Claude, OpenRouter.
    simulated: SimulatedSettings {
        /// Another seed, other answers.
        seed: u64 = NUMBER("1"),
        /// Mean time until an answer.
        latency: Duration = DURATION("300ms"),
        /// How far a latency may lie from the mean, either way.
        latency_jitter: Duration = DURATION("150ms"),
        /// Share of calls that fail.
        failure_rate: u32 = FRACTION("0"),
        /// Share of calls that never answer.
        timeout_rate: u32 = FRACTION("0"),
        /// Share of answers that contradict the others.
        disagreement: u32 = FRACTION("0.05"),
        /// Models, one for each provider.
        models: [String; 4] = MODELS(
            "gemini-2.5-pro-simulated, gpt-5-simulated, claude-sonnet-4-simulated, openrouter-auto-simulated"
        ),
        /// USD for a million input tokens.
        input_prices: [u64; 4] = PRICES("1.25, 1.25, 3, 0.6"),
        /// USD for a million output tokens.
        output_prices: [u64; 4] = PRICES("10, 10, 15, 2.4"),
    }

    /// What may be spent.
    budget: BudgetSettings {
        /// Limit of a calendar day, in USD.
        daily_usd: u64 = USD("2.33"),
        /// Limit of a calendar month, in USD.
        monthly_usd: u64 = USD("70"),
        /// Time zone that days and months begin in (IANA name). The same for all instances and the exporter's figures.
        time_zone: TimeZone = TIME_ZONE("UTC"),
        /// Refuse a call to a real provider, before it is made, when the most that it may cost does not fit into what is left; false: only count. Simulated providers are never refused.
        enforce: bool = SWITCH("true"),
        /// Share of what is left that this instance may spend while Redis, through which instances count together, is away. Safe is 1 divided by the number of instances: 1 for a single one, 0 refuses everything meanwhile.
        alone_share: u32 = FRACTION("0.5"),
    }

    /// The log. Personal data and secrets in it are masked; prompts are never in it.
    log: LogSettings {
        /// File of the log; empty: standard error. What was rotated is beside it, numbered and compressed.
        file: Option<PathBuf> = OPTIONAL_PATH(""),
        /// Size at which the file is rotated.
        max_bytes: u64 = BYTES("10MB"),
        /// How many rotated files are kept.
        kept: usize = COUNT("7"),
        /// Least level that is written: error, warn, info, debug or trace.
        level: tracing::Level = LOG_LEVEL("info"),
        /// json for machines, text for people.
        format: LogFormat = LOG_FORMAT("json"),
    }

    /// Stopping.
    shutdown: ShutdownSettings {
        /// How long running requests get to end (analyses that take longer are cut, stated as timeouts, and answered with 504), and
        /// then as long again for events to leave.
        deadline: Duration = DURATION("5s"),
    }
}

impl Settings {
    /// What is wrong although every value is right by itself: key, and what would be right.
    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.analysis.provider_timeout > self.analysis.deadline {
            let most = self.analysis.deadline;
            found.push(("analysis.provider_timeout", format!("at most analysis.deadline ({most:?})")));
        }
        if self.cache.answer_bytes > self.cache.memory_bytes {
            let most = self.cache.memory_bytes;
            found.push(("cache.answer_bytes", format!("at most cache.memory_bytes ({most})")));
        }
        if self.journal.max_bytes < MIN_BYTES {
            found.push(("journal.max_bytes", format!("at least {MIN_BYTES}")));
        }
        if self.mysql.url.is_some() && !self.telemetry.enabled {
            let expected =
                "empty where telemetry.enabled is false: the audit is written from telemetry's journal";
            found.push(("mysql.url", expected.to_owned()));
        }
        if self.limits.prompt_bytes > self.limits.body_bytes {
            let most = self.limits.body_bytes;
            found.push(("limits.prompt_bytes", format!("at most limits.body_bytes ({most})")));
        }
        if let Err(no_hash_tag) = self.redis.url.check_streams(&self.redis.streams) {
            found.push(("redis.streams", no_hash_tag.to_string()));
        }
        if self.breakers.open_for > self.breakers.open_for_at_most {
            let most = self.breakers.open_for_at_most;
            found.push(("breakers.open_for", format!("at most breakers.open_for_at_most ({most:?})")));
        }
        if self.simulated.latency_jitter > self.simulated.latency {
            let most = self.simulated.latency;
            found.push(("simulated.latency_jitter", format!("at most simulated.latency ({most:?})")));
        }
        found
    }
}

/// One setting, as people see it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Key in the file, with its section: `redis.url`.
    pub key: &'static str,
    /// Value when nothing else is set, as it would be written.
    pub default: &'static str,
    /// What it is for, a line or two.
    help: &'static [&'static str],
    /// What a right value looks like.
    pub expected: &'static str,
    /// Whether the file writes it as an array.
    list: bool,
}

impl Setting {
    /// What it is for.
    pub fn help(&self) -> String {
        join_lines(self.help)
    }
}

/// A documentation comment's lines as one text.
fn join_lines(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documents fix these.
    #[test]
    fn defaults_are_those_of_the_documents() {
        let default = |key: &str| SETTINGS.iter().find(|setting| setting.key == key).unwrap().default;
        for (key, documented) in [
            ("listen", "127.0.0.1:4000"),
            ("budget.daily_usd", "2.33"),
            ("budget.monthly_usd", "70"),
            ("log.max_bytes", "10MB"),
            ("log.kept", "7"),
            ("limits.basic_per_minute", "100"),
            ("limits.premium_per_minute", "1000"),
            ("limits.critical_per_minute", "5000"),
        ] {
            assert_eq!(default(key), documented, "{key}");
        }
    }
}
