//! Pieces of PromQL, and colours, that several panels share: one meaning, one spelling.
//!
//! A `window` is the range of a rate: `$__rate_interval` where a graph follows the present, `$__range` where one number
//! stands for all that is shown, or a fixed time.

use crate::model::{Choice, Colour, Palette};

/// The window of graphs: at least four scrapes, and as long as the distance of two points.
pub(crate) const RATE: &str = "$__rate_interval";
/// All that the dashboard shows.
pub(crate) const RANGE: &str = "$__range";
/// The API's routes: what callers come for. Probes and pages are no part of it.
pub(crate) const API: &str = r#"route=~"/api/.*",route!~"/api/v1/(health|alerts|openapi[.]json)""#;
/// The bucket of requests that were answered in time, as Prometheus 2 and 3 write its bound.
const IN_TIME: &str = r#"le=~"10|10[.]0""#;

/// What the service promises: shares of requests without failure, of analyses that succeed, of answers within 10 s.
pub(crate) const AVAILABILITY_PROMISED: f64 = 0.999;
/// See [`AVAILABILITY_PROMISED`].
pub(crate) const SUCCESS_PROMISED: f64 = 0.95;
/// See [`AVAILABILITY_PROMISED`].
pub(crate) const LATENCY_PROMISED: f64 = 0.95;

/// Providers look the same everywhere, simulated ones like those whose part they play.
pub(crate) const PROVIDERS: Palette = Palette::Named(&[
    ("Gemini", Colour::Blue),
    ("OpenAI", Colour::Green),
    ("Claude", Colour::Orange),
    ("OpenRouter", Colour::Purple),
]);
/// How calls and analyses end.
pub(crate) const STATUSES: Palette = Palette::Named(&[
    ("^success", Colour::Green),
    ("^error", Colour::Red),
    ("^timeout", Colour::Orange),
    ("^rejected", Colour::Yellow),
]);
/// How HTTP requests end.
pub(crate) const CODES: Palette = Palette::Named(&[
    ("^2", Colour::Green),
    ("^3", Colour::Blue),
    ("^4", Colour::Yellow),
    ("^5", Colour::Red),
]);
/// How demanding analyses are.
pub(crate) const TASKS: Palette =
    Palette::Named(&[("^basic", Colour::Blue), ("^premium", Colour::Purple), ("^critical", Colour::Orange)]);

/// A list of providers to choose from.
pub(crate) const PROVIDER: Choice =
    Choice { name: "provider", label: "Provider", family: "techsapo_llm_requests_total" };
/// A list of the app's instances to choose from.
pub(crate) const INSTANCE: Choice =
    Choice { name: "app_instance", label: "App instance", family: "nodejs_heap_size_used_bytes" };
/// A list of routes to choose from.
pub(crate) const ROUTE: Choice =
    Choice { name: "route", label: "Route", family: "techsapo_http_requests_total" };

/// Share of the API's requests that were not answered with 5xx.
pub(crate) fn availability(window: &str) -> String {
    format!(
        "1 - (sum(rate(techsapo_http_requests_total{{{API},status_code=~\"5..\"}}[{window}])) or vector(0)) \
         / (sum(rate(techsapo_http_requests_total{{{API}}}[{window}])) > 0)"
    )
}

/// Share of the analyses made that succeeded.
pub(crate) fn success(window: &str) -> String {
    format!(
        "sum(rate(techsapo_wallbounce_requests_total{{status=\"success\"}}[{window}])) \
         / (sum(rate(techsapo_wallbounce_requests_total{{status!=\"rejected\"}}[{window}])) > 0)"
    )
}

/// Share of the API's requests that were answered within 10 s.
pub(crate) fn in_time(window: &str) -> String {
    format!(
        "sum(rate(techsapo_http_request_duration_seconds_bucket{{{API},{IN_TIME}}}[{window}])) \
         / (sum(rate(techsapo_http_request_duration_seconds_count{{{API}}}[{window}])) > 0)"
    )
}

/// What is left of an error budget: 1 when nothing failed, 0 when as much failed as was allowed, negative beyond.
pub(crate) fn budget_left(share: &str, promised: f64) -> String {
    let allowed = (1.0 - promised) * 1e3;
    format!("1 - (1 - ({share})) / ({allowed:.0} / 1000)")
}

/// Mean confidence of fresh analyses.
pub(crate) fn confidence(window: &str) -> String {
    format!(
        "sum(rate(techsapo_wallbounce_consensus_confidence_sum[{window}])) \
         / (sum(rate(techsapo_wallbounce_consensus_confidence_count[{window}])) > 0)"
    )
}

/// Health from 0 to 100: the weighted mean of availability (0.3), success (0.3), answers in time (0.2) and confidence
/// (0.2), each over the last 15 minutes. What nobody asked for counts as well; without a measurement it is 0.
pub(crate) fn health() -> String {
    let part = |weight: &str, share: String| format!("{weight} * ({share} or vector(1))");
    let parts = [
        part("0.3", availability("15m")),
        part("0.3", success("15m")),
        part("0.2", in_time("15m")),
        part("0.2", confidence("15m")),
    ];
    format!("100 * ({}) * (max(up{{job=\"techsapo-exporter\"}}) or vector(0))", parts.join(" + "))
}

/// By provider: share of calls that succeeded; refused ones do not count.
pub(crate) fn provider_success(window: &str) -> String {
    format!(
        "sum by (provider) (increase(techsapo_llm_requests_total{{provider=~\"$provider\",status=\"success\"}}[{window}])) \
         / (sum by (provider) (increase(techsapo_llm_requests_total{{provider=~\"$provider\",status!=\"rejected\"}}[{window}])) > 0)"
    )
}

/// By provider: share of calls that failed.
pub(crate) fn provider_failure(window: &str) -> String {
    format!(
        "sum by (provider) (rate(techsapo_llm_requests_total{{provider=~\"$provider\",status=~\"error|timeout\"}}[{window}])) \
         / (sum by (provider) (rate(techsapo_llm_requests_total{{provider=~\"$provider\",status!=\"rejected\"}}[{window}])) > 0)"
    )
}

/// By provider: the quantile of its response times.
pub(crate) fn provider_time(quantile: &str, window: &str) -> String {
    format!(
        "histogram_quantile({quantile}, sum by (provider, le) \
         (rate(techsapo_llm_response_time_seconds_bucket{{provider=~\"$provider\"}}[{window}])))"
    )
}

/// By provider: mean agreement of its answers with the others'. A pair counts for both of its members.
pub(crate) fn agreement(window: &str) -> String {
    let of_each = |part: &str| {
        let pairs =
            format!("sum by (provider_pair) (increase(techsapo_llm_agreement_score_{part}[{window}]))");
        let member = |pattern: &str| {
            format!("label_replace({pairs}, \"provider\", \"$1\", \"provider_pair\", \"{pattern}\")")
        };
        format!("sum by (provider) ({} or {})", member("(.+):.+"), member(".+:(.+)"))
    };
    format!("{} / ({} > 0)", of_each("sum"), of_each("count"))
}

/// By provider: quality from 0 to 1, the share of calls that succeeded times the mean agreement with others.
pub(crate) fn quality(window: &str) -> String {
    format!("({}) * ({})", provider_success(window), agreement(window))
}

/// By provider: what an answer cost, failed calls included, in USD.
pub(crate) fn cost_per_answer(window: &str) -> String {
    format!(
        "sum by (provider) (increase(techsapo_wallbounce_cost_usd{{provider=~\"$provider\"}}[{window}])) \
         / (sum by (provider) (increase(techsapo_llm_requests_total{{provider=~\"$provider\",status=\"success\"}}[{window}])) > 0)"
    )
}

/// By provider: quality for each US cent that an answer costs.
pub(crate) fn value(window: &str) -> String {
    format!("({}) / (100 * ({}) > 0)", quality(window), cost_per_answer(window))
}

/// The provider with most quality for its money, among those whose quality is at least nine tenths of the best.
pub(crate) fn recommended(window: &str) -> String {
    let quality = quality(window);
    format!("topk(1, ({}) and ({quality} >= scalar(0.9 * max({quality}))))", value(window))
}
