//! Puts changes of `providers.toml` and of key files into force while the app runs.
//!
//! Only when what the files say is other than before does anything change. What is wrong is told once and changes nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use techsapo_shared::event::{ErrorEvent, Event};
use techsapo_shared::labels::{ConfigComponent, Service, Severity};

use crate::changes::{Changes, joined};
use crate::clock;
use crate::config::ConfigError;
use crate::configured::Configured;
use crate::providers::LiveProviders;
use crate::providers::live::ProviderSet;
use crate::roster::{Assembled, Sources};
use crate::telemetry::Recorder;
use crate::watch::FileWatch;

/// Keeps the providers in force as the files say.
pub(crate) struct Reloader {
    sources: Sources,
    live: Arc<LiveProviders>,
    recorder: Recorder,
    configured: Configured,
    changes: Changes,
    assembled: Assembled,
    /// The bytes of every file when they were read last.
    read: Vec<Option<Vec<u8>>>,
}

impl Reloader {
    /// Puts into force what the sources say now, with nobody `assembled` before.
    ///
    /// # Errors
    /// Everything that is wrong with them; or that no HTTP client can be made.
    pub(crate) fn start(
        sources: Sources,
        mut assembled: Assembled,
        recorder: Recorder,
        configured: Configured,
        changes: Changes,
    ) -> Result<Self, ReloadError> {
        let read = contents(&sources);
        let providers = sources.read()?.assemble(&mut assembled)?;
        let live = Arc::new(LiveProviders::new(providers));
        configured.state_providers(&live.current());
        changes.look_at(ConfigComponent::Providers, &joined(&read));
        Ok(Self { sources, live, recorder, configured, changes, assembled, read })
    }

    /// The providers that it keeps.
    pub(crate) fn live(&self) -> Arc<LiveProviders> {
        Arc::clone(&self.live)
    }

    /// Watches the files, for ever.
    pub(crate) async fn watch(mut self) {
        let watches: Result<Vec<_>, _> = self.sources.files().map(|path| FileWatch::new(&path)).collect();
        let watches = match watches {
            Ok(watches) if watches.is_empty() => return,
            Ok(watches) => watches,
            Err(error) => {
                tracing::warn!(reason = %error, "Changes of providers need a restart: their files cannot be watched");
                return;
            }
        };
        loop {
            // At first without waiting: they may have changed since they were read.
            let read = contents(&self.sources);
            if read != self.read {
                self.read = read;
                self.reload();
            }
            futures_util::future::select_all(watches.iter().map(|watch| watch.changed().boxed())).await;
        }
    }

    fn reload(&mut self) {
        let before = names(&self.live.current());
        let providers = self
            .sources
            .read()
            .map_err(ReloadError::from)
            .and_then(|roster| Ok(roster.assemble(&mut self.assembled)?));
        let providers = match providers {
            Ok(providers) => providers,
            Err(error) => {
                tracing::error!(reason = %error, "The change of providers is not taken over: it is wrong");
                self.recorder.record(&Event::Error(ErrorEvent {
                    t: clock::unix_ms(),
                    error_type: Cow::Borrowed("providers_file_invalid"),
                    severity: Severity::Error,
                    service: Service::Config,
                }));
                return;
            }
        };
        self.live.replace(providers);
        let after = names(&self.live.current());
        let list = |names: BTreeSet<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(", ");
        tracing::info!(
            added = list(after.difference(&before).collect()),
            removed = list(before.difference(&after).collect()),
            providers = list(after.iter().collect()),
            "The providers have changed"
        );
        self.changes.look_at(ConfigComponent::Providers, &joined(&self.read));
        self.configured.state_providers(&self.live.current());
    }
}

/// Why the providers cannot be put into force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What is written is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system lacks what TLS needs.
    #[error("cannot make an HTTP client for a provider")]
    Client(#[from] reqwest::Error),
}

/// Each provider with its models, as the log names it.
fn names(providers: &ProviderSet) -> BTreeSet<String> {
    let name = |provider: &Arc<dyn crate::providers::Provider>| {
        format!("{} ({})", provider.name(), provider.models().join(" "))
    };
    providers.iter().map(name).collect()
}

fn contents(sources: &Sources) -> Vec<Option<Vec<u8>>> {
    sources.files().map(|path| std::fs::read(path).ok()).collect()
}
