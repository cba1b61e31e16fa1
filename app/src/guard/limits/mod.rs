//! How many requests a caller's plan lets through in a minute.
//!
//! Redis counts for all instances, by one script in one round trip. Where Redis is away, each instance goes on with its
//! own count, which it kept all the while; the request waits for nothing. The rules are in [`window`].

pub mod window;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
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

/// Limits requests by the caller's plan, and wrong keys by address.
pub struct Limits {
    basic: u64,
    premium: u64,
    critical: u64,
    redis: Redis,
    script: Script,
    here: Counts<Account>,
    guesses: Counts<IpAddr>,
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

    /// Counts a request, if there is room for it.
    pub async fn take(&self, account: &Account, tier: TaskType) -> Decision {
        let limit = match tier {
            TaskType::Basic => self.basic,
            TaskType::Premium => self.premium,
            TaskType::Critical => self.critical,
        };
        let key = match account {
            Account::Key(id) => format!("{PREFIX}limit:key:{id}"),
            Account::Address(address) => format!("{PREFIX}limit:address:{address}"),
        };
        let mut call = self.script.key(key);
        call.arg(limit).arg(SLICE_MS).arg(SLICES);
        match self.redis.eval::<(u8, u64, u64, u64)>(&call).await {
            Ok((allowed, used, oldest, now_ms)) => {
                if allowed == 1 {
                    self.here.change(account, Window::add);
                }
                Decision::new(allowed == 1, limit, used, oldest, now_ms)
            }
            Err(_) => self.here.change(account, |window, now_ms| window.take(limit, now_ms)),
        }
    }

    /// Counts a wrong key that was shown from an address. Who shows a right one is never held up: a neighbour's guesses
    /// are no reason, and 256 random bits are not guessed.
    pub fn guess(&self, subscriber: IpAddr) -> Decision {
        self.guesses.change(&subscriber, |window, now_ms| window.take(GUESSES, now_ms))
    }
}

/// Windows of many accounts, bounded in number.
struct Counts<K> {
    began: Instant,
    windows: Mutex<HashMap<K, Window>>,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self { began: Instant::now(), windows: Mutex::default() }
    }
}

impl<K: Clone + Eq + std::hash::Hash> Counts<K> {
    fn change<T>(&self, account: &K, act: impl FnOnce(&mut Window, u64) -> T) -> T {
        let now_ms = clock::micros(self.began.elapsed()) / 1_000;
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.get_mut(account) {
            return act(window, now_ms);
        }
        if windows.len() >= MAX_ACCOUNTS {
            windows.retain(|_, window| !window.is_over(now_ms));
        }
        if windows.len() >= MAX_ACCOUNTS {
            // All are at it: better to forget what all did than to refuse whoever is new, or to grow.
            windows.clear();
        }
        act(windows.entry(account.clone()).or_default(), now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_accounts_does_not_fill_the_memory() {
        let counts = Counts::<usize>::default();
        for account in 0..3 * MAX_ACCOUNTS {
            counts.change(&account, |window, now_ms| window.take(1, now_ms));
            assert!(counts.windows.lock().unwrap().len() <= MAX_ACCOUNTS);
        }
        let last = 3 * MAX_ACCOUNTS - 1;
        assert!(!counts.change(&last, |window, now_ms| window.take(1, now_ms)).allowed);
    }
}
