//! Wiring only: flags → (a tool, and nothing else) → log → store → pipeline, samplers, pages → wait for a signal → a last checkpoint.

use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::{CommandFactory as _, Parser as _};
use techsapo_exporter::checkpoint::Store;
use techsapo_exporter::checkpoint::folder::Folder;
use techsapo_exporter::checkpoint::mysql::Mysql;
use techsapo_exporter::cli::Cli;
use techsapo_exporter::flags::{Flags, LogFormat};
use techsapo_exporter::http::Pages;
use techsapo_exporter::own::Own;
use techsapo_exporter::pipeline::{Pipeline, Served, Settings};
use techsapo_exporter::samplers::status::{Asker, Poller};
use techsapo_exporter::samplers::{self, Latest};
use techsapo_exporter::tools;
use techsapo_exporter::web::{Web, connections};
use techsapo_redis_route::Route;
use techsapo_tls::ClientTls;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info};

/// Checkpoints are written on one thread and decoded, served and freed on others: an allocator made for that.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let Cli { flags, check, command } = Cli::parse();
    if let Some(command) = command {
        return command.run(Cli::command());
    }
    if check {
        return tools::check(&flags);
    }
    start_log(&flags);
    let around = match Around::of(&flags) {
        Ok(around) => around,
        Err(message) => {
            error!("{message}");
            return ExitCode::from(2);
        }
    };
    match run(flags, around) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// What the flags lead to, where clap itself could not look whether they can be used.
struct Around {
    tls: ClientTls,
    redis: Route,
    database: Option<mysql_async::Opts>,
    web: Web,
}

impl Around {
    fn of(flags: &Flags) -> Result<Self, String> {
        let tls = flags.tls.load()?;
        let redis = flags.redis.route()?.secured_by(&tls);
        let web = Web::open(flags.listen.web_config.as_deref());
        let web = web.map_err(|error| format!("--web.config.file: {error}"))?;
        Ok(Self { tls, redis, database: flags.database()?, web })
    }
}

fn start_log(flags: &Flags) {
    let log = tracing_subscriber::fmt().with_max_level(flags.log_level).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match flags.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn run(flags: Flags, around: Around) -> Result<(), String> {
    let Around { tls, redis, database, web } = around;
    let store: Box<dyn Store> = match database {
        Some(database) => Box::new(Mysql::new(database, &flags.checkpoint_name).secured_by(&tls)),
        None => Box::new(Folder::open(&flags.checkpoint_dir).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {source}; give a folder that this user may write to with --checkpoint.dir")
        })?),
    };
    let listener = TcpListener::bind(flags.listen.address).await.map_err(|error| {
        format!(
            "cannot listen on {}: {error}; choose another with --web.listen-address",
            flags.listen.address
        )
    })?;
    let own = Arc::new(Own::new().map_err(|error| format!("the catalogue is inconsistent: {error}"))?);
    let (served, latest, stop) = (Served::default(), Latest::default(), Arc::new(AtomicBool::new(false)));
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;

    own.announce(&flags.redis.streams);
    samplers::spawn_host(latest.clone(), redis.clone()).map_err(|error| error.to_string())?;
    let asker = Asker::new(flags.app_key_file, &tls);
    let asker = asker.map_err(|error| format!("cannot make a client for the apps: {error}"))?;
    let poller = Poller::new(latest.clone(), own.clone(), asker);
    for url in flags.app_urls.iter().filter(|&url| url != "none") {
        tokio::spawn(poller.clone().poll(url.clone()));
    }
    let settings = Settings {
        redis,
        streams: flags.redis.streams,
        birth_hold: flags.birth_hold,
        series_limit: flags.series_limit as usize,
    };
    let mut pipeline = Pipeline::new(settings, store, own.clone(), served.clone(), stop.clone());
    let (end, ended) = oneshot::channel::<Infallible>();
    let pipeline = thread::Builder::new().name("pipeline".to_owned()).spawn(move || {
        // Its drop is the message, also when the pipeline panics: the store is free then, another exporter holds it
        // at once, and pages that went on showing the last checkpoint would stand beside those that count.
        let _end = end;
        pipeline.run();
    });
    let pipeline = pipeline.map_err(|error| format!("cannot start a thread: {error}"))?;

    info!(
        exporter = flags.exporter_id,
        version = env!("CARGO_PKG_VERSION"),
        "serving {}://{}{}",
        if web.is_encrypted() { "https" } else { "http" },
        flags.listen.address,
        flags.telemetry_path
    );
    let pages = Arc::new(Pages { served, latest, own, telemetry_path: flags.telemetry_path, web, tls });
    connections::serve(listener, pages, async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = ended => return,
        }
        info!("stopping: writing a last checkpoint");
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    tokio::task::spawn_blocking(move || pipeline.join()).await.ok().and_then(Result::ok).ok_or(
        "the pipeline failed; what is not durable is still in the stream and the producers' journals",
    )?;
    info!("stopped");
    Ok(())
}
