//! Who is asked: from settings, `providers.toml` and keys to providers.
//!
//! A vendor is asked when it has a section and a key. Without any key the simulated providers answer, unless
//! `providers.simulated` says otherwise. [`Roster::assemble`] puts each behind its
//! circuit breaker, and before the budget.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use techsapo_shared::labels::{Provider as Name, Service};

use crate::config::format::SimulatedMix;
use crate::config::providers::{self as file, ConfiguredVendor};
use crate::config::{BreakerSettings, ConfigError, Problem, Settings, SimulatedSettings};
use crate::guard::breaker::{Breaker, Breakers, Policy};
use crate::guard::budget::Budget;
use crate::guard::budget::provider::{Budgeted, Counted};
use crate::guard::provider::Guarded;
use crate::providers::key::Key;
use crate::providers::keys::KeySources;
use crate::providers::remote::{Remote, RemoteSettings};
use crate::providers::simulated::{Behaviour, NAMES, Simulated};
use crate::providers::{Priced, Provider};

/// Where it is written who is asked.
#[derive(Debug, Clone)]
pub struct Sources {
    file: Option<PathBuf>,
    keys: KeySources,
    mix: SimulatedMix,
    simulated: SimulatedSettings,
}

/// Everything that decides who is asked, as it was read at one moment.
#[derive(Clone)]
pub struct Roster {
    /// Vendors with a key, in the order of asking.
    vendors: Vec<(ConfiguredVendor, Key)>,
    simulated: Option<SimulatedSettings>,
}

impl Sources {
    /// As the settings say, with the keys that the environment names.
    pub fn new(settings: &Settings, keys: KeySources) -> Self {
        Self {
            file: file::path(settings.providers.file.as_deref()),
            keys,
            mix: settings.providers.simulated,
            simulated: settings.simulated.clone(),
        }
    }

    /// The files whose change changes who is asked.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.file.iter().cloned().chain(self.keys.files().map(PathBuf::from))
    }

    /// Reads everything anew.
    ///
    /// # Errors
    /// Everything that is wrong with the file and the keys.
    pub fn read(&self) -> Result<Roster, ConfigError> {
        let (vendors, keys) = match (file::load(self.file.as_deref()), self.keys.read()) {
            (Ok(vendors), Ok(keys)) => (vendors, keys),
            (vendors, keys) => {
                let problems = vendors.err().into_iter().chain(keys.err()).flatten().collect();
                return Err(ConfigError { problems });
            }
        };
        let with_key = |configured: ConfiguredVendor| {
            let key = keys.get(configured.vendor.section)?.clone();
            Some((configured, key))
        };
        let vendors: Vec<_> = vendors.into_iter().filter_map(with_key).collect();
        // Whoever has a key means to ask its vendor: an emptied file must put neither nobody nor made-up answers in their place.
        if vendors.is_empty() && !keys.is_empty() && self.mix != SimulatedMix::Always {
            let sections: Vec<_> = keys.keys().map(|section| format!("[{section}]")).collect();
            let problem = Problem {
                place: self.file.as_deref().unwrap_or(Path::new("the built-in file")).display().to_string(),
                key: "vendors".to_owned(),
                message: format!(
                    "there are keys, and none of their vendors stands here: expected {}",
                    sections.join(", ")
                ),
            };
            return Err(ConfigError { problems: vec![problem] });
        }
        let simulated = match self.mix {
            SimulatedMix::Auto => keys.is_empty(),
            SimulatedMix::Always => true,
            SimulatedMix::Never => false,
        };
        Ok(Roster { vendors, simulated: simulated.then(|| self.simulated.clone()) })
    }
}

impl Roster {
    /// The providers, each behind its breaker, the real ones paid by the budget, the simulated ones counted in it. Those of `before` whose settings are still the same stay, with their
    /// connections and what is known of them; the breakers of the others are closed.
    ///
    /// # Errors
    /// Says why no HTTP client can be made.
    pub fn assemble(&self, before: &mut Assembled) -> Result<Vec<Arc<dyn Provider>>, reqwest::Error> {
        let mut remotes = Vec::new();
        for (ConfiguredVendor { vendor, settings }, key) in &self.vendors {
            let same =
                |one: &&Kept| one.section == vendor.section && one.settings == *settings && one.key == *key;
            let kept = match before.remotes.iter().find(same) {
                Some(kept) => kept.clone(),
                None => Kept {
                    section: vendor.section,
                    settings: settings.clone(),
                    key: key.clone(),
                    provider: Arc::new(Remote::new(vendor, settings.clone(), key.clone())?),
                },
            };
            remotes.push(kept);
        }
        let stays = |old: &Kept| remotes.iter().any(|kept| Arc::ptr_eq(&kept.provider, &old.provider));
        for gone in before.remotes.iter().filter(|old| !stays(old)) {
            before.breakers.before(gone.provider.name()).reset();
        }
        let real = remotes.iter().map(|kept| {
            let remote = Arc::clone(&kept.provider) as Arc<dyn Priced>;
            Arc::new(Budgeted::new(remote, before.budget.clone())) as Arc<dyn Provider>
        });
        let simulated = self
            .simulated
            .iter()
            .flat_map(simulated_providers)
            .map(|provider| Arc::new(Counted::new(provider, before.budget.clone())) as Arc<dyn Provider>);
        let guarded = |provider: Arc<dyn Provider>| {
            let breaker = before.breakers.before(provider.name());
            Arc::new(Guarded::new(provider, breaker)) as Arc<dyn Provider>
        };
        let providers = real.chain(simulated).map(guarded).collect();
        before.remotes = remotes;
        Ok(providers)
    }
}

/// The providers over the network that were assembled last, the breakers of all that ever were, and who pays.
pub struct Assembled {
    remotes: Vec<Kept>,
    breakers: ProviderBreakers,
    budget: Budget,
}

impl Assembled {
    /// Nobody yet; breakers are made among `breakers`, and `budget` pays.
    pub fn new(breakers: Breakers, settings: &BreakerSettings, budget: Budget) -> Self {
        let policy = Policy {
            window: settings.window,
            failures: u32::try_from(settings.failures).unwrap_or(u32::MAX),
            failure_ppm: settings.failure_rate,
            open_for: settings.open_for,
            open_for_at_most: settings.open_for_at_most,
        };
        let breakers = ProviderBreakers { breakers, policy, made: HashMap::new() };
        Self { remotes: Vec::new(), breakers, budget }
    }
}

/// One breaker for each provider, made when it is first needed.
struct ProviderBreakers {
    breakers: Breakers,
    policy: Policy,
    made: HashMap<Name, Arc<Breaker>>,
}

impl ProviderBreakers {
    /// The breaker before this provider.
    fn before(&mut self, provider: Name) -> Arc<Breaker> {
        let Self { breakers, policy, made } = self;
        Arc::clone(made.entry(provider).or_insert_with(|| breakers.add(Service::from(provider), *policy)))
    }
}

#[derive(Clone)]
struct Kept {
    section: &'static str,
    settings: RemoteSettings,
    key: Key,
    provider: Arc<Remote>,
}

/// The built-in providers, as they are set up.
fn simulated_providers(settings: &SimulatedSettings) -> Vec<Arc<dyn Provider>> {
    let behaviour = |index: usize| Behaviour {
        seed: settings.seed,
        latency: settings.latency,
        latency_jitter: settings.latency_jitter,
        failure_ppm: settings.failure_rate,
        timeout_ppm: settings.timeout_rate,
        disagreement_ppm: settings.disagreement,
        input_price_nanousd: settings.input_prices[index],
        output_price_nanousd: settings.output_prices[index],
    };
    let provider = |(index, name): (usize, _)| {
        Arc::new(Simulated::new(name, settings.models[index].clone(), behaviour(index))) as Arc<dyn Provider>
    };
    NAMES.into_iter().enumerate().map(provider).collect()
}
