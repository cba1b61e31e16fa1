//! States what is configured: the limits of the budget and the providers that are asked.
//!
//! It is stated when it comes into force, and again from time to time, because an exporter that had to begin anew (its state was lost)
//! has no other way to learn it: without the limits there would be no utilisation, and no alert on it, until an app is restarted.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use techsapo_shared::event::{BudgetLimits, ConfiguredProvider, Event, ProvidersConfigured};

use crate::clock;
use crate::config::BudgetSettings;
use crate::providers::live::ProviderSet;
use crate::providers::{LiveProviders, Provider};
use crate::telemetry::Recorder;

/// How often it is stated again.
const AGAIN: Duration = Duration::from_secs(300);

/// What an instance is configured with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Configured {
    recorder: Recorder,
    instance: Arc<str>,
    budget: Arc<BudgetSettings>,
}

impl Configured {
    /// Of the instance of this name.
    pub(crate) fn new(recorder: Recorder, instance: &str, budget: BudgetSettings) -> Self {
        Self { recorder, instance: instance.into(), budget: Arc::new(budget) }
    }

    /// States who is asked, so that every series that may come stands at zero beforehand.
    pub(crate) fn state_providers(&self, providers: &ProviderSet) {
        let configured = |provider: &Arc<dyn Provider>| ConfiguredProvider {
            provider: provider.name(),
            models: provider.models().iter().cloned().map(Cow::Owned).collect(),
        };
        self.recorder.record(&Event::ProvidersConfigured(ProvidersConfigured {
            t: clock::unix_ms(),
            app_instance: Cow::Borrowed(&self.instance),
            providers: providers.iter().map(configured).collect(),
        }));
    }

    /// States what may be spent.
    pub(crate) fn state_budget(&self) {
        self.recorder.record(&Event::BudgetLimits(BudgetLimits {
            t: clock::unix_ms(),
            daily_nanousd: self.budget.daily_usd,
            monthly_nanousd: self.budget.monthly_usd,
            time_zone: Cow::Borrowed(self.budget.time_zone.iana_name().unwrap_or("UTC")),
        }));
    }

    /// States everything again and again, for ever: of the providers those in force.
    pub(crate) async fn repeat(self, live: Arc<LiveProviders>) {
        self.repeat_every(AGAIN, &live).await;
    }

    async fn repeat_every(&self, pause: Duration, live: &LiveProviders) {
        loop {
            tokio::time::sleep(pause).await;
            self.state_budget();
            self.state_providers(&live.current());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn what_is_configured_is_stated_again_as_it_is_then() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(folder.path(), 1 << 20).unwrap();
        let budget = crate::config::load(None, &std::collections::BTreeMap::new()).unwrap().settings.budget;
        let configured = Configured::new(recorder.clone(), "one", budget);
        let live = LiveProviders::new(Vec::new());
        let stated = |kind: &str| {
            let lines = recorder.pending_lines();
            let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
            events.filter_map(|event| event.get(kind).cloned()).collect::<Vec<_>>()
        };
        let said_twice = async {
            while stated("providers_configured").len() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = configured.repeat_every(Duration::from_millis(1), &live) => {}
            () = said_twice => {}
        }
        let limits = stated("budget_limits");
        assert!(limits.len() >= 2);
        assert_eq!(
            (&limits[1]["daily_nanousd"], &limits[1]["time_zone"]),
            (&2_330_000_000_u64.into(), &"UTC".into())
        );
        assert_eq!(stated("providers_configured")[1]["app_instance"], "one");
    }
}
