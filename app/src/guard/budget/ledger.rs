//! What an instance knows of the budget: what each run of an app has spent in a day or month, and which calls are open. Pure.
//!
//! What must hold:
//!
//! * A sum belongs to one run of an app, which alone adds to it. So two accounts of the same sum differ only in age, and the
//!   larger one is the later: accounts can be joined in any order, again and again, and from any source (Redis, the audit),
//!   and nothing is counted twice.
//! * A call is open from its reservation until it is settled or expires, by the instance's own clock, which nobody sets. What it
//!   cost counts also when it is settled later.
//! * Alone, without Redis, an instance spends at most a share of what it knew to be left.
//! * Calls may stand in a lot, room that Redis has reserved for many of them: calls under way in it, what was spent in it and is
//!   untold, and what is left of it are together never more than it. Whatever is told to Redis ends the lot, and tells
//!   of each call in it by itself.

use std::collections::BTreeMap;

use techsapo_shared::event::WHOLE_PPM;
use techsapo_shared::labels::BudgetPeriod;

use super::calendar::{Span, Today};
use super::lot::Lot;

/// Fields of what real providers charged; `budget.lua` knows this word too.
const REAL: &str = "real:";
/// Fields of what simulated ones would have.
const SIMULATED: &str = "simulated:";
/// A lot is at most one in so many parts of what is left.
const LOT_PART: u64 = 20;
/// How much longer than by its own clock Redis may keep a reservation, which it began to count later.
const LATER_MS: u64 = 10_000;

/// Whose money it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Money {
    /// It is to be paid.
    Real,
    /// Nobody pays it; it is shown.
    Simulated,
}

/// What may be spent, in nano-USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In a calendar day.
    pub daily: u64,
    /// In a calendar month.
    pub monthly: u64,
    /// Share of what is left, in millionths, that one instance may spend while it is alone.
    pub alone_ppm: u32,
}

impl Limits {
    /// The limit of a period.
    pub fn of(&self, period: BudgetPeriod) -> u64 {
        match period {
            BudgetPeriod::Daily => self.daily,
            BudgetPeriod::Monthly => self.monthly,
        }
    }
}

/// The day or month of a moment.
pub fn span(today: &Today, period: BudgetPeriod) -> &Span {
    match period {
        BudgetPeriod::Daily => &today.day,
        BudgetPeriod::Monthly => &today.month,
    }
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// The limit is reached, or would be by this call.
    Spent,
    /// Calls under way may need what is left.
    Reserved,
    /// What is left is not this instance's to spend while it is alone.
    Share,
}

/// A call that wants room, or has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its number among this run's.
    pub number: u64,
    /// The most that it may cost.
    pub nanousd: u64,
    /// When it expires, in milliseconds of the instance's own clock.
    pub expires_ms: u64,
}

/// What is to be told to Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// How often Redis had lost everything by then.
    pub losses: u64,
    /// Calls that are over.
    pub closed: Vec<u64>,
    /// Calls under way of which Redis may not know: number, nano-USD, milliseconds until it expires.
    pub opened: Vec<(u64, u64, u64)>,
    /// Days and months, the current ones first.
    pub accounts: Vec<Account>,
}

/// What is known of a day or month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub span: String,
    /// Field and nano-USD.
    pub fields: Vec<(String, u64)>,
}

/// What Redis tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incoming {
    /// What all instances have reserved, in nano-USD.
    pub reserved: u64,
    /// Fields of each day and month of the [`Outgoing`], where they were asked for.
    pub spans: Vec<BTreeMap<String, u64>>,
}

/// Sums of one day or month.
#[derive(Debug, Clone, Default)]
struct Sums {
    /// Field → nano-USD.
    fields: BTreeMap<String, u64>,
    /// What Redis has of this run's own fields: real, simulated.
    told: [u64; 2],
}

impl Sums {
    fn of(&self, kind: &str) -> u64 {
        let of_kind = self.fields.range(kind.to_owned()..).take_while(|(field, _)| field.starts_with(kind));
        of_kind.fold(0, |sum, (_, nanousd)| sum.saturating_add(*nanousd))
    }

    fn get(&self, field: &str) -> u64 {
        self.fields.get(field).copied().unwrap_or_default()
    }

    fn raise(&mut self, field: &str, nanousd: u64) {
        if nanousd > self.get(field) {
            self.fields.insert(field.to_owned(), nanousd);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Open {
    nanousd: u64,
    expires_ms: u64,
    stands: Stands,
}

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// Here alone: Redis was never told of it by itself.
    Here,
    /// Here, and perhaps in Redis: it was told, and has not answered.
    Told,
    /// In the lot, which Redis has.
    InLot,
    /// In Redis, by itself.
    InRedis,
}

/// See the file's head. Amounts are nano-USD.
#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    run: String,
    /// This run's own fields: real, simulated.
    own: [String; 2],
    spans: BTreeMap<String, Sums>,
    open: BTreeMap<u64, Open>,
    lot: Option<Lot>,
    /// Calls and lots that are over, of which Redis may not have heard so, and when Redis forgets them by itself.
    closed: BTreeMap<u64, u64>,
    losses: u64,
    now_ms: u64,
    /// What other instances had reserved when Redis was last heard.
    reserved_elsewhere: u64,
}

impl Ledger {
    /// Of the run of an app with this id, which no other run ever had.
    pub fn new(run: &str, limits: Limits) -> Self {
        Self {
            limits,
            run: run.to_owned(),
            own: [format!("{REAL}{run}"), format!("{SIMULATED}{run}")],
            spans: BTreeMap::new(),
            open: BTreeMap::new(),
            lot: None,
            closed: BTreeMap::new(),
            losses: 0,
            now_ms: 0,
            reserved_elsewhere: 0,
        }
    }

    /// What may be spent.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The instance's own clock shows so many milliseconds. Drops what has expired.
    pub fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.open.retain(|_, open| open.expires_ms > now_ms);
        self.closed.retain(|_, forgotten_ms| *forgotten_ms > now_ms);
    }

    /// Reserves room for a call without Redis; `stands` is [`Stands::Told`] where Redis was asked for it and may have it.
    ///
    /// # Errors
    /// In which period there is none, and why.
    pub fn reserve_alone(
        &mut self,
        call: Call,
        stands: Stands,
        today: &Today,
    ) -> Result<(), (BudgetPeriod, Lack)> {
        // The month first: where it has no room, the end of the day brings none.
        for period in [BudgetPeriod::Monthly, BudgetPeriod::Daily] {
            self.room_alone(period, call.nanousd, today).map_err(|lack| (period, lack))?;
        }
        self.reserved(call, stands);
        Ok(())
    }

    /// Reserves room for a call in the lot, if there is one with room.
    pub fn reserve_in_lot(&mut self, call: Call) -> bool {
        let has_room = self.lot.as_mut().is_some_and(|lot| lot.take(call.nanousd, call.expires_ms));
        if has_room {
            self.reserved(call, Stands::InLot);
        }
        has_room
    }

    /// The most that a lot may hold now: little of what is left, for it is kept from all others.
    pub fn lot_at_most(&self, today: &Today) -> u64 {
        let left = |period| {
            let spent = self.spent(Money::Real, span(today, period));
            self.limits.of(period).saturating_sub(spent).saturating_sub(self.reserved_nanousd())
        };
        left(BudgetPeriod::Daily).min(left(BudgetPeriod::Monthly)) / LOT_PART
    }

    /// Takes in that Redis has reserved a lot when it was told what was `sent`. It may have lost it since.
    pub fn granted(&mut self, lot: Lot, sent: &Outgoing) {
        if self.is_current(sent) {
            self.end_lot();
            self.lot = Some(lot);
        } else {
            self.doubt(lot.number(), lot.expires_ms());
        }
    }

    /// Ends the lot: its calls stand for themselves from now on.
    pub fn end_lot(&mut self) {
        let Some(lot) = self.lot.take() else { return };
        self.doubt(lot.number(), lot.expires_ms());
        let in_lot = self.open.values_mut().filter(|open| open.stands == Stands::InLot);
        in_lot.for_each(|open| open.stands = Stands::Here);
    }

    /// Whether Redis has lost nothing since it was told this.
    pub fn is_current(&self, sent: &Outgoing) -> bool {
        sent.losses == self.losses
    }

    /// Whether there is a lot.
    pub fn has_lot(&self) -> bool {
        self.lot.is_some()
    }

    fn room_alone(&self, period: BudgetPeriod, nanousd: u64, today: &Today) -> Result<(), Lack> {
        let limit = self.limits.of(period);
        let (spent, own_untold) = self
            .spans
            .get(&span(today, period).name)
            .map_or((0, 0), |sums| (sums.of(REAL), sums.get(&self.own[0]).saturating_sub(sums.told[0])));
        if spent.saturating_add(nanousd) > limit {
            return Err(Lack::Spent);
        }
        let wanted = self.open_nanousd().saturating_add(nanousd);
        if spent.saturating_add(self.reserved_elsewhere).saturating_add(wanted) > limit {
            return Err(Lack::Reserved);
        }
        // Shares are of what was left when the instances last heard of each other.
        let left = limit.saturating_sub(spent - own_untold).saturating_sub(self.reserved_elsewhere);
        let share = u128::from(left) * u128::from(self.limits.alone_ppm) / u128::from(WHOLE_PPM);
        if u128::from(own_untold) + u128::from(wanted) > share { Err(Lack::Share) } else { Ok(()) }
    }

    /// Notes that there is a reservation for a call.
    pub fn reserved(&mut self, call: Call, stands: Stands) {
        let Call { number, nanousd, expires_ms } = call;
        self.open.insert(number, Open { nanousd, expires_ms, stands });
    }

    /// Notes that a call is over and cost `nanousd`.
    pub fn release(&mut self, number: u64, nanousd: u64) {
        // It expired, and does so in Redis.
        let Some(open) = self.open.remove(&number) else { return };
        match (open.stands, &mut self.lot) {
            (Stands::Here, _) | (Stands::InLot, None) => {}
            (Stands::InLot, Some(lot)) => {
                lot.settle(open.nanousd, nanousd);
                if nanousd > open.nanousd {
                    // Others hear at once of what nobody had reserved.
                    self.end_lot();
                }
            }
            (Stands::Told | Stands::InRedis, _) => self.doubt(number, open.expires_ms),
        }
    }

    /// Notes that Redis may hold a reservation which nobody needs, and which expires then.
    pub fn doubt(&mut self, number: u64, expires_ms: u64) {
        self.closed.insert(number, expires_ms.saturating_add(LATER_MS));
    }

    /// Adds what was spent at a moment.
    pub fn spend(&mut self, money: Money, nanousd: u64, today: &Today) {
        if nanousd == 0 {
            return;
        }
        let field = &self.own[money as usize];
        for span in [&today.day, &today.month] {
            if !self.spans.contains_key(&span.name) {
                self.spans.insert(span.name.clone(), Sums::default());
            }
            let Some(sums) = self.spans.get_mut(&span.name) else { continue };
            match sums.fields.get_mut(field) {
                Some(sum) => *sum = sum.saturating_add(nanousd),
                None => sums.raise(field, nanousd),
            }
        }
    }

    /// Takes in what the audit says that a run spent of real money in a day or month. Of this run it knows nothing new.
    pub fn learn(&mut self, span: &str, run: &str, nanousd: u64) {
        if run != self.run {
            self.spans.entry(span.to_owned()).or_default().raise(&format!("{REAL}{run}"), nanousd);
        }
    }

    /// What Redis is to be told: what is new, and `everything` that is known of the current day and month. Ends the lot.
    pub fn outgoing(&mut self, everything: bool, today: &Today) -> Outgoing {
        self.end_lot();
        let current = [&today.day.name, &today.month.name];
        self.spans.retain(|name, sums| current.contains(&name) || is_untold(sums, &self.own));
        let late = self.spans.keys().filter(|name| !current.contains(name));
        let account = |name: &String| {
            let fields = self.spans.get(name).map(|sums| &sums.fields).into_iter().flatten();
            let fields = fields.filter(|(field, _)| everything || self.own.contains(field));
            Account { span: name.clone(), fields: fields.map(|(field, sum)| (field.clone(), *sum)).collect() }
        };
        let accounts = current.into_iter().chain(late).map(account).collect();
        // Those that stand in Redis too, now and then: a replica that took its place may not have heard of them.
        let now_ms = self.now_ms;
        let wanted = self.open.iter_mut().filter(|(_, open)| everything || open.stands != Stands::InRedis);
        let opened = wanted.map(|(&call, open)| {
            open.stands = if open.stands == Stands::InRedis { Stands::InRedis } else { Stands::Told };
            (call, open.nanousd, open.expires_ms.saturating_sub(now_ms))
        });
        let opened = opened.collect();
        Outgoing { losses: self.losses, closed: self.closed.keys().copied().collect(), opened, accounts }
    }

    /// Takes in that Redis has what it was told, and what it tells.
    pub fn told(&mut self, sent: &Outgoing, heard: &Incoming) {
        // What it was told before it lost everything says nothing of what it has.
        let counts = self.is_current(sent);
        for call in sent.closed.iter().filter(|_| counts) {
            self.closed.remove(call);
        }
        for &(call, _, lasts_ms) in &sent.opened {
            match self.open.get_mut(&call) {
                Some(open) if counts => open.stands = Stands::InRedis,
                Some(_) => {}
                // It ended meanwhile, and Redis may have heard of its end first.
                None => self.doubt(call, self.now_ms.saturating_add(lasts_ms)),
            }
        }
        for (index, Account { span, fields }) in sent.accounts.iter().enumerate() {
            let sums = self.spans.entry(span.clone()).or_default();
            for (told, own) in sums.told.iter_mut().zip(&self.own) {
                let now = fields.iter().find(|(field, _)| counts && field == own);
                *told = (*told).max(now.map_or(0, |(_, nanousd)| *nanousd));
            }
            let heard = heard.spans.get(index).into_iter().flatten();
            for (field, nanousd) in heard.filter(|(field, _)| is_sum(field)) {
                sums.raise(field, *nanousd);
            }
        }
        let in_redis = self.open.values().filter(|open| open.stands == Stands::InRedis);
        let own: u64 = in_redis.map(|open| open.nanousd).chain(self.lot.map(|lot| lot.nanousd())).sum();
        self.reserved_elsewhere = heard.reserved.saturating_sub(own);
    }

    /// Takes in that Redis has lost what it was told.
    pub fn untold(&mut self) {
        self.losses += 1;
        self.end_lot();
        self.open.values_mut().for_each(|open| open.stands = Stands::Told);
        self.spans.values_mut().for_each(|sums| sums.told = [0; 2]);
    }

    /// What is known to have been spent in a day or month.
    pub fn spent(&self, money: Money, span: &Span) -> u64 {
        let kind = match money {
            Money::Real => REAL,
            Money::Simulated => SIMULATED,
        };
        self.spans.get(&span.name).map_or(0, |sums| sums.of(kind))
    }

    /// What calls under way have reserved, as far as is known.
    pub fn reserved_nanousd(&self) -> u64 {
        self.open_nanousd().saturating_add(self.reserved_elsewhere)
    }

    fn open_nanousd(&self) -> u64 {
        self.open.values().map(|open| open.nanousd).sum()
    }

    /// Whether there is something of real money that Redis has not heard.
    pub fn has_news(&self) -> bool {
        let spent = |sums: &Sums| sums.get(&self.own[0]) > sums.told[0];
        !self.closed.is_empty()
            || self.open.values().any(|open| open.stands != Stands::InRedis)
            || self.spans.values().any(spent)
    }
}

fn is_untold(sums: &Sums, own: &[String; 2]) -> bool {
    sums.told.iter().zip(own).any(|(told, field)| sums.get(field) > *told)
}

fn is_sum(field: &str) -> bool {
    field.starts_with(REAL) || field.starts_with(SIMULATED)
}

#[cfg(test)]
mod tests;
