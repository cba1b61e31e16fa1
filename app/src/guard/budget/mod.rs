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
use std::time::{Duration, Instant};

use techsapo_shared::labels::{BudgetPeriod, ClosedLabel as _};
use tokio::sync::Notify;

use self::calendar::{Calendar, Span, Today};
use self::ledger::{Call, Lack, Ledger, Limits, Money, Outgoing, Stands, span};
use self::lot::{Lot, Pace};
pub use self::state::{BudgetState, Link, PeriodState, Refusal};
use self::till::{Extent, Heard, Outcome, Till, Wanted};
use crate::clock;
use crate::config::BudgetSettings;
use crate::store::audit::Spending;
use crate::store::redis::{Redis, StoreError};

/// How much longer than its call a reservation lasts: time for settling it.
const GRACE: Duration = Duration::from_secs(60);
/// How much longer than the call for which it was fetched Redis keeps a lot: it ends within a second, unless this instance does.
const LOT_GRACE_MS: u64 = 5_000;
/// When to ask again where calls under way may give room back: about as long as such a call takes.
const SOON: Duration = Duration::from_secs(5);

/// What tells the date, in Unix milliseconds: it may be set.
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
    began: Instant,
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
    /// The day and month in which a call was refused for good.
    reached: [Option<Reached>; 2],
}

/// A period whose limit left no room for a call.
struct Reached {
    /// The period's name.
    name: String,
    /// Nothing was let through since. (A call that may cost much has no room sooner than others.)
    stands: bool,
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
            began: Instant::now(),
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
        if !self.shared.enforced {
            return Ok(self.reservation(None));
        }
        let number = self.find_room(nanousd, patience).await?;
        self.shared.books().let_through();
        Ok(self.reservation(Some(number)))
    }

    /// The same where there may be none: the number of the call that has room now.
    async fn find_room(&self, nanousd: u64, patience: Duration) -> Result<u64, Refusal> {
        let shared = &self.shared;
        let number = shared.calls.fetch_add(1, Ordering::Relaxed);
        let expires_ms =
            shared.own_ms().saturating_add(clock::micros(patience.saturating_add(GRACE)) / 1_000);
        // A call that nobody knows a price for still needs a budget that is not used up.
        let call = Call { number, nanousd: nanousd.max(1), expires_ms };
        let lot = {
            let mut books = shared.books();
            books.pace.call();
            if books.ledger.reserve_in_lot(call) {
                return Ok(number);
            }
            books.lot_for(call, &shared.today())
        };
        if let Some(lot_nanousd) = lot {
            match shared.reserve_in_new_lot(call, lot_nanousd).await {
                Some(true) => return Ok(number),
                Some(false) => {}
                // It is not waited for twice.
                None => {
                    return shared.reserve_alone(call, Stands::Here).map(|()| number);
                }
            }
        }
        let mut question = shared.question(call, false);
        let heard = shared.word(false, Extent::News, Some(shared.wanted(call))).await;
        question.is_answered(&heard);
        let stands = match heard {
            Ok((outgoing, heard)) => {
                let mut books = shared.books();
                if heard.outcome == Outcome::Reserved {
                    let stands =
                        if books.ledger.is_current(&outgoing) { Stands::InRedis } else { Stands::Told };
                    books.ledger.reserved(call, stands);
                }
                books.ledger.told(&outgoing, &heard.incoming);
                match heard.outcome {
                    Outcome::Reserved => return Ok(number),
                    Outcome::Full(period) => {
                        let is_spent = heard.spent_in(period) + call.nanousd > shared.limits.of(period);
                        let lack = if is_spent { Lack::Spent } else { Lack::Reserved };
                        return Err(books.refuse(period, lack, &shared.today()));
                    }
                    // It has lost everything, which is to be seen to at once.
                    Outcome::Open => shared.news.notify_one(),
                }
                Stands::Here
            }
            Err(error) => {
                shared.books().link(Link::Alone, &shared.limits);
                // Without an answer, it may have been reserved all the same.
                if matches!(error, StoreError::Failed(_)) { Stands::Told } else { Stands::Here }
            }
        };
        shared.reserve_alone(call, stands).map(|()| number)
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
                is_reached: books.is_reached(period, &span.name),
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

    /// Milliseconds of this instance's own clock, which nobody sets.
    fn own_ms(&self) -> u64 {
        clock::micros(self.began.elapsed()) / 1_000
    }

    fn wanted(&self, call: Call) -> Wanted {
        let Call { number, nanousd, expires_ms } = call;
        let lasts_ms = expires_ms.saturating_sub(self.own_ms());
        Wanted { call: number, nanousd, lasts_ms, limits: self.limits }
    }

    fn question(&self, call: Call, is_lot: bool) -> Question<'_> {
        Question { shared: self, call, is_lot, is_in_doubt: true }
    }

    /// Tells Redis what there is to tell, and asks. Where Redis is known to be away, nothing is put together: that would take
    /// the longer, the longer it is away.
    async fn word(
        &self,
        everything: bool,
        extent: Extent,
        wanted: Option<Wanted>,
    ) -> Result<(Outgoing, Heard), StoreError> {
        if !self.till.is_open() {
            return Err(StoreError::Away);
        }
        let today = self.today();
        let outgoing = {
            let mut books = self.books();
            books.ledger.at(self.own_ms());
            books.ledger.outgoing(everything, &today)
        };
        let heard = self.till.step(&outgoing, extent, wanted).await?;
        Ok((outgoing, heard))
    }

    /// Reserves room for a call by this instance's own account.
    fn reserve_alone(&self, call: Call, stands: Stands) -> Result<(), Refusal> {
        let today = self.today();
        let mut books = self.books();
        books.ledger.at(self.own_ms());
        books.ledger.reserve_alone(call, stands, &today).map_err(|(period, lack)| {
            if stands == Stands::Told {
                books.ledger.doubt(call.number, call.expires_ms);
            }
            books.refuse(period, lack, &today)
        })
    }

    /// Has Redis reserve a lot, and takes a call's room of it: whether there is some; nothing where Redis did not answer.
    async fn reserve_in_new_lot(&self, call: Call, nanousd: u64) -> Option<bool> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let lot = Call { number, nanousd, expires_ms: call.expires_ms.saturating_add(LOT_GRACE_MS) };
        let mut question = self.question(lot, true);
        let heard = self.word(false, Extent::News, Some(self.wanted(lot))).await;
        question.is_answered(&heard);
        let mut books = self.books();
        let Ok((outgoing, heard)) = heard else {
            books.link(Link::Alone, &self.limits);
            return None;
        };
        if heard.outcome == Outcome::Reserved {
            books.ledger.granted(Lot::new(number, nanousd, lot.expires_ms), &outgoing);
        }
        books.ledger.told(&outgoing, &heard.incoming);
        Some(books.ledger.reserve_in_lot(call))
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
        if lack != Lack::Spent {
            return refusal;
        }
        let before = self.reached[period as usize].replace(Reached { name: name.clone(), stands: true });
        if before.is_none_or(|before| before.name != *name) {
            tracing::warn!(
                period = period.as_str(),
                limit_nanousd = self.ledger.limits().of(period),
                spent_nanousd = self.ledger.spent(Money::Real, span(today, period)),
                until = clock::rfc3339(*ends_ms),
                "The budget is used up, or has no room for a call as dear as this: real providers are not asked for it; \
                 budget.daily_usd and budget.monthly_usd set the limits"
            );
        }
        refusal
    }

    /// There was room for a call.
    fn let_through(&mut self) {
        self.reached.iter_mut().flatten().for_each(|reached| reached.stands = false);
    }

    /// Whether the last call in the period of this name was refused for good.
    fn is_reached(&self, period: BudgetPeriod, name: &str) -> bool {
        self.reached[period as usize].as_ref().is_some_and(|reached| reached.stands && reached.name == name)
    }

    /// How large a lot should be that this call is to ask for; nothing where it had better ask for itself. One asks at a time.
    fn lot_for(&mut self, call: Call, today: &Today) -> Option<u64> {
        let calls = self.pace.calls_in_lot();
        if calls == 1 || self.asks_for_lot || self.link != Some(Link::Shared) {
            return None;
        }
        let nanousd = call.nanousd.saturating_mul(calls).min(self.ledger.lot_at_most(today));
        self.asks_for_lot = nanousd / 2 >= call.nanousd;
        self.asks_for_lot.then_some(nanousd)
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

/// What Redis is asked to reserve. Dropped while it may have been reserved without anybody's knowing, it is given back.
struct Question<'a> {
    shared: &'a Shared,
    call: Call,
    is_lot: bool,
    is_in_doubt: bool,
}

impl Question<'_> {
    /// Who asked sees to what was answered, or that it was not.
    fn is_answered<T>(&mut self, answer: &Result<T, StoreError>) {
        // Nobody else gives back a lot whose answer was lost.
        self.is_in_doubt = self.is_lot && matches!(answer, Err(StoreError::Failed(_)));
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut books = self.shared.books();
        books.asks_for_lot &= !self.is_lot;
        if self.is_in_doubt {
            books.ledger.doubt(self.call.number, self.call.expires_ms);
            drop(books);
            self.shared.news.notify_one();
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
