//! `techsapo`: arguments → settings → log → listener → journal → serve → drain.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory as _;
use techsapo_app::agreement_command::AgreementError;
use techsapo_app::cli::{Args, Command};
use techsapo_app::config::{self, ConfigError, LogSettings, Settings};
use techsapo_app::guard::keys::file::KeyFileError as KeyListError;
use techsapo_app::healthcheck::{self, Unhealthy};
use techsapo_app::keys_command::KeysError;
use techsapo_app::logs::{self, LogError};
use techsapo_app::providers::keys::KeySources;
use techsapo_app::roster::Sources;
use techsapo_app::service::{self, StartError};
use techsapo_app::store::audit::{self, AuditError};
use techsapo_app::store::drive::{self, KeyFileError};
use techsapo_app::telemetry::{Recorder, Telemetry, TelemetryError, TelemetrySettings};
use techsapo_app::tls::{self, Tls, TlsSettingError};
use techsapo_tls::ClientTls;
use tokio::signal::unix::{SignalKind, signal};

/// Its figures are what `runtime` samples.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// After about so many pieces of work a thread looks what else came, from clients, vendors and Redis. Many a piece takes a tenth of a
/// millisecond here: with tokio's 61, what came would wait for much that came later and was known earlier.
const TASKS_BETWEEN_LOOKS: u32 = 8;

/// How long a look at Redis that was under way at the end may take; nobody needs its answer any more.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Why the process ends badly.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Tls(#[from] TlsSettingError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    DriveKey(#[from] KeyFileError),
    #[error("there is no audit to migrate: set mysql.url, or TECHSAPO_MYSQL_URL")]
    NoAudit,
    #[error(transparent)]
    Unhealthy(#[from] Unhealthy),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
}

impl Failure {
    /// Whether what the process was given is at fault.
    fn is_input(&self) -> bool {
        match self {
            Self::Config(_) | Self::DriveKey(_) | Self::Tls(_) => true,
            Self::Start(error) => {
                matches!(error, StartError::Tls(_) | StartError::Keys(KeyListError::Content { .. }))
            }
            Self::Agreement(error) => error.is_input(),
            _ => false,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::read();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("techsapo: {}", chain(&failure));
            // Whoever watches by a health check knows 0 and 1 alone.
            let is_health = matches!(args.command, Some(Command::Healthcheck));
            // Keys may come by themselves where a process is started again; whoever has them checked wants to know.
            let is_input = failure.is_input() || args.check;
            ExitCode::from(if is_input && !is_health { 2 } else { 1 })
        }
    }
}

/// An error with its causes, for a person.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some errors name their cause themselves.
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

fn run(args: &Args) -> Result<(), Failure> {
    // These need no settings.
    match &args.command {
        Some(Command::Agreement(command)) => {
            return Ok(command.run(&mut std::io::BufWriter::new(std::io::stdout().lock()))?);
        }
        Some(Command::Completions(command)) => {
            return Ok(command.run(Args::command(), &mut std::io::stdout())?);
        }
        _ => {}
    }
    let env: BTreeMap<_, _> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let mut loaded = config::load(args.config_file(), &env)?;
    if args.print_config {
        return Ok(write!(std::io::stdout(), "{}", loaded.to_toml())?);
    }
    if let Some(Command::Keys(command)) = &args.command {
        let file = &loaded.settings.keys.file;
        return Ok(command.run(file, &mut std::io::stdout(), &mut std::io::stderr())?);
    }
    if let Some(Command::Healthcheck) = &args.command {
        return Ok(healthcheck::run(&loaded.settings, &mut std::io::stdout())?);
    }
    let vendor_keys = KeySources::of(&env);
    // Read again when it serves; what is wrong is better said now, before anything is opened.
    Sources::new(&loaded.settings, vendor_keys.clone()).read()?;
    drive::check_key(&loaded.settings.drive)?;
    let tls = Tls { client: tls::secure(&mut loaded.settings)?, door: tls::door(&loaded.settings)? };
    service::audit_settings(&loaded.settings, &tls.client)?;
    if args.check {
        // Who only brings tables up to date needs none.
        service::keys(&loaded.settings)?;
        loaded.warnings.iter().for_each(|warning| eprintln!("techsapo: warning: {warning}"));
        return Ok(writeln!(std::io::stdout(), "The settings are right.")?);
    }
    if let Some(Command::Migrate) = args.command {
        // The log's file is that of an app, which may be running.
        let _log = logs::start(&LogSettings { file: None, ..loaded.settings.log.clone() })?;
        return migrate(&loaded.settings, &tls.client);
    }
    let _log = logs::start(&loaded.settings.log)?;
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    serve(loaded.settings, tls, vendor_keys)
}

fn migrate(settings: &Settings, tls: &ClientTls) -> Result<(), Failure> {
    let audit = service::audit_settings(settings, tls)?.ok_or(Failure::NoAudit)?;
    let versions = audit::migrate(&audit)?;
    Ok(writeln!(std::io::stdout(), "The audit's tables are up to date ({versions} versions applied).")?)
}

fn serve(settings: Settings, tls: Tls, vendor_keys: KeySources) -> Result<(), Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.enable_all().event_interval(TASKS_BETWEEN_LOOKS).build()?;
    let deadline = settings.shutdown.deadline;
    let stop = {
        let _context = runtime.enter();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
    };
    let keys = service::keys(&settings)?;
    // The address first: an app that cannot serve leaves no journal behind.
    let listener = runtime.block_on(service::listen(settings.listen))?;
    let telemetry = start_telemetry(&settings)?;
    let recorder = telemetry.as_ref().map_or_else(Recorder::off, Telemetry::recorder);
    let served = runtime.block_on(service::serve(settings, tls, listener, keys, vendor_keys, recorder, stop));
    // Whatever could still state a fact ends before the facts are sent off.
    runtime.shutdown_timeout(STRAGGLERS);
    if let Some(telemetry) = telemetry {
        telemetry.shutdown(deadline);
    }
    tracing::info!("Stopped");
    Ok(served?)
}

/// Journal and shipper, or nothing where they are switched off.
fn start_telemetry(settings: &Settings) -> Result<Option<Telemetry>, TelemetryError> {
    if !settings.telemetry.enabled {
        tracing::warn!(
            "Telemetry is OFF (telemetry.enabled = false): nothing that this instance does is measured, and events \
             that an earlier run left in the journal stay there"
        );
        return Ok(None);
    }
    let settings = TelemetrySettings {
        journal_dir: settings.journal.dir.clone(),
        journal_bytes: settings.journal.max_bytes,
        audited: settings.mysql.url.is_some(),
        redis: settings.redis.url.clone(),
        streams: settings.redis.streams.clone(),
    };
    Telemetry::start(&settings).map(Some)
}
