//! What a label means and which values it can have, in words, and what is wrong with the labels of a series that
//! somebody asks about. Pure.

use std::fmt::Write as _;

use super::selector::Matcher;
use crate::catalog::{Domain, Family, Kind, OTHER};
use crate::tools::nearest::nearest;

/// Labels that Prometheus adds to whatever it scrapes.
const OF_TARGETS: [&str; 2] = ["instance", "job"];
/// The label of a histogram's buckets.
const BOUND: &str = "le";

/// What a label of this domain tells.
pub(super) fn meaning(domain: Domain) -> &'static str {
    match domain {
        Domain::AnomalyType => "behaviour that deserves a person's look",
        Domain::AnswerSource => "whose answer was returned",
        Domain::AuthFailureReason => "why the caller was refused",
        Domain::AuthMethod => "what the caller showed to be let in",
        Domain::AuthStatus => "whether the caller was let in",
        Domain::Blocked => "whether it was refused (true) or made harmless (false)",
        Domain::BreakerState => "state of the circuit breaker",
        Domain::BudgetPeriod => "calendar period of the budget",
        Domain::CacheType => "where the answer was looked for",
        Domain::ConfigComponent => "part of the configuration",
        Domain::ConnectionType => "what the connection is for",
        Domain::HttpMethod => "method of the request; one that HTTP does not define is OTHER",
        Domain::MemoryComponent => "whose memory it is",
        Domain::OperationStatus => "how the operation ended",
        Domain::Provider => "who was asked",
        Domain::ProviderChange => "what happened to the provider",
        Domain::ProviderPair => "the two whose answers were compared",
        Domain::QueryType => "kind of the statement",
        Domain::QueueName => "queue inside the app",
        Domain::RedisOperation => "command of the app's cache, limiter and budget",
        Domain::SanitizationType => "what was found in the input",
        Domain::Service => "the part that failed, or that the breaker stands before",
        Domain::Severity => "how bad it is",
        Domain::Status => "how it ended; rejected: refused before any call was made",
        Domain::TaskType => "the tier that was asked for",
        Domain::TokenType => "direction of the tokens",
        Domain::Vendor => "who sends the bill",
        Domain::EventType => "type of the event",
        Domain::EventReject => "why the event was refused",
        Domain::BatchReject => "why the batch was refused",
        Domain::Family => "the metric that was full",
        Domain::StatusCode => "status code of the response",
        Domain::Model => "the model that served",
        Domain::Route => "template of the route",
        Domain::ClientIp => "the caller's network, masked by the app",
        Domain::ErrorType => "kind of failure",
        Domain::AppInstance => "the instance of the app",
        Domain::Certificate => {
            "the one that the pages are served with, or the one that is shown to Redis, MySQL and apps"
        }
        Domain::Stream => "key of the stream",
        Domain::Url => "address of the app",
        Domain::Text => "version of the build",
    }
}

/// The values that a label of this domain can have.
pub(super) fn values(domain: Domain) -> String {
    match domain {
        Domain::StatusCode => "100 to 599".to_owned(),
        Domain::ProviderPair => "two providers in the order of their names, such as Claude:Gemini".to_owned(),
        Domain::Family => "names of metrics".to_owned(),
        open if open.is_open() => format!("any; beyond the limit of series {OTHER}"),
        free if free.values().is_empty() => "any".to_owned(),
        closed => closed.values().join(", "),
    }
}

/// What is wrong with `matchers` as a choice of `family`'s series; empty if they can be.
pub(super) fn mistakes(family: &Family, matchers: &[Matcher]) -> Vec<String> {
    matchers.iter().filter_map(|matcher| mistake(family, matcher)).collect()
}

fn mistake(family: &Family, matcher: &Matcher) -> Option<String> {
    let name = matcher.label.as_str();
    if OF_TARGETS.contains(&name) || (name == BOUND && matches!(family.kind, Kind::Histogram(_))) {
        return None;
    }
    let Some(&(_, domain)) = family.labels.iter().find(|&&(label, _)| label == name) else {
        let labels: Vec<_> = family.labels.iter().map(|&(label, _)| label).collect();
        return Some(match labels[..] {
            [] => format!("it has no label {name:?}, nor any other"),
            _ => format!("it has no label {name:?}; it has {}", labels.join(", ")),
        });
    };
    let known = domain.values();
    if matcher.is_pattern || known.is_empty() || known.contains(&matcher.value) {
        return None;
    }
    let mut text = format!("{name} is never {:?}", matcher.value);
    if let Some(near) = nearest(&matcher.value, known.iter().map(String::as_str)).first() {
        let _ = write!(text, "; did you mean {near:?}?");
    }
    Some(text)
}
