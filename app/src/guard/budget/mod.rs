//! The budget: room is reserved before a real provider is asked, and what the call cost is settled after it.
//!
//! Redis is the till that all instances share; [`Budget::reserve`] asks it in one round trip, and it adds and decides in one
//! step. Where many calls come a second, room is reserved for many at once, a lot, and most find theirs in it. Every instance
//! keeps an account of its own of what it was told there (`ledger`), and is told all of it every second. From that
//!
//! * it goes on alone while Redis is away, with a share of what was left, and tells Redis afterwards;
//! * a Redis that has lost everything is given it back, and what no living instance knows comes from the audit.
//!
//! What must hold: a real provider is never asked for more than there is room for; what was spent is never forgotten as long
//! as Redis, one instance or the audit remembers it, and never counted twice. Nothing but [`Budget::reserve`] waits for
//! Redis on a request's way, for the store's time-out at most; MySQL is asked in the background alone.
//!
//! Inside: `calendar`, `ledger` and `lot` (the rules, pure), `till` and `budget.lua` (Redis), `keep` (the background), `state`
//! (what is told of it), [`provider`] (who is held to it).

pub mod calendar;
mod keep;
pub mod ledger;
pub mod lot;
pub mod provider;
mod state;
mod till;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use techsapo_shared::labels::{BudgetPeriod, ClosedLabel as _};
use tokio::sync::Notify;

use self::calendar::{Calendar, Span, Today};
use self::ledger::{Lack, Ledger, Limits, Money, Outgoing, Stands, span};
use self::lot::{Lot, Pace};
pub use self::state::{BudgetState, Link, PeriodState, Refusal};
use self::till::{Extent, Heard, Outcome, Till, Wanted};
use crate::clock;
use crate::config::BudgetSettings;
use crate::store::audit::Spending;
use crate::store::redis::{Redis, StoreError};

/// How much longer than its call a reservation lasts: time for settling it.
const GRACE: Duration = Duration::from_secs(60);
/// How much longer than its last call Redis keeps a lot: it ends within a second, unless this instance does.
const LOT_GRACE_MS: u64 = 5_000;
/// When to ask again where calls under way may give room back: about as long as such a call takes.
const SOON: Duration = Duration::from_secs(5);

/// What tells the time, in Unix milliseconds.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The budget, as one instance sees it. Cheap to clone.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

struct Shared {
    enforced: bool,
    limits: Limits,
    calendar: Calendar,
    now: Now,
    /// The day and month of the last look at the clock.
    today: Mutex<Today>,
    till: Till,
    audit: Option<Spending>,
    books: Mutex<Books>,
    calls: AtomicU64,
    /// There is something to tell Redis.
    news: Notify,
    /// Redis has lost something, so that the audit may know more.
    doubt: Notify,
}

struct Books {
    ledger: Ledger,
    pace: Pace,
    /// A lot is being asked for.
    asks_for_lot: bool,
    /// Nothing until Redis was asked for the first time.
    link: Option<Link>,
    /// What the ledger holds is all that there is to know: it has been told everything once.
    is_whole: bool,
    /// Names of the day and month in which a call was refused for good.
    reached: [Option<String>; 2],
}

impl Budget {
    /// The budget of the settings, kept in `redis` under the id of this `run` of the app, which no other run ever had. What
    /// Redis has lost is asked of the `audit`.
    pub fn new(
        settings: &BudgetSettings,
        run: &str,
        redis: Redis,
        audit: Option<Spending>,
        now: Now,
    ) -> Self {
        let limits = Limits {
            daily: settings.daily_usd,
            monthly: settings.monthly_usd,
            alone_ppm: settings.alone_share,
        };
        let books = Books {
            ledger: Ledger::new(run, limits),
            pace: Pace::default(),
            asks_for_lot: false,
            link: None,
            // Without an audit there is nobody to learn more from.
            is_whole: audit.is_none(),
            reached: [None, None],
        };
        let calendar = Calendar::new(settings.time_zone.clone());
        let shared = Shared {
            enforced: settings.enforce,
            limits,
            today: Mutex::new(calendar.at(now())),
            calendar,
            now,
            till: Till::new(redis, run),
            audit,
            books: Mutex::new(books),
            calls: AtomicU64::new(0),
            news: Notify::new(),
            doubt: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Reserves room for a call that costs `nanousd` at most and takes `patience` at most. Without an answer of Redis, this
    /// instance decides alone.
    ///
    /// # Errors
    /// When there is no room; where the budget is not enforced, there always is.
    pub async fn reserve(&self, nanousd: u64, patience: Duration) -> Result<Reservation, Refusal> {
        let shared = &self.shared;
        if !shared.enforced {
            return Ok(self.reservation(None));
        }
        // A call that nobody knows a price for still needs a budget that is not used up.
        let nanousd = nanousd.max(1);
        let call = shared.calls.fetch_add(1, Ordering::Relaxed);
        let lasts_ms = clock::micros(patience.saturating_add(GRACE)) / 1_000;
        let today = shared.today();
        let expires_ms = today.at_ms.saturating_add(lasts_ms);
        let lot_nanousd = {
            let mut books = shared.books();
            books.pace.call();
            if books.ledger.reserve_in_lot(call, nanousd, expires_ms) {
                return Ok(self.reservation(Some(call)));
            }
            books.lot_for(nanousd, &today)
        };
        if let Some(lot_nanousd) = lot_nanousd {
            shared.fetch_lot(lot_nanousd, lasts_ms, &today).await;
            if shared.books().ledger.reserve_in_lot(call, nanousd, expires_ms) {
                return Ok(self.reservation(Some(call)));
            }
        }
        let wanted = Wanted { call, nanousd, lasts_ms, limits: shared.limits };
        let heard = shared.word(false, Extent::News, Some(wanted), &today).await;

        let mut books = shared.books();
        match &heard {
            Ok((outgoing, heard)) => {
                if heard.outcome == Outcome::Reserved {
                    books.ledger.reserved(call, nanousd, expires_ms, Stands::InRedis);
                }
                books.ledger.told(outgoing, &heard.incoming);
                match heard.outcome {
                    Outcome::Reserved => return Ok(self.reservation(Some(call))),
                    Outcome::Full(period) => {
                        let lack = if heard.spent_in(period) + nanousd > shared.limits.of(period) {
                            Lack::Spent
                        } else {
                            Lack::Reserved
                        };
                        return Err(books.refuse(period, lack, &today));
                    }
                    // It has lost everything, which is to be seen to at once.
                    Outcome::Open => shared.news.notify_one(),
                }
            }
            Err(_) => books.link(Link::Alone, &shared.limits),
        }
        // Without an answer, it may have been reserved all the same.
        let stands = if matches!(heard, Err(StoreError::Failed(_))) { Stands::Told } else { Stands::Here };
        match books.ledger.reserve_alone(call, nanousd, expires_ms, stands, &today) {
            Ok(()) => Ok(self.reservation(Some(call))),
            Err((period, lack)) => {
                if stands == Stands::Told {
                    books.ledger.release(call, 0);
                }
                Err(books.refuse(period, lack, &today))
            }
        }
    }

    fn reservation(&self, call: Option<u64>) -> Reservation {
        Reservation { budget: self.clone(), call }
    }

    /// Counts what a simulated call would have cost.
    pub fn count_simulated(&self, nanousd: u64) {
        let today = self.shared.today();
        self.shared.books().ledger.spend(Money::Simulated, nanousd, &today);
    }

    /// Keeps this instance's account and Redis' the same, for ever, and both right by the audit.
    pub async fn keep(self) {
        let shared = &self.shared;
        tokio::join!(shared.exchange_for_ever(), shared.audit_for_ever());
    }

    /// Tells Redis everything once, and hears everything.
    pub async fn exchange(&self) {
        self.shared.exchange().await;
    }

    /// How it is.
    pub fn state(&self) -> BudgetState {
        let shared = &self.shared;
        let today = shared.today();
        let books = shared.books();
        let state = |period| {
            let span = span(&today, period);
            PeriodState {
                period,
                limit: shared.limits.of(period),
                spent: books.ledger.spent(Money::Real, span),
                reserved: books.ledger.reserved_nanousd(),
                simulated: books.ledger.spent(Money::Simulated, span),
                is_reached: books.reached[period as usize].as_ref() == Some(&span.name),
                span: span.clone(),
            }
        };
        let periods = [BudgetPeriod::Daily, BudgetPeriod::Monthly].map(state);
        BudgetState { enforced: shared.enforced, link: books.link.unwrap_or(Link::Alone), periods }
    }
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn today(&self) -> Today {
        let now_ms = (self.now)();
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        *today = today.moved_to(now_ms).unwrap_or_else(|| self.calendar.at(now_ms));
        today.clone()
    }

    /// Tells Redis what there is to tell, and asks. Where Redis is known to be away, nothing is put together: that would take
    /// the longer, the longer it is away.
    async fn word(
        &self,
        everything: bool,
        extent: Extent,
        wanted: Option<Wanted>,
        today: &Today,
    ) -> Result<(Outgoing, Heard), StoreError> {
        if !self.till.is_open() {
            return Err(StoreError::Away);
        }
        let outgoing = self.books().ledger.outgoing(everything, today);
        let heard = self.till.step(&outgoing, extent, wanted).await?;
        Ok((outgoing, heard))
    }

    /// Has Redis reserve a lot. What comes of it stands in the ledger.
    async fn fetch_lot(&self, nanousd: u64, call_lasts_ms: u64, today: &Today) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let lasts_ms = call_lasts_ms + LOT_GRACE_MS;
        let wanted = Wanted { call: number, nanousd, lasts_ms, limits: self.limits };
        self.books().asks_for_lot = true;
        let mut asking = AskingForLot { shared: self, number, is_in_doubt: true };
        let heard = self.word(false, Extent::News, Some(wanted), today).await;
        asking.is_in_doubt = matches!(heard, Err(StoreError::Failed(_)));
        let mut books = self.books();
        match heard {
            Ok((outgoing, heard)) => {
                if heard.outcome == Outcome::Reserved {
                    books.ledger.granted(Lot::new(number, nanousd, today.at_ms.saturating_add(lasts_ms)));
                }
                books.ledger.told(&outgoing, &heard.incoming);
            }
            Err(_) => books.link(Link::Alone, &self.limits),
        }
    }
}

impl Heard {
    fn spent_in(&self, period: BudgetPeriod) -> u64 {
        self.spent[period as usize]
    }
}

impl Books {
    /// There is no room for a call; the first one in a period that is refused for good is logged.
    fn refuse(&mut self, period: BudgetPeriod, lack: Lack, today: &Today) -> Refusal {
        let Span { name, ends_ms, .. } = span(today, period);
        let till_its_end = Duration::from_millis(ends_ms.saturating_sub(today.at_ms));
        let retry_in = if lack == Lack::Spent { till_its_end } else { SOON };
        let refusal = Refusal { period, lack, ends_ms: *ends_ms, retry_in };
        if lack == Lack::Spent && self.reached[period as usize].as_ref() != Some(name) {
            self.reached[period as usize] = Some(name.clone());
            tracing::warn!(
                period = period.as_str(),
                limit_nanousd = self.ledger.limits().of(period),
                spent_nanousd = self.ledger.spent(Money::Real, span(today, period)),
                until = clock::rfc3339(*ends_ms),
                "The budget is used up: real providers are not asked any more; budget.daily_usd and budget.monthly_usd set \
                 the limits"
            );
        }
        refusal
    }

    /// How large a lot should be that a call of this size is looking for; nothing where it had better ask for itself.
    fn lot_for(&self, nanousd: u64, today: &Today) -> Option<u64> {
        let calls = self.pace.calls_in_lot();
        if calls == 1 || self.asks_for_lot || self.link != Some(Link::Shared) {
            return None;
        }
        let lot_nanousd = nanousd.saturating_mul(calls).min(self.ledger.lot_at_most(today));
        (lot_nanousd / 2 >= nanousd).then_some(lot_nanousd)
    }

    fn link(&mut self, link: Link, limits: &Limits) {
        if link != Link::Shared {
            self.ledger.end_lot();
        }
        if self.link.replace(link) == Some(link) {
            return;
        }
        match link {
            Link::Shared => tracing::info!("The budget is counted in Redis, together with all instances"),
            Link::Alone => tracing::warn!(
                share_ppm = limits.alone_ppm,
                "Redis is away: this instance counts the budget alone and spends at most its share of what was left"
            ),
            Link::Unknown => tracing::warn!(
                share_ppm = limits.alone_ppm,
                "Redis does not know what was spent, and the audit was not read yet: this instance spends at most its share of \
                 the budget until then"
            ),
        }
    }
}

/// A lot that Redis was asked for. Dropped while it may have been reserved without anybody's knowing, it is given back.
struct AskingForLot<'a> {
    shared: &'a Shared,
    number: u64,
    is_in_doubt: bool,
}

impl Drop for AskingForLot<'_> {
    fn drop(&mut self) {
        let mut books = self.shared.books();
        books.asks_for_lot = false;
        if self.is_in_doubt {
            books.ledger.release(self.number, 0);
        }
    }
}

/// Room for one call. Dropped without being settled, it stays taken until the call's time is over and a little longer:
/// nobody knows then what was spent.
#[must_use = "a reservation wants to hear what the call cost"]
pub struct Reservation {
    budget: Budget,
    /// Its number; nothing where the budget is not enforced.
    call: Option<u64>,
}

impl Reservation {
    /// The call cost this much, which is counted for the day and month of now; the room that it took is given back. Never waits.
    pub fn settle(self, nanousd: u64) {
        let shared = &self.budget.shared;
        let today = shared.today();
        let mut books = shared.books();
        books.ledger.spend(Money::Real, nanousd, &today);
        if let Some(call) = self.call {
            books.ledger.release(call, nanousd);
        }
        drop(books);
        shared.news.notify_one();
    }
}
