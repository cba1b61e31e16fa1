//! The rules of an account, and that accounts agree whatever happens to Redis: random histories against a plain sum.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::super::calendar::Calendar;
use super::*;

const NOON_MS: u64 = 1_790_000_000_000;
const DAY_MS: u64 = 86_400_000;

fn today_at(ms: u64) -> Today {
    Calendar::new(TimeZone::UTC).at(ms)
}

fn call(number: u64, nanousd: u64, expires_ms: u64) -> Call {
    Call { number, nanousd, expires_ms }
}

fn ledger(run: &str, daily: u64, alone_ppm: u32) -> Ledger {
    Ledger::new(run, Limits { daily, monthly: 1_000, alone_ppm })
}

/// Redis, as far as the ledger is concerned.
#[derive(Default)]
struct Till {
    spans: BTreeMap<String, BTreeMap<String, u64>>,
    open: BTreeMap<(String, u64), u64>,
}

impl Till {
    fn exchange(&mut self, ledger: &mut Ledger, today: &Today) {
        let sent = ledger.outgoing(true, today);
        let heard = self.step(&ledger.run, &sent);
        ledger.told(&sent, &heard);
    }

    /// Takes in what a run tells.
    fn step(&mut self, run: &str, sent: &Outgoing) -> Incoming {
        for call in &sent.closed {
            self.open.remove(&(run.to_owned(), *call));
        }
        for (call, nanousd, _) in &sent.opened {
            self.open.insert((run.to_owned(), *call), *nanousd);
        }
        let mut heard = Incoming { reserved: self.open.values().sum(), spans: Vec::new() };
        for Account { span, fields } in &sent.accounts {
            let kept = self.spans.entry(span.clone()).or_default();
            for (field, nanousd) in fields {
                let sum = kept.entry(field.clone()).or_default();
                *sum = (*sum).max(*nanousd);
            }
            heard.spans.push(kept.clone());
        }
        heard
    }

    /// Reserves, if all that is spent and reserved leaves room for it.
    fn reserve(&mut self, run: &str, call: u64, nanousd: u64, limit: u64) -> bool {
        let spent: u64 = self.spans.values().next().into_iter().flat_map(BTreeMap::values).sum();
        let has_room = spent + self.open.values().sum::<u64>() + nanousd <= limit;
        if has_room {
            self.open.insert((run.to_owned(), call), nanousd);
        }
        has_room
    }
}

#[test]
fn alone_an_instance_spends_its_share_of_what_was_left_and_no_more() {
    let today = today_at(NOON_MS);
    let mut other = ledger("other", 100, 500_000);
    let mut own = ledger("own", 100, 500_000);
    let mut till = Till::default();
    other.spend(Money::Real, 10, &today);
    other.reserve_alone(call(1, 10, u64::MAX), Stands::Here, &today).unwrap();
    till.exchange(&mut other, &today);
    till.exchange(&mut own, &today);
    assert_eq!((own.spent(Money::Real, &today.day), own.reserved_nanousd()), (10, 10));

    // 80 are left, of which 40 are its own.
    let reserve = |ledger: &mut Ledger, number, nanousd| {
        ledger.reserve_alone(call(number, nanousd, u64::MAX), Stands::Here, &today)
    };
    let refused = |lack| Err((BudgetPeriod::Daily, lack));
    assert_eq!(reserve(&mut own, 1, 91), refused(Lack::Spent));
    assert_eq!(reserve(&mut own, 1, 81), refused(Lack::Reserved));
    assert_eq!(reserve(&mut own, 1, 41), refused(Lack::Share));
    assert_eq!(reserve(&mut own, 1, 40), Ok(()));
    assert_eq!(reserve(&mut own, 2, 1), refused(Lack::Share));
    own.release(1, 0);
    own.spend(Money::Real, 30, &today);
    assert_eq!(reserve(&mut own, 3, 11), refused(Lack::Share));
    assert_eq!(reserve(&mut own, 3, 10), Ok(()));
    own.release(3, 0);

    // Heard by Redis, it is no longer news, and the share is one of what is left now.
    till.exchange(&mut own, &today);
    assert_eq!(reserve(&mut own, 4, 25), Ok(()));
    assert_eq!(reserve(&mut own, 5, 1), refused(Lack::Share));
}

#[test]
fn a_share_of_one_is_all_and_of_nothing_is_nothing() {
    let today = today_at(NOON_MS);
    assert_eq!(
        ledger("own", 100, WHOLE_PPM).reserve_alone(call(1, 100, u64::MAX), Stands::Here, &today),
        Ok(())
    );
    let refused = ledger("own", 100, 0).reserve_alone(call(1, 1, u64::MAX), Stands::Here, &today);
    assert_eq!(refused, Err((BudgetPeriod::Monthly, Lack::Share)));
}

#[test]
fn simulated_money_takes_no_room() {
    let today = today_at(NOON_MS);
    let mut ledger = ledger("own", 100, WHOLE_PPM);
    ledger.spend(Money::Simulated, 5_000, &today);
    assert_eq!(ledger.reserve_alone(call(1, 100, u64::MAX), Stands::Here, &today), Ok(()));
    let sums = [Money::Real, Money::Simulated].map(|money| ledger.spent(money, &today.month));
    assert_eq!(sums, [0, 5_000]);
}

#[test]
fn a_new_day_has_room_and_the_month_goes_on() {
    let mut ledger = ledger("own", 400, WHOLE_PPM);
    for day in 0..3 {
        let today = today_at(NOON_MS + day * DAY_MS);
        let room = if day == 2 { 200 } else { 400 };
        assert!(ledger.reserve_alone(call(day, room + 1, u64::MAX), Stands::Here, &today).is_err());
        assert_eq!(ledger.reserve_alone(call(day, room, u64::MAX), Stands::Here, &today), Ok(()), "{day}");
        ledger.release(day, 0);
        ledger.spend(Money::Real, 400, &today);
    }
    let today = today_at(NOON_MS + 3 * DAY_MS);
    assert_eq!(
        ledger.reserve_alone(call(9, 1, u64::MAX), Stands::Here, &today),
        Err((BudgetPeriod::Monthly, Lack::Spent))
    );
}

#[test]
fn a_reservation_that_is_never_settled_expires_and_a_late_settlement_counts() {
    let today = today_at(NOON_MS);
    let mut ledger = ledger("own", 100, WHOLE_PPM);
    ledger.at(1_000);
    ledger.reserve_alone(call(1, 100, 1_010), Stands::Here, &today).unwrap();
    ledger.at(1_009);
    let other_date = today_at(NOON_MS + 60_000);
    assert!(ledger.reserve_alone(call(2, 1, u64::MAX), Stands::Here, &other_date).is_err());
    ledger.at(1_010);
    assert_eq!(ledger.reserve_alone(call(2, 1, u64::MAX), Stands::Here, &today), Ok(()));
    ledger.release(1, 0);
    ledger.spend(Money::Real, 60, &today);
    assert_eq!((ledger.reserved_nanousd(), ledger.spent(Money::Real, &today.day)), (1, 60));
}

#[test]
fn redis_is_told_what_is_new_and_after_a_loss_everything() {
    let yesterday = today_at(NOON_MS);
    let today = today_at(NOON_MS + DAY_MS);
    let mut ledger = ledger("own", 1_000, WHOLE_PPM);
    let mut till = Till::default();
    ledger.spend(Money::Real, 5, &yesterday);
    ledger.learn(&today.month.name, "gone", 7);
    ledger.learn(&today.month.name, "own", 999);
    ledger.reserve_alone(call(1, 10, u64::MAX), Stands::Here, &today).unwrap();
    assert!(ledger.has_news());
    let sent = ledger.outgoing(false, &today);
    let names: Vec<_> = sent.accounts.iter().map(|account| account.span.as_str()).collect();
    assert_eq!(names, ["2026-09-22", "2026-09", "2026-09-21"], "the day of what is told late");
    assert_eq!(sent.accounts[1].fields, [("real:own".to_owned(), 5)], "others' sums only in an exchange");
    assert_eq!(sent.opened, [(1, 10, u64::MAX)]);
    till.exchange(&mut ledger, &today);
    assert!(!ledger.has_news());
    let silent = ledger.outgoing(true, &today);
    assert_eq!(
        silent.opened, sent.opened,
        "in an exchange what stands there is told again, for a replica may lack it"
    );
    assert_eq!(silent.accounts.len(), 2);
    assert_eq!(silent.accounts[1].fields, [("real:gone".to_owned(), 7), ("real:own".to_owned(), 5)]);

    ledger.untold();
    assert!(ledger.has_news());
    let mut emptied = Till::default();
    emptied.exchange(&mut ledger, &today);
    assert_eq!(emptied.spans["2026-09"], till.spans["2026-09"]);
    assert_eq!(emptied.open, till.open);
    ledger.release(1, 0);
    assert_eq!(ledger.outgoing(false, &today).closed, [1]);
    emptied.exchange(&mut ledger, &today);
    assert!(emptied.open.is_empty() && !ledger.has_news());
}

#[test]
fn a_call_that_redis_never_heard_of_leaves_nothing_to_tell() {
    let today = today_at(NOON_MS);
    let mut ledger = ledger("own", 100, WHOLE_PPM);
    for number in 0..1_000 {
        ledger.reserve_alone(call(number, 10, u64::MAX), Stands::Here, &today).unwrap();
        ledger.release(number, 0);
    }
    assert!(!ledger.has_news() && ledger.outgoing(true, &today).closed.is_empty());
    // One that may have been heard of is told, until it was answered.
    ledger.reserve_alone(call(1, 10, u64::MAX), Stands::Here, &today).unwrap();
    assert_eq!(ledger.outgoing(false, &today).opened.len(), 1);
    ledger.release(1, 0);
    ledger.reserve_alone(call(2, 10, u64::MAX), Stands::Told, &today).unwrap();
    ledger.release(2, 0);
    assert_eq!(ledger.outgoing(false, &today).closed, [1, 2]);
}

#[test]
fn what_redis_was_told_before_a_loss_or_hears_late_is_put_right() {
    let today = today_at(NOON_MS);
    let mut ledger = ledger("own", 100, WHOLE_PPM);
    ledger.reserve_alone(call(1, 10, u64::MAX), Stands::Here, &today).unwrap();
    ledger.spend(Money::Real, 5, &today);
    let before = ledger.outgoing(false, &today);
    ledger.untold();
    // The answer comes from a Redis that was emptied since.
    ledger.granted(Lot::new(2, 50, u64::MAX), &before);
    ledger.told(&before, &Incoming::default());
    assert!(!ledger.has_lot());
    let again = ledger.outgoing(false, &today);
    assert_eq!((&again.opened, &again.closed[..]), (&vec![(1, 10, u64::MAX)], &[2][..]));
    assert!(ledger.has_news(), "what was spent is untold");
    // A call ends while Redis is told that it is under way.
    ledger.release(1, 0);
    let over = ledger.outgoing(false, &today);
    ledger.told(&over, &Incoming::default());
    assert!(ledger.outgoing(false, &today).closed.is_empty());
    ledger.told(&again, &Incoming::default());
    assert_eq!(ledger.outgoing(false, &today).closed, [1]);
}

#[test]
fn what_redis_forgets_by_itself_need_not_be_told() {
    let today = today_at(NOON_MS);
    let mut ledger = ledger("own", 100, WHOLE_PPM);
    for number in 0..100 {
        ledger.at(number);
        ledger.reserve_alone(call(number, 1, number + 5), Stands::Told, &today).unwrap();
        ledger.release(number, 0);
    }
    assert_eq!(ledger.outgoing(false, &today).closed.len(), 100);
    ledger.at(100 + 5 + LATER_MS);
    assert!(ledger.outgoing(false, &today).closed.is_empty());
}

#[test]
fn a_call_in_a_lot_that_was_dearer_than_reserved_ends_it() {
    let today = today_at(NOON_MS);
    let mut ledger = ledger("own", 100, WHOLE_PPM);
    let sent = ledger.outgoing(false, &today);
    ledger.granted(Lot::new(1, 50, u64::MAX), &sent);
    assert!(ledger.reserve_in_lot(call(2, 10, u64::MAX)) && ledger.reserve_in_lot(call(3, 10, u64::MAX)));
    ledger.release(2, 10);
    assert!(ledger.has_lot());
    ledger.release(3, 11);
    assert!(!ledger.has_lot() && ledger.outgoing(false, &today).closed == [1]);
}

/// What may happen to three instances and their Redis.
#[derive(Debug, Clone)]
enum Step {
    Spend(usize, u64),
    Exchange(usize),
    /// Redis loses everything.
    Lose,
    /// An instance dies; a new run takes its place.
    Crash(usize),
    /// An instance reads the audit, which lacks what was spent last.
    Audit(usize),
    NextDay,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 1..50_u64).prop_map(|(who, nanousd)| Step::Spend(who, nanousd)),
        4 => (0..3_usize).prop_map(Step::Exchange),
        1 => Just(Step::Lose),
        1 => (0..3_usize).prop_map(Step::Crash),
        1 => (0..3_usize).prop_map(Step::Audit),
        1 => Just(Step::NextDay),
    ]
}

/// What was spent: run, day, nano-USD, in order.
type History = Vec<(String, String, u64)>;

fn read_audit(ledger: &mut Ledger, history: &[(String, String, u64)], today: &Today) {
    let runs: BTreeSet<_> = history.iter().map(|(run, ..)| run).collect();
    for run in runs {
        let own = || history.iter().filter(|(who, ..)| who == run);
        let day = own().filter(|(_, day, _)| *day == today.day.name).map(|(.., sum)| sum).sum();
        ledger.learn(&today.month.name, run, own().map(|(.., sum)| sum).sum());
        ledger.learn(&today.day.name, run, day);
    }
}

proptest! {
    #[test]
    fn with_the_audit_nothing_is_forgotten_or_counted_twice(steps in prop::collection::vec(step(), 1..60)) {
        // From the first of a month, so that fifteen days are within it.
        let mut now_ms = today_at(NOON_MS).month.begins_ms;
        let mut runs = 0;
        let mut new_run = || { runs += 1; ledger(&format!("run-{runs}"), 1_000, WHOLE_PPM) };
        let mut instances = [new_run(), new_run(), new_run()];
        let (mut till, mut history) = (Till::default(), History::new());
        let mut days = 0;
        for step in steps {
            let today = today_at(now_ms);
            match step {
                Step::Spend(who, nanousd) => {
                    instances[who].spend(Money::Real, nanousd, &today);
                    history.push((instances[who].run.clone(), today.day.name.clone(), nanousd));
                }
                Step::Exchange(who) => till.exchange(&mut instances[who], &today),
                Step::Lose => {
                    till = Till::default();
                    instances.iter_mut().for_each(Ledger::untold);
                }
                Step::Crash(who) => instances[who] = new_run(),
                Step::Audit(who) => {
                    let written = history.len().saturating_sub(2);
                    read_audit(&mut instances[who], &history[..written], &today);
                }
                Step::NextDay => {
                    days += 1;
                    now_ms += if days < 20 { DAY_MS } else { 0 };
                }
            }
        }
        let today = today_at(now_ms);
        let month: u64 = history.iter().map(|(.., nanousd)| nanousd).sum();
        let own_day = history.iter().filter(|(_, day, _)| *day == today.day.name);
        let day: u64 = own_day.map(|(.., nanousd)| nanousd).sum();
        for instance in &instances {
            prop_assert!(instance.spent(Money::Real, &today.month) <= month, "never more than was spent");
        }
        read_audit(&mut instances[0], &history, &today);
        for who in [0, 1, 2, 0, 1, 2] {
            till.exchange(&mut instances[who], &today);
        }
        for instance in &instances {
            prop_assert_eq!(instance.spent(Money::Real, &today.month), month);
            prop_assert_eq!(instance.spent(Money::Real, &today.day), day);
        }
    }
}

/// What two instances do that share a day's limit.
#[derive(Debug, Clone)]
enum Move {
    /// A call wants room: in the lot, else of Redis, which is asked for a lot of so many such calls first.
    Reserve(usize, u64, u64),
    /// The oldest call is over and cost this share, in hundredths, of what was reserved.
    Settle(usize, u64),
    Exchange(usize),
    /// Redis does what it is told, and its answer is lost.
    Deaf(usize),
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (0..2_usize, 1..20_u64, 1..12_u64).prop_map(|(who, nanousd, calls)| Move::Reserve(who, nanousd, calls)),
        5 => (0..2_usize, 0..=100_u64).prop_map(|(who, share)| Move::Settle(who, share)),
        1 => (0..2_usize).prop_map(Move::Exchange),
        1 => (0..2_usize).prop_map(Move::Deaf),
    ]
}

/// An instance, and what was promised to its calls.
struct Caller {
    ledger: Ledger,
    promised: Vec<(u64, u64)>,
    calls: u64,
}

impl Caller {
    fn number(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    fn reserve(&mut self, till: &mut Till, nanousd: u64, calls: u64, limit: u64, today: &Today) {
        let (wanted, run) = (call(self.number(), nanousd, u64::MAX), self.ledger.run.clone());
        let lot = self.number();
        if !self.ledger.reserve_in_lot(wanted) {
            let sent = self.ledger.outgoing(false, today);
            let mut heard = till.step(&run, &sent);
            if till.reserve(&run, lot, nanousd * calls, limit) {
                self.ledger.granted(Lot::new(lot, nanousd * calls, u64::MAX), &sent);
            }
            heard.reserved = till.open.values().sum();
            self.ledger.told(&sent, &heard);
            let is_in_lot = self.ledger.reserve_in_lot(wanted);
            if !is_in_lot && till.reserve(&run, wanted.number, nanousd, limit) {
                self.ledger.reserved(wanted, Stands::InRedis);
            } else if !is_in_lot {
                return;
            }
        }
        self.promised.push((wanted.number, nanousd));
    }

    fn settle(&mut self, share: u64, today: &Today) -> u64 {
        if self.promised.is_empty() {
            return 0;
        }
        let (call, nanousd) = self.promised.remove(0);
        let cost = nanousd * share / 100;
        self.ledger.spend(Money::Real, cost, today);
        self.ledger.release(call, cost);
        cost
    }
}

proptest! {
    #[test]
    fn with_lots_no_more_is_promised_than_there_is(moves in prop::collection::vec(a_move(), 1..120)) {
        let (limit, today) = (300, today_at(NOON_MS));
        // Amounts are small here, so that nothing but the till bounds a lot.
        let caller = |run| Caller { ledger: ledger(run, limit, 0), promised: Vec::new(), calls: 0 };
        let mut callers = [caller("one"), caller("two")];
        let (mut till, mut spent) = (Till::default(), 0);
        for step in moves {
            match step {
                Move::Reserve(who, nanousd, calls) => {
                    callers[who].reserve(&mut till, nanousd, calls, limit, &today);
                }
                Move::Settle(who, share) => spent += callers[who].settle(share, &today),
                Move::Exchange(who) => till.exchange(&mut callers[who].ledger, &today),
                Move::Deaf(who) => {
                    let sent = callers[who].ledger.outgoing(false, &today);
                    till.step(&callers[who].ledger.run, &sent);
                }
            }
            let promised: u64 = callers.iter().flat_map(|caller| &caller.promised).map(|(_, nanousd)| nanousd).sum();
            prop_assert!(spent + promised <= limit, "{spent} are spent and {promised} promised");
        }
        // Twice, so that each has heard what the other told last.
        for who in [0, 1, 0, 1] {
            till.exchange(&mut callers[who].ledger, &today);
        }
        let promised: u64 = callers.iter().flat_map(|caller| &caller.promised).map(|(_, nanousd)| nanousd).sum();
        prop_assert_eq!(till.open.values().sum::<u64>(), promised, "what stands in Redis is what is under way");
        for Caller { ledger, .. } in &callers {
            prop_assert_eq!(ledger.spent(Money::Real, &today.day), spent);
            prop_assert_eq!(ledger.reserved_nanousd(), promised);
            prop_assert!(!ledger.has_lot());
        }
    }
}
