//! What Prometheus records and alerts on, who is told of it, and what they are told to do.
//!
//! * `book`: the rules, as Prometheus' files say them.
//! * `documented`: thresholds, durations and priorities are those of the documents.
//! * `explained`: what the exporter's tool says of them is true.
//! * `mutants`: the unit tests notice when an alert is changed a little.
//! * `names`: every metric and label that a rule or a runbook names exists.
//! * `units`: each alert has its five kinds of unit tests, and they pass on Prometheus 2 and on 3.
//! * `routes`: each alert reaches whom it should.
//! * `runbooks`: each alert has a page that says what to do.
//! * `versions`: the whole configuration on both versions at once, up to the long-term store.
//! * `demonstrated`: faults of a stack that somebody tries out, up to Alertmanager, made by `scripts/demo-faults.sh`.
//! * `haste`: the same rules, with everything that waits waiting less.
//! * `notified`: faults of a real app, up to the notifications, and their end.

mod book;
mod demonstrated;
mod documented;
mod explained;
mod haste;
mod mutants;
mod names;
mod notified;
mod promql;
mod routes;
mod runbooks;
mod units;
mod versions;
