//! The budget in Redis: one script, which tells and asks in one round trip.

use std::collections::BTreeMap;

use redis::{Script, ScriptInvocation};
use techsapo_shared::labels::BudgetPeriod;

use super::ledger::{Incoming, Limits, Outgoing};
use crate::store::redis::{PREFIX, Redis, StoreError};

/// How long Redis keeps a day and a month after it was last told something of them. What comes later than that is lost to a
/// budget that is over anyway.
const KEPT_MS: u64 = 35 * 86_400_000;

/// A call that wants room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Its number in this run.
    pub(super) call: u64,
    /// The most that it may cost.
    pub(super) nanousd: u64,
    /// How long it counts if it is never settled, in milliseconds.
    pub(super) lasts_ms: u64,
    /// What may be spent.
    pub(super) limits: Limits,
}

/// What became of a call that wanted room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// None wanted any, or Redis does not know enough to say.
    Open,
    /// It has room.
    Reserved,
    /// There is none in this period.
    Full(BudgetPeriod),
}

/// What Redis says.
#[derive(Debug)]
pub(super) struct Heard {
    /// What stands there is whole: nothing was lost since the mark was set.
    pub(super) is_whole: bool,
    pub(super) outcome: Outcome,
    /// What all have spent of real money in the day and the month.
    pub(super) spent: [u64; 2],
    pub(super) incoming: Incoming,
}

/// How much is told and asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Nothing but what is new.
    News,
    /// What others have told is asked for.
    Exchange,
    /// The same, and what stands there is whole from now on.
    Restore,
}

/// The door.
pub(super) struct Till {
    redis: Redis,
    script: Script,
    run: String,
}

type Reply = (u8, u8, u64, u64, u64, Vec<BTreeMap<String, u64>>);

impl Till {
    pub(super) fn new(redis: Redis, run: &str) -> Self {
        Self { redis, script: Script::new(include_str!("budget.lua")), run: run.to_owned() }
    }

    /// Whether it is known to be there.
    pub(super) fn is_open(&self) -> bool {
        self.redis.is_there()
    }

    /// Tells what is `outgoing`, and asks for room if some is wanted. Without an answer it is not known whether that was
    /// done; it may be done again.
    pub(super) async fn step(
        &self,
        outgoing: &Outgoing,
        extent: Extent,
        wanted: Option<Wanted>,
    ) -> Result<Heard, StoreError> {
        let mut call = self.script.prepare_invoke();
        for key in ["whole", "open", "amounts"] {
            call.key(format!("{PREFIX}budget:{key}"));
        }
        for account in &outgoing.accounts {
            call.key(format!("{PREFIX}budget:{}", account.span));
        }
        self.arguments(&mut call, outgoing, extent);
        if let Some(Wanted { call: number, nanousd, lasts_ms, limits }) = wanted {
            call.arg(self.id(number)).arg(nanousd).arg(lasts_ms).arg(limits.daily).arg(limits.monthly);
        }
        let (is_whole, outcome, reserved, day, month, spans) = self.redis.eval::<Reply>(&call).await?;
        Ok(Heard {
            is_whole: is_whole == 1,
            outcome: match outcome {
                1 => Outcome::Reserved,
                2 => Outcome::Full(BudgetPeriod::Daily),
                3 => Outcome::Full(BudgetPeriod::Monthly),
                _ => Outcome::Open,
            },
            spent: [day, month],
            incoming: Incoming { reserved, spans },
        })
    }

    fn arguments(&self, call: &mut ScriptInvocation<'_>, outgoing: &Outgoing, extent: Extent) {
        call.arg(u8::from(extent == Extent::Restore)).arg(u8::from(extent != Extent::News));
        call.arg(outgoing.closed.len());
        for &number in &outgoing.closed {
            call.arg(self.id(number));
        }
        call.arg(outgoing.opened.len());
        for &(number, nanousd, lasts_ms) in &outgoing.opened {
            call.arg(self.id(number)).arg(nanousd).arg(lasts_ms);
        }
        for account in &outgoing.accounts {
            call.arg(KEPT_MS).arg(account.fields.len());
            for (field, nanousd) in &account.fields {
                call.arg(field).arg(*nanousd);
            }
        }
    }

    /// A call's name among those of all runs.
    fn id(&self, call: u64) -> String {
        format!("{}:{call}", self.run)
    }
}
