//! How many requests a caller's plan lets through in a minute.
//!
//! Redis counts for all instances, by one script in one round trip. Where Redis is away, each instance goes on with its
//! own count, which it kept all the while; the request waits for nothing. The rules are in [`window`].

pub mod window;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use redis::Script;
use techsapo_shared::labels::TaskType;

use self::window::{Decision, SLICE_MS, SLICES, Window};
use super::caller::Account;
use crate::clock;
use crate::config::LimitSettings;
use crate::store::redis::{PREFIX, Redis};

/// Most accounts that are counted here. A flood of addresses cannot fill the memory.
const MAX_ACCOUNTS: usize = 10_000;
/// Wrong keys that an address may show in a minute before it is told to wait.
const GUESSES: u64 = 10;

/// What this instance knows of an account.
#[derive(Debug, Clone, Default)]
struct Here {
    /// What it let through.
    window: Window,
    /// Until then Redis, which knows what other instances let through, has no room.
    full_until_ms: u64,
    /// Requests that were begun before it was decided whether they may.
    hasty: u64,
}

impl Counting for Here {
    fn is_over(&self, now_ms: u64) -> bool {
        self.window.is_over(now_ms) && now_ms >= self.full_until_ms && self.hasty == 0
    }
}

/// Limits requests by the caller's plan, and wrong keys by address.
pub struct Limits {
    basic: u64,
    premium: u64,
    critical: u64,
    redis: Redis,
    script: Script,
    here: Counts<Account, Here>,
    guesses: Counts<IpAddr, Window>,
}

impl Limits {
    /// Limits as they are set, counted in `redis`.
    pub fn new(settings: &LimitSettings, redis: Redis) -> Self {
        Self {
            basic: settings.basic_per_minute as u64,
            premium: settings.premium_per_minute as u64,
            critical: settings.critical_per_minute as u64,
            redis,
            script: Script::new(include_str!("limit.lua")),
            here: Counts::default(),
            guesses: Counts::default(),
        }
    }

    /// Whether a request will most likely be let through, from what this instance knows: then it may be begun before [`Self::take`] has
    /// decided, which must follow and be told of it. No more are begun than there is room for, and none of a caller who was
    /// refused before there can be room again.
    pub fn hasten(&self, account: &Account, tier: TaskType) -> bool {
        let limit = self.of(tier);
        self.here.change(account, |here, now_ms| {
            let may = here.window.has_room(limit, here.hasty, now_ms) && now_ms >= here.full_until_ms;
            here.hasty += u64::from(may);
            may
        })
    }

    /// Counts a request, if there is room for it. `hasty`: it was begun already, by [`Self::hasten`].
    pub async fn take(&self, account: &Account, tier: TaskType, hasty: bool) -> Decision {
        let limit = self.of(tier);
        let key = match account {
            Account::Key(id) => format!("{PREFIX}limit:key:{id}"),
            Account::Address(address) => format!("{PREFIX}limit:address:{address}"),
        };
        let mut call = self.script.key(key);
        call.arg(limit).arg(SLICE_MS).arg(SLICES);
        let counted = self.redis.eval::<(u8, u64, u64, u64)>(&call).await;
        self.here.change(account, |here, now_ms| {
            here.hasty = here.hasty.saturating_sub(hasty.into());
            let Ok((allowed, used, oldest, redis_ms)) = counted else {
                return here.window.take(limit, now_ms);
            };
            let decision = Decision::new(allowed == 1, limit, used, oldest, redis_ms);
            if decision.allowed {
                here.window.add(now_ms);
            } else {
                here.full_until_ms = now_ms + decision.reset_in_ms;
            }
            decision
        })
    }

    /// Requests that a plan lets through in a minute.
    fn of(&self, tier: TaskType) -> u64 {
        match tier {
            TaskType::Basic => self.basic,
            TaskType::Premium => self.premium,
            TaskType::Critical => self.critical,
        }
    }

    /// Counts a wrong key that was shown from an address. Who shows a right one is never held up: a neighbour's guesses
    /// are no reason, and 256 random bits are not guessed.
    pub fn guess(&self, subscriber: IpAddr) -> Decision {
        self.guesses.change(&subscriber, |window, now_ms| window.take(GUESSES, now_ms))
    }
}

/// Something that is counted for a while.
trait Counting: Default {
    /// Whether nothing of it counts any more.
    fn is_over(&self, now_ms: u64) -> bool;
}

impl Counting for Window {
    fn is_over(&self, now_ms: u64) -> bool {
        self.is_over(now_ms)
    }
}

/// What is counted of many accounts, bounded in number.
struct Counts<K, C> {
    began: Instant,
    counts: Mutex<HashMap<K, C>>,
}

impl<K, C> Default for Counts<K, C> {
    fn default() -> Self {
        Self { began: Instant::now(), counts: Mutex::default() }
    }
}

impl<K: Clone + Eq + std::hash::Hash, C: Counting> Counts<K, C> {
    fn now_ms(&self) -> u64 {
        clock::micros(self.began.elapsed()) / 1_000
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, C>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, account: &K, act: impl FnOnce(&mut C, u64) -> T) -> T {
        let now_ms = self.now_ms();
        let mut counts = self.lock();
        if let Some(count) = counts.get_mut(account) {
            return act(count, now_ms);
        }
        if counts.len() >= MAX_ACCOUNTS {
            counts.retain(|_, count| !count.is_over(now_ms));
        }
        if counts.len() >= MAX_ACCOUNTS {
            // All are at it: better to forget what all did than to refuse whoever is new, or to grow.
            counts.clear();
        }
        act(counts.entry(account.clone()).or_default(), now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_accounts_does_not_fill_the_memory() {
        let counts = Counts::<usize, Window>::default();
        for account in 0..3 * MAX_ACCOUNTS {
            counts.change(&account, |window, now_ms| window.take(1, now_ms));
            assert!(counts.lock().len() <= MAX_ACCOUNTS);
        }
        let last = 3 * MAX_ACCOUNTS - 1;
        assert!(!counts.change(&last, |window, now_ms| window.take(1, now_ms)).allowed);
    }
}
