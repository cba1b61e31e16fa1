//! The budget's background: tells Redis what is new, exchanges everything with it every second, and reads the audit for what no
//! instance knows.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Shared;
use super::ledger::Outgoing;
use super::state::Link;
use super::till::{Extent, Heard};
use crate::store::audit::{Spending, SpendingError};
use crate::store::redis::StoreError;

/// How often an instance and Redis tell each other everything.
const EXCHANGE_EVERY: Duration = Duration::from_secs(1);
/// How often the audit is read for what runs left behind that ended before they could tell.
const AUDIT_EVERY: Duration = Duration::from_secs(600);
/// How soon it is read again after it could not be.
const AUDIT_AGAIN: Duration = Duration::from_secs(2);
/// How long a settlement may wait before Redis is told of it, and the lot ends that it was in.
const SETTLEMENTS_WAIT: Duration = Duration::from_millis(200);

impl Shared {
    pub(super) async fn exchange_for_ever(&self) {
        loop {
            self.exchange().await;
            let again = Instant::now() + EXCHANGE_EVERY;
            loop {
                tokio::select! {
                    () = sleep_until(again) => {
                        self.books().pace.second();
                        break;
                    }
                    () = self.news.notified() => {
                        // What a lot holds is reserved, whatever was spent of it.
                        if self.books().ledger.has_lot() {
                            sleep_until(again.min(Instant::now() + SETTLEMENTS_WAIT)).await;
                        }
                        if !self.tell().await {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Tells Redis what is new. Says whether all is well.
    async fn tell(&self) -> bool {
        {
            let books = self.books();
            if books.link == Some(Link::Shared) && !books.ledger.has_news() {
                return true;
            }
        }
        let heard = self.word(false, Extent::News, None).await;
        self.take_in(heard).is_some_and(|is_whole| is_whole)
    }

    /// Tells Redis everything, and gives back to it what it has lost.
    pub(super) async fn exchange(&self) {
        for extent in [Extent::Exchange, Extent::Restore] {
            let heard = self.word(true, extent, None).await;
            match self.take_in(heard) {
                None => return,
                Some(true) => {
                    let mut books = self.books();
                    books.is_whole = true;
                    books.link(Link::Shared, &self.limits);
                    return;
                }
                Some(false) => {
                    self.doubt.notify_one();
                    let mut books = self.books();
                    books.ledger.untold();
                    if !books.is_whole {
                        books.link(Link::Unknown, &self.limits);
                        return;
                    }
                }
            }
        }
    }

    /// Takes in what Redis answered: whether what stands there is whole; nothing where there was no answer.
    fn take_in(&self, heard: Result<(Outgoing, Heard), StoreError>) -> Option<bool> {
        let mut books = self.books();
        match heard {
            Ok((outgoing, heard)) => {
                books.ledger.told(&outgoing, &heard.incoming);
                Some(heard.is_whole)
            }
            Err(_) => {
                books.link(Link::Alone, &self.limits);
                None
            }
        }
    }

    pub(super) async fn audit_for_ever(&self) {
        let Some(audit) = &self.audit else { return };
        loop {
            let pause = match self.learn(audit).await {
                Ok(()) => {
                    self.exchange().await;
                    AUDIT_EVERY
                }
                Err(error) => {
                    let reason = &error as &dyn std::error::Error;
                    tracing::debug!(reason, "What was spent cannot be read from the audit yet");
                    AUDIT_AGAIN
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.doubt.notified(), if pause == AUDIT_EVERY => {}
            }
        }
    }

    /// Learns from the audit what each run has spent.
    async fn learn(&self, audit: &Spending) -> Result<(), SpendingError> {
        let today = self.today();
        let runs = audit.read(&today.month, &today.day).await?;
        let mut books = self.books();
        for run in &runs {
            books.ledger.learn(&today.month.name, &run.producer, run.month_nanousd);
            books.ledger.learn(&today.day.name, &run.producer, run.day_nanousd);
        }
        books.is_whole = true;
        Ok(())
    }
}
