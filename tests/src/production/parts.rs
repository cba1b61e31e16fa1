//! The parts that can be killed, and how each is started again.

use std::fmt;

use super::{Production, primary, wait_in_step, watch};
use crate::{http, wait};

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// An app, by its place in nginx' configuration.
    App(usize),
    /// The way in.
    Nginx,
    /// The exporter that holds the state.
    Holder,
    /// The other one.
    Standby,
    /// The Redis that takes what is written.
    Primary,
    /// The other one.
    Replica,
    /// A sentinel.
    Sentinel(usize),
    /// A Prometheus.
    Prometheus(usize),
    /// An Alertmanager.
    Alertmanager(usize),
    /// The audit's database.
    Database,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(number) => write!(f, "app-{number}"),
            Self::Nginx => f.write_str("nginx"),
            Self::Holder => f.write_str("the exporter that holds the state"),
            Self::Standby => f.write_str("the exporter that stands by"),
            Self::Primary => f.write_str("Redis, the primary"),
            Self::Replica => f.write_str("Redis, the replica"),
            Self::Sentinel(number) => write!(f, "sentinel-{number}"),
            Self::Prometheus(number) => write!(f, "prometheus-{number}"),
            Self::Alertmanager(number) => write!(f, "alertmanager-{number}"),
            Self::Database => f.write_str("MySQL"),
        }
    }
}

/// What was killed: the part, and which of two it was.
#[derive(Debug, Clone, Copy)]
pub struct Killed(Part, usize);

impl Part {
    /// Whether another takes its place; the service manager must bring back what is alone.
    pub fn has_a_stand_in(self) -> bool {
        !matches!(self, Self::Nginx | Self::Database)
    }
}

impl Production {
    /// Kills a part.
    ///
    /// # Panics
    /// When nobody has the part, as of the exporter that holds the state.
    pub fn kill_9(&mut self, part: Part) -> Killed {
        let place = match part {
            Part::Holder => self.holder(),
            Part::Standby => 1 - self.holder(),
            Part::Primary => primary(&self.redis).expect("a primary and a replica in step"),
            Part::Replica => 1 - primary(&self.redis).expect("a primary and a replica in step"),
            Part::App(place)
            | Part::Sentinel(place)
            | Part::Prometheus(place)
            | Part::Alertmanager(place) => place,
            Part::Nginx | Part::Database => 0,
        };
        match part {
            Part::App(_) => self.apps[place].kill_9(),
            Part::Nginx => self.nginx.kill_9(),
            Part::Holder | Part::Standby => self.exporters[place].kill_9(),
            Part::Primary | Part::Replica => self.redis[place].kill_9(),
            Part::Sentinel(_) => self.sentinels.as_mut().expect("sentinels").kill_9(place),
            Part::Prometheus(_) => self.prometheus[place].kill_9(),
            Part::Alertmanager(_) => self.alertmanagers[place].kill_9(),
            Part::Database => self.database.kill_9(),
        }
        Killed(part, place)
    }

    /// Starts again what was killed, as its service manager would.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self, Killed(part, place): Killed) {
        match part {
            Part::App(_) => self.apps[place].spawn_again(),
            Part::Nginx => self.nginx.start_again(),
            Part::Holder | Part::Standby => self.exporters[place].spawn_again(),
            Part::Primary | Part::Replica => self.redis[place].start_again(),
            Part::Sentinel(_) => self.sentinels.as_mut().expect("sentinels").start_again(place),
            Part::Prometheus(_) => self.prometheus[place].start_again(),
            Part::Alertmanager(_) => self.alertmanagers[place].start_again(),
            Part::Database => self.database.start_again(),
        }
    }

    /// Waits until every part is there and has found the others.
    ///
    /// # Panics
    /// When one never does.
    pub fn wait_whole(&mut self) {
        self.apps.iter_mut().for_each(crate::App::wait_healthy);
        wait::until_true("both exporters live, and one of them serves", || {
            let lives = |exporter: &crate::Exporter| {
                exporter.get("/-/healthy").is_ok_and(|answer| answer.status == 200)
            };
            self.exporters.iter().all(lives) && self.page().is_some()
        });
        wait_in_step(&self.redis);
        if let Some(sentinels) = &self.sentinels {
            sentinels.wait_known(1);
        }
        self.alertmanagers.iter().for_each(crate::Alertmanager::wait_joined);
        for prometheus in &self.prometheus {
            let fresh = "time() - max(timestamp(techsapo_telemetry_events_total)) < 3";
            wait::until_true("each Prometheus has the facts of now", || prometheus.value(fresh).is_some());
        }
        let client = self.nginx.client();
        let url = self.nginx.url("/health");
        wait::until_true("nginx leads to an app", || {
            http::send(client.get(&url)).is_ok_and(|answer| answer.status == 200)
        });
    }

    fn holder(&self) -> usize {
        let serves = |exporter: &crate::Exporter| {
            exporter.get("/metrics").is_ok_and(|page| watch::counted(&page.text()).is_some())
        };
        self.exporters.iter().position(serves).expect("an exporter that holds the state")
    }
}
