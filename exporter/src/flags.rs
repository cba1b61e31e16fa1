//! The exporter's flags. Each can also be given as an environment variable; a flag wins.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use techsapo_redis_route::Route;
use techsapo_shared::wire::DEFAULT_STREAM;
use techsapo_tls::{ClientFiles, ClientTls};

use crate::checkpoint::mysql::MAX_NAME;
use crate::state::DEFAULT_SERIES_LIMIT;
use crate::url_file;

/// Settings of the exporter.
#[derive(Debug, Args)]
pub struct Flags {
    /// Where it serves.
    #[command(flatten)]
    pub listen: ListenArgs,

    /// Path of the metrics page.
    #[arg(long = "web.telemetry-path", env = "TECHSAPO_EXPORTER_WEB_TELEMETRY_PATH", value_name = "PATH", default_value = "/metrics", value_parser = telemetry_path)]
    pub telemetry_path: String,

    /// Where the streams are.
    #[command(flatten)]
    pub redis: RedisArgs,

    /// Whom it trusts, and who it is.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// Folder of the durable state. Exporters of one host that share it are one holder and its standbys.
    #[arg(
        long = "checkpoint.dir",
        env = "TECHSAPO_EXPORTER_CHECKPOINT_DIR",
        value_name = "FOLDER",
        default_value = "data/exporter"
    )]
    pub checkpoint_dir: PathBuf,

    /// MySQL or MariaDB database that holds the durable state instead of a folder: mysql://user:password@host:port/db.
    /// Exporters that share it are one holder and its standbys, on as many hosts as wanted. A password is better given
    /// by the environment variable than on the command line. ?require_ssl=true behind it demands TLS.
    #[arg(
        long = "checkpoint.url",
        env = "TECHSAPO_EXPORTER_CHECKPOINT_URL",
        hide_env_values = true,
        value_name = "URL",
        conflicts_with = "checkpoint_dir"
    )]
    pub checkpoint_url: Option<String>,

    /// File that holds the URL of the state's database, instead of --checkpoint.url.
    #[arg(
        long = "checkpoint.url-file",
        env = "TECHSAPO_EXPORTER_CHECKPOINT_URL_FILE",
        value_name = "FILE",
        conflicts_with_all = ["checkpoint_url", "checkpoint_dir"]
    )]
    pub checkpoint_url_file: Option<PathBuf>,

    /// Name of the state in the database of --checkpoint.url. Exporters that read other streams need another.
    #[arg(long = "checkpoint.name", env = "TECHSAPO_EXPORTER_CHECKPOINT_NAME", value_name = "NAME", default_value = "techsapo", value_parser = checkpoint_name)]
    pub checkpoint_name: String,

    /// Name of this exporter in its logs.
    #[arg(
        long = "exporter.id",
        env = "TECHSAPO_EXPORTER_EXPORTER_ID",
        value_name = "NAME",
        default_value = "exporter"
    )]
    pub exporter_id: String,

    /// App whose /internal/status is polled every 5 s; may be given several times (in the environment: separated by
    /// commas). `none` polls nothing.
    #[arg(long = "app.url", env = "TECHSAPO_EXPORTER_APP_URL", value_name = "URL", value_delimiter = ',', default_value = "http://127.0.0.1:4000", value_parser = app_url)]
    pub app_urls: Vec<String>,

    /// File with the API key that apps are shown when they are asked for their status, of the scope `monitor` (`techsapo
    /// keys create --name exporter --tier basic --scope monitor`). An app on this host needs none. Read anew each time.
    #[arg(long = "app.key-file", env = "TECHSAPO_EXPORTER_APP_KEY_FILE", value_name = "FILE")]
    pub app_key_file: Option<PathBuf>,

    /// How long a series born after the start is served at 0 before it shows its value, so that increase() sees its
    /// first events: more than one scrape interval.
    #[arg(long = "birth-hold", env = "TECHSAPO_EXPORTER_BIRTH_HOLD", value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub birth_hold: Duration,

    /// Most series of one metric; beyond it open label values become "other".
    #[arg(long = "series-limit", env = "TECHSAPO_EXPORTER_SERIES_LIMIT", value_name = "NUMBER", default_value_t = DEFAULT_SERIES_LIMIT as u32, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub series_limit: u32,

    /// Least level of messages: error, warn, info, debug, trace.
    #[arg(
        long = "log.level",
        env = "TECHSAPO_EXPORTER_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log_level: tracing::Level,

    /// Form of the log, which goes to standard error.
    #[arg(
        long = "log.format",
        env = "TECHSAPO_EXPORTER_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// Where an exporter serves.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Address to serve the metrics on. Anyone who reaches it can read them: keep it on loopback or a private network.
    #[arg(
        long = "web.listen-address",
        env = "TECHSAPO_EXPORTER_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:10040"
    )]
    pub address: SocketAddr,

    /// File that says how the pages are served: TLS, clients' certificates, passwords, headers; in the format of
    /// Prometheus' exporter-toolkit, with TLS 1.3 as its default (docs/tls.md). Changes of it, and of certificates that it
    /// names, are taken over while the exporter runs.
    #[arg(long = "web.config.file", env = "TECHSAPO_EXPORTER_WEB_CONFIG_FILE", value_name = "FILE")]
    pub web_config: Option<PathBuf>,
}

/// Whom the exporter trusts, and who it says it is, towards Redis, the state's database and apps. The files are read anew
/// when they change.
#[derive(Debug, Args)]
pub struct TlsArgs {
    /// Certificates (PEM) of the authorities that servers are known by: Redis (rediss://), the state's database
    /// (?require_ssl=true) and apps (https://). Without it, the well-known ones.
    #[arg(long = "tls.ca-file", env = "TECHSAPO_EXPORTER_TLS_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Certificate (PEM, with those between it and the authority) that the exporter shows them.
    #[arg(
        long = "tls.cert-file",
        env = "TECHSAPO_EXPORTER_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "key_file"
    )]
    pub cert_file: Option<PathBuf>,

    /// Key of that certificate (PEM).
    #[arg(
        long = "tls.key-file",
        env = "TECHSAPO_EXPORTER_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "cert_file"
    )]
    pub key_file: Option<PathBuf>,
}

impl TlsArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// Says what is wrong with which of them.
    pub fn load(&self) -> Result<ClientTls, String> {
        let files = ClientFiles {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        };
        ClientTls::load(files)
            .map_err(|error| format!("--tls.ca-file, --tls.cert-file, --tls.key-file: {error}"))
    }
}

/// Where the streams are.
#[derive(Debug, Args)]
pub struct RedisArgs {
    /// Redis that holds the streams; rediss instead of redis is TLS. A server (redis://[user:password@]host:port[/db]), a cluster
    /// (redis+cluster://[user:password@]host:port,host:port,…; every stream's key then has a hash tag) or the master
    /// that sentinels name (redis+sentinel://[user:password@]host:port,host:port,…/master-name[/db]; the sentinels' own
    /// password behind it: ?sentinel_password=…). A password is better given by the environment variable than on the
    /// command line.
    #[arg(
        long = "redis.url",
        env = "TECHSAPO_EXPORTER_REDIS_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379"
    )]
    pub url: String,

    /// File that holds the URL of Redis, instead of --redis.url: its password then stands neither on the command line nor
    /// in the environment.
    #[arg(
        long = "redis.url-file",
        env = "TECHSAPO_EXPORTER_REDIS_URL_FILE",
        value_name = "FILE",
        conflicts_with = "url"
    )]
    pub url_file: Option<PathBuf>,

    /// Key of a stream to read; may be given several times (in the environment: separated by commas).
    #[arg(long = "redis.stream", env = "TECHSAPO_EXPORTER_REDIS_STREAM", value_name = "KEY", value_delimiter = ',', default_value = DEFAULT_STREAM, value_parser = stream_key)]
    pub streams: Vec<String>,
}

impl RedisArgs {
    /// The address: `--redis.url`, or what stands in the file.
    ///
    /// # Errors
    /// Says which file cannot be read, and why.
    pub fn address(&self) -> Result<String, String> {
        let file = self.url_file.as_deref();
        file.map_or_else(|| Ok(self.url.clone()), |file| url_file::read("--redis.url-file", file))
    }

    /// The way that `--redis.url` (or the file with it) and `--redis.stream` describe. (Not one of clap's own checks, for those repeat the
    /// value, and it may hold a password.)
    ///
    /// # Errors
    /// Says what a valid address looks like, or which stream cannot be read there and how to name it.
    pub fn route(&self) -> Result<Route, String> {
        let route: Route =
            self.address()?.parse().map_err(|error| format!("--redis.url cannot be used: {error}"))?;
        route.check_streams(&self.streams).map_err(|error| format!("--redis.stream: {error}"))?;
        Ok(route)
    }
}

impl Flags {
    /// The database of `--checkpoint.url` (or the file with it), if there is one. (No check of clap's own either, for the same reason.)
    ///
    /// # Errors
    /// Says what a valid address looks like.
    pub fn database(&self) -> Result<Option<mysql_async::Opts>, String> {
        let file = self.checkpoint_url_file.as_deref();
        let read = file.map(|file| url_file::read("--checkpoint.url-file", file)).transpose()?;
        let Some(url) = read.or_else(|| self.checkpoint_url.clone()) else { return Ok(None) };
        match mysql_async::Opts::from_url(&url) {
            Ok(opts) if opts.user().is_some() && opts.db_name().is_some_and(|name| !name.is_empty()) => {
                Ok(Some(opts))
            }
            _ => Err("--checkpoint.url cannot be used; expected mysql://user:password@host:port/db, special characters \
                      in the password written as %40 and the like"
                .to_owned()),
        }
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

fn telemetry_path(text: &str) -> Result<String, String> {
    let taken = ["/", "/-/healthy", "/-/ready"].contains(&text);
    if taken || !text.starts_with('/') || text.contains(['?', '#', '"', '<', '>', ' ']) {
        return Err("a path such as /metrics, and none of /, /-/healthy, /-/ready".to_owned());
    }
    Ok(text.to_owned())
}

fn stream_key(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a stream's key is not empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn checkpoint_name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=MAX_NAME => Ok(text.to_owned()),
        _ => Err(format!("a name of 1 to {MAX_NAME} characters")),
    }
}

fn app_url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        _ if text == "none" => Ok(text.to_owned()),
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => Ok(text.to_owned()),
        _ => Err("an address such as http://127.0.0.1:4000 or https://app.internal:4000, or none".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a number with ms, s or m, such as 20s".to_owned();
    let unit = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..unit].parse().map_err(|_| wrong())?;
    match &text[unit..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" if number <= 1_440 => Ok(Duration::from_secs(number * 60)),
        _ => Err(wrong()),
    }
}
