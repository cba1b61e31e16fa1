//! The budget in a real Redis, rebuilt from a real MariaDB: what instances together may spend, whatever is killed, hangs,
//! or is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use techsapo_app::clock;
use techsapo_app::config;
use techsapo_app::guard::breaker::Breakers;
use techsapo_app::guard::budget::ledger::Lack;
use techsapo_app::guard::budget::{Budget, Link, PeriodState, Refusal, Reservation};
use techsapo_app::store::redis::Redis;
use techsapo_app::telemetry::Recorder;
use techsapo_shared::labels::BudgetPeriod;
use techsapo_tests::random::Random;
use techsapo_tests::{App, MariaDb, RedisServer, wait};
use tokio::runtime::Runtime;

/// 2026-09-21 14:13:20 UTC.
const AFTERNOON_MS: u64 = 1_790_000_000_000;
const DAY_MS: u64 = 86_400_000;
/// How long a call of these tests may take: none ends by itself.
const PATIENCE: Duration = Duration::from_secs(600);

/// An instance of the app, as far as its budget goes. Limits: 100 nano-USD a day, 1000 a month.
struct Instance {
    budget: Budget,
    runtime: Runtime,
    now_ms: Arc<AtomicU64>,
}

impl Instance {
    /// A new run. Its day is a fixed one; [`Instance::at`] moves it.
    fn start(redis: &RedisServer, run: &str) -> Self {
        let instance = Self::spawn(redis, run, &[]);
        instance.wait_link(Link::Shared);
        instance
    }

    fn spawn(redis: &RedisServer, run: &str, changes: &[(&str, &str)]) -> Self {
        // A busy machine is no reason to think that Redis is away.
        let base =
            [("budget.daily_usd", "0.0000001"), ("budget.monthly_usd", "0.000001"), ("store.timeout", "2s")];
        let named = |(key, value): &(&str, &str)| (config::env_name(key), (*value).to_owned());
        let env: BTreeMap<_, _> = base.iter().chain(changes).map(named).collect();
        let settings = config::load(None, &env).unwrap().settings;
        let recorder = Recorder::off();
        let breakers = Breakers::new(run, recorder.clone());
        let store = Redis::new(redis.url().parse().unwrap(), settings.store.timeout, recorder, &breakers);
        let now_ms = Arc::new(AtomicU64::new(AFTERNOON_MS));
        let clock = Arc::clone(&now_ms);
        let now = Arc::new(move || clock.load(Ordering::Relaxed));
        let budget = Budget::new(&settings.budget, run, store.clone(), None, now);
        let runtime = Runtime::new().unwrap();
        runtime.spawn(store.keep_connected());
        runtime.spawn(budget.clone().keep());
        Self { budget, runtime, now_ms }
    }

    fn at(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    fn reserve(&self, nanousd: u64) -> Result<Reservation, Refusal> {
        self.runtime.block_on(self.budget.reserve(nanousd, PATIENCE))
    }

    fn lack(&self, nanousd: u64) -> (BudgetPeriod, Lack) {
        let refusal = self.reserve(nanousd).err().expect("no room");
        (refusal.period, refusal.lack)
    }

    fn spend(&self, nanousd: u64) {
        self.reserve(nanousd).expect("room").settle(nanousd);
    }

    fn day(&self) -> PeriodState {
        self.budget.state().periods[0].clone()
    }

    fn wait_link(&self, link: Link) {
        wait::until_true(&format!("the budget is {link:?}"), || self.budget.state().link == link);
    }

    fn wait_day(&self, spent: u64, reserved: u64) {
        let seen = || (self.day().spent, self.day().reserved);
        wait::until_true(&format!("{spent} are spent and {reserved} reserved"), || {
            seen() == (spent, reserved)
        });
    }

    /// Dies: nothing that it has not told by now is ever told.
    fn crash(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(10));
    }
}

/// What a day's or month's hash in Redis holds.
fn stored(redis: &RedisServer, name: &str) -> BTreeMap<String, u64> {
    redis.cli(&["HGETALL", &format!("techsapo:{{app}}:budget:{name}")])
}

fn stored_reserved(redis: &RedisServer) -> u64 {
    redis.cli::<Option<u64>>(&["HGET", "techsapo:{app}:budget:amounts", "sum"]).unwrap_or_default()
}

fn fields(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(field, sum)| ((*field).to_owned(), *sum)).collect()
}

/// Has both instances reserve and settle from several threads at once, and asserts that never more than the limit is promised,
/// and that nothing is lost or left over. Returns what was spent.
fn spend_together(redis: &RedisServer, instances: &[Instance; 2], calls: &Calls) -> u64 {
    let &Calls { threads, each, most, part, limit } = calls;
    let (promised, spent, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (instance, promised, spent, refused) = (&instances[thread % 2], &promised, &spent, &refused);
            scope.spawn(move || {
                let mut dice = Random::new(thread as u64);
                for _ in 0..each {
                    let most = dice.between(1, most);
                    let Ok(reservation) = instance.reserve(most) else {
                        refused.fetch_add(1, Ordering::SeqCst);
                        continue;
                    };
                    // What is promised stands here a little later and goes a little earlier than it does there.
                    let now = promised.fetch_add(most, Ordering::SeqCst) + most;
                    assert!(now <= limit, "{now}");
                    let cost = dice.between(most / part / 2, most / part);
                    promised.fetch_sub(most - cost, Ordering::SeqCst);
                    spent.fetch_add(cost, Ordering::SeqCst);
                    reservation.settle(cost);
                }
            });
        }
    });
    let spent = spent.into_inner();
    assert!(spent <= limit && refused.into_inner() > 0, "{spent}");
    for instance in instances {
        instance.wait_day(spent, 0);
    }
    let day = stored(redis, "2026-09-21");
    assert_eq!((day["total"], day["real:one"] + day["real:two"]), (spent, spent));
    assert_eq!(stored(redis, "2026-09"), day);
    wait::until_true("nothing is reserved", || stored_reserved(redis) == 0);
    spent
}

/// Calls that are made together.
struct Calls {
    threads: usize,
    /// How many each thread makes.
    each: usize,
    /// The most that one reserves, in nano-USD.
    most: u64,
    /// It costs at most one in so many parts of that, and at least half as much.
    part: u64,
    limit: u64,
}

#[test]
fn two_instances_together_never_promise_more_than_the_limit() {
    let redis = RedisServer::start();
    let instances = ["one", "two"].map(|run| Instance::start(&redis, run));
    let calls = Calls { threads: 8, each: 30, most: 20, part: 4, limit: 100 };
    spend_together(&redis, &instances, &calls);
}

/// Changes of settings: 100 000 nano-USD a day, so that lots are worth while.
const ROOMY: &[(&str, &str)] = &[("budget.daily_usd", "0.0001"), ("budget.monthly_usd", "0.0001")];

#[test]
fn where_many_calls_come_one_lot_is_for_many_and_still_no_more_is_promised_than_the_limit() {
    let redis = RedisServer::start();
    let instances = ["one", "two"].map(|run| Instance::spawn(&redis, run, ROOMY));
    instances.iter().for_each(|instance| instance.wait_link(Link::Shared));
    let calls = Calls { threads: 4, each: 1_000, most: 120, part: 1, limit: 100_000 };
    let spent = spend_together(&redis, &instances, &calls);
    assert!(spent >= 90_000, "what lots held and nobody needed was given back: {spent}");
}

/// Has an instance find out that calls come often, and take a lot, of which a call of `nanousd` is under way.
fn in_a_lot(redis: &RedisServer, instance: &Instance, nanousd: u64) -> Reservation {
    wait::until("there is a lot", || {
        let reservation = instance.reserve(nanousd).unwrap();
        if stored_reserved(redis) > nanousd {
            return Some(reservation);
        }
        reservation.settle(0);
        None
    })
}

#[test]
fn a_lot_ends_with_the_calls_in_it_or_with_its_instance_or_with_redis() {
    let mut redis = RedisServer::start();
    let (one, two) = (Instance::spawn(&redis, "one", ROOMY), Instance::spawn(&redis, "two", ROOMY));
    [&one, &two].iter().for_each(|instance| instance.wait_link(Link::Shared));
    let under_way = in_a_lot(&redis, &one, 50);
    wait::until_true("what is left of a lot is given back", || stored_reserved(&redis) == 50);
    under_way.settle(30);
    two.wait_day(30, 0);

    let under_way = in_a_lot(&redis, &one, 50);
    redis.kill_9();
    [&one, &two].iter().for_each(|instance| instance.wait_link(Link::Alone));
    redis.start_again();
    [&one, &two].iter().for_each(|instance| instance.wait_link(Link::Shared));
    two.wait_day(30, 50);
    under_way.settle(50);
    two.wait_day(80, 0);

    let lost = in_a_lot(&redis, &one, 50);
    one.crash();
    std::mem::forget(lost);
    let open: Vec<String> = redis.cli(&["ZRANGE", "techsapo:{app}:budget:open", "0", "-1"]);
    assert!(!open.is_empty());
    for call in open {
        let _: u64 = redis.cli(&["ZADD", "techsapo:{app}:budget:open", "XX", "CH", "1", &call]);
    }
    two.wait_day(80, 0);
}

#[test]
fn room_is_refused_while_it_is_reserved_and_for_the_day_once_it_is_spent() {
    let redis = RedisServer::start();
    let (one, two) = (Instance::start(&redis, "one"), Instance::start(&redis, "two"));
    let reservation = one.reserve(60).unwrap();
    assert_eq!(two.lack(41), (BudgetPeriod::Daily, Lack::Reserved));
    two.reserve(40).unwrap().settle(0);
    reservation.settle(90);
    two.wait_day(90, 0);
    assert_eq!(
        two.lack(11),
        (BudgetPeriod::Daily, Lack::Spent),
        "dearer than it was said to be, and counted in full"
    );
    let refusal = two.reserve(11).err().unwrap();
    assert_eq!(refusal.ends_ms, AFTERNOON_MS / DAY_MS * DAY_MS + DAY_MS);
    assert_eq!(refusal.retry_in, Duration::from_millis(refusal.ends_ms - AFTERNOON_MS));
    assert!(two.day().is_reached && !one.day().is_reached);
    two.spend(10);
    assert!(!two.day().is_reached, "a cheaper one had room");
    assert_eq!(two.lack(0), (BudgetPeriod::Daily, Lack::Spent), "what has no known price needs room too");
}

#[test]
fn days_and_months_go_by() {
    let redis = RedisServer::start();
    let instance = Instance::start(&redis, "one");
    let over_midnight = instance.reserve(50).unwrap();
    for day in 0..9 {
        instance.at(AFTERNOON_MS + day * DAY_MS);
        if day == 1 {
            assert_eq!(instance.lack(51), (BudgetPeriod::Daily, Lack::Reserved));
        }
        instance.spend(45);
    }
    over_midnight.settle(40);
    assert_eq!(instance.day().spent, 85, "on the day on which it ended");
    // 445 of the month, of which the 30th is the last day.
    assert_eq!(instance.day().span.name, "2026-09-29");
    instance.at(AFTERNOON_MS + 9 * DAY_MS);
    instance.budget.count_simulated(5_000);
    instance.spend(100);
    let month = instance.budget.state().periods[1].clone();
    assert_eq!((month.span.name.as_str(), month.spent, month.simulated), ("2026-09", 545, 5_000));
    instance.at(AFTERNOON_MS + 10 * DAY_MS);
    assert_eq!(instance.budget.state().periods[1].spent, 0);
    for day in 10..20 {
        instance.at(AFTERNOON_MS + day * DAY_MS);
        instance.spend(100);
    }
    instance.at(AFTERNOON_MS + 20 * DAY_MS);
    assert_eq!(instance.lack(1), (BudgetPeriod::Monthly, Lack::Spent));
    assert_eq!(stored(&redis, "2026-10")["total"], 1_000);
}

#[test]
fn what_is_settled_twice_counts_once() {
    let redis = RedisServer::start();
    let instance = Instance::start(&redis, "one");
    let reservation = instance.reserve(50).unwrap();
    // Redis does what it is told when it goes on, and the instance, which heard nothing of that, tells it again.
    redis.pause();
    reservation.settle(30);
    instance.wait_link(Link::Alone);
    redis.resume();
    instance.wait_link(Link::Shared);
    wait::until_true("it is told", || stored_reserved(&redis) == 0);
    assert_eq!(stored(&redis, "2026-09-21"), fields(&[("real:one", 30), ("total", 30)]));
    for _ in 0..5 {
        instance.runtime.block_on(instance.budget.exchange());
    }
    assert_eq!(stored(&redis, "2026-09-21"), fields(&[("real:one", 30), ("total", 30)]));
}

#[test]
fn a_reservation_of_an_instance_that_died_expires() {
    let redis = RedisServer::start();
    let (dying, living) = (Instance::start(&redis, "dying"), Instance::start(&redis, "living"));
    dying.spend(10);
    living.wait_day(10, 0);
    let lost = dying.reserve(60).unwrap();
    dying.crash();
    std::mem::forget(lost);
    assert_eq!(living.lack(31), (BudgetPeriod::Daily, Lack::Reserved));
    let open: Vec<(String, u64)> =
        redis.cli(&["ZRANGE", "techsapo:{app}:budget:open", "0", "-1", "WITHSCORES"]);
    let (now_s, _): (u64, u64) = redis.cli(&["TIME"]);
    let [(call, expires_ms)] = &open[..] else { panic!("{open:?}") };
    let left_ms = expires_ms - now_s * 1_000;
    assert!((600_000..=662_000).contains(&left_ms), "the call's time and a minute: {left_ms}");
    // That time goes by.
    let moved: u64 = redis.cli(&["ZADD", "techsapo:{app}:budget:open", "XX", "CH", "1", call]);
    assert_eq!(moved, 1);
    living.reserve(90).unwrap().settle(0);
    assert_eq!(stored(&redis, "2026-09-21")["real:dying"], 10, "what it had told counts");
    wait::until_true("all is settled", || stored_reserved(&redis) == 0);
}

#[test]
fn a_settlement_after_its_reservation_expired_counts() {
    let redis = RedisServer::start();
    let (slow, other) = (Instance::start(&redis, "slow"), Instance::start(&redis, "other"));
    let late = slow.reserve(60).unwrap();
    let calls: Vec<String> = redis.cli(&["ZRANGE", "techsapo:{app}:budget:open", "0", "-1"]);
    // The one who reserved it tells of it again every second, as long as its call is under way.
    let room = wait::until("it expires", || {
        let _: u64 = redis.cli(&["ZADD", "techsapo:{app}:budget:open", "XX", "CH", "1", &calls[0]]);
        other.reserve(100).ok()
    });
    room.settle(0);
    late.settle(60);
    other.wait_day(60, 0);
    assert_eq!(other.lack(41), (BudgetPeriod::Daily, Lack::Spent));
}

#[test]
fn a_redis_that_was_emptied_is_given_everything_back() {
    let mut redis = RedisServer::start();
    let (dying, living) = (Instance::start(&redis, "dying"), Instance::start(&redis, "living"));
    dying.spend(20);
    dying.budget.count_simulated(7);
    living.spend(30);
    living.wait_day(50, 0);
    wait::until_true("what was simulated is told", || living.day().simulated == 7);
    dying.crash();
    let open = living.reserve(25).unwrap();
    redis.kill_9();
    living.wait_link(Link::Alone);
    redis.start_again();
    living.wait_link(Link::Shared);
    let all = fields(&[("real:dying", 20), ("real:living", 30), ("simulated:dying", 7), ("total", 50)]);
    assert_eq!(stored(&redis, "2026-09-21"), all);
    assert_eq!(stored_reserved(&redis), 25);
    let newcomer = Instance::start(&redis, "newcomer");
    newcomer.wait_day(50, 25);
    assert_eq!(newcomer.lack(26), (BudgetPeriod::Daily, Lack::Reserved));
    open.settle(25);
    newcomer.wait_day(75, 0);
    // Emptied while it runs: nobody is let through for free even in the moment before that is noticed.
    let _: () = redis.cli(&["FLUSHALL"]);
    assert!(newcomer.reserve(26).is_err());
    wait::until_true("it is given back", || stored(&redis, "2026-09").get("total") == Some(&75));
}

#[test]
fn without_redis_an_instance_goes_on_with_its_share_and_tells_afterwards() {
    let mut redis = RedisServer::start();
    let (one, two) = (Instance::start(&redis, "one"), Instance::start(&redis, "two"));
    one.spend(20);
    two.wait_day(20, 0);
    redis.kill_9();
    one.wait_link(Link::Alone);
    two.wait_link(Link::Alone);
    // Half of 80 for each.
    assert_eq!(one.lack(81), (BudgetPeriod::Daily, Lack::Spent));
    assert_eq!(one.lack(41), (BudgetPeriod::Daily, Lack::Share));
    one.spend(40);
    assert_eq!(one.lack(1), (BudgetPeriod::Daily, Lack::Share));
    let under_way = two.reserve(40).unwrap();
    assert_eq!(two.lack(1), (BudgetPeriod::Daily, Lack::Share));
    redis.start_again();
    one.wait_link(Link::Shared);
    two.wait_link(Link::Shared);
    one.wait_day(60, 40);
    assert_eq!(one.lack(1), (BudgetPeriod::Daily, Lack::Reserved));
    under_way.settle(15);
    one.wait_day(75, 0);
    one.spend(25);
    wait::until_true("all is told", || stored(&redis, "2026-09").get("total") == Some(&100));
}

#[test]
fn a_budget_that_is_not_enforced_only_counts() {
    let redis = RedisServer::start();
    let instance = Instance::spawn(&redis, "one", &[("budget.enforce", "false")]);
    instance.wait_link(Link::Shared);
    for _ in 0..3 {
        instance.spend(90);
    }
    wait::until_true("it is told", || stored(&redis, "2026-09").get("total") == Some(&270));
    assert!(!instance.budget.state().enforced);
}

fn shown(app: &App) -> Value {
    app.get("/api/v1/budget").unwrap().json()
}

fn wait_health(app: &App, state: &str) {
    wait::until_true(&format!("the budget is {state}"), || {
        app.get("/api/v1/health").unwrap().json()["services"]["budget"]["state"] == state
    });
}

/// Writes an analysis of a run of an app into the audit, with one call for each provider.
fn audited(mysql: &MariaDb, (run, seq): (&str, u64), ended_ms: u64, calls: &[(&str, u64)]) {
    let ended = clock::rfc3339(ended_ms).replace('T', " ").replace('Z', "");
    let total: u64 = calls.iter().map(|(_, cost)| cost).sum();
    mysql.sql(&format!(
        "INSERT INTO analyses (producer, seq, ended_at, request_id, session_id, caller, task_type, mode, status, \
         answer_source, cached, duration_us, cost_nanousd, prompt_bytes, prompt_hash) VALUES ('{run}', {seq}, '{ended}', 'r', 's', 'c', 'basic', 'parallel', 'success', \
         'Gemini', 0, 1, {total}, 1, 'h')"
    ));
    for (number, (provider, cost)) in calls.iter().enumerate() {
        mysql.sql(&format!(
            "INSERT INTO analysis_calls (producer, seq, call_number, provider, model, status, duration_us, input_tokens, \
             output_tokens, cost_nanousd) VALUES ('{run}', {seq}, {number}, '{provider}', 'm', 'success', 1, 1, 1, {cost})"
        ));
    }
}

#[test]
fn what_redis_lost_comes_from_the_audit() {
    let (events, mut store, mut mysql) = (RedisServer::start(), RedisServer::start(), MariaDb::start());
    let mut app = App::of(&events)
        .set("TECHSAPO_STORE_REDIS_URL", &store.url())
        .set("TECHSAPO_MYSQL_URL", &mysql.url())
        .start();
    wait::until_true("the audit has tables and is read", || shown(&app)["counted"] == "shared");
    let today = shown(&app);
    let begins = |period: &str| {
        let at = today[period]["begins"].as_str().unwrap();
        clock::midnight_ms(&at[..10]).unwrap()
    };
    let (day_ms, month_ms) = (begins("daily"), begins("monthly"));
    // Of today; of this month (the first is today, too, once a month); and of the last.
    audited(&mysql, ("gone-1", 1), day_ms, &[("Gemini", 5), ("Simulated-Gemini", 1_000)]);
    audited(&mysql, ("gone-1", 2), day_ms + 1, &[("OpenAI", 70)]);
    audited(&mysql, ("gone-2", 1), month_ms, &[("Claude", 600), ("OpenRouter", 8_000)]);
    audited(&mysql, ("gone-2", 2), month_ms - 1, &[("Claude", 90_000)]);
    let month = 8_675;
    let day = if day_ms == month_ms { month } else { 75 };

    app.kill_9();
    store.kill_9();
    store.start_again();
    app.restart();
    let spent =
        |shown: &Value| ["daily", "monthly"].map(|period| shown[period]["spent_nanousd"].as_u64().unwrap());
    wait::until_true("what was spent is known again", || spent(&shown(&app)) == [day, month]);
    assert_eq!(shown(&app)["counted"], "shared");
    wait_health(&app, "up");
    wait::until_true("Redis has it again", || {
        stored(&store, &today["monthly"]["name"].as_str().unwrap()[..7]).get("total") == Some(&month)
    });

    // With both away, it says that it does not know, and limits itself, until one of them tells.
    app.kill_9();
    store.kill_9();
    store.start_again();
    mysql.kill_9();
    app.restart();
    wait::until_true("it knows that it does not know", || shown(&app)["counted"] == "unknown");
    wait_health(&app, "degraded");
    mysql.start_again();
    wait::until_true("MySQL tells", || {
        let shown = shown(&app);
        shown["counted"] == json!("shared") && spent(&shown) == [day, month]
    });
}
