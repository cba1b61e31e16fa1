//! Closed lists of label values. A value is spelled here and nowhere else: events carry it, series are labelled
//! with it, dashboards filter by it.
//!
//! What enters as a label without standing in one of these lists (a model's name, a route) is *open*; the exporter's
//! catalogue marks those labels and bounds their number.

use serde::{Deserialize, Serialize};

/// A label whose values are all known beforehand.
pub trait ClosedLabel: Copy + Eq + Sized + 'static {
    /// Every value, in the order of [`ClosedLabel::index`].
    const ALL: &'static [Self];
    /// The value as it stands in events and series.
    fn as_str(self) -> &'static str;
    /// The same as it stands in JSON: with its quotes.
    fn as_json(self) -> &'static str;
    /// Position in [`ClosedLabel::ALL`].
    fn index(self) -> usize;
    /// The value with this spelling, if there is one.
    fn parse(text: &str) -> Option<Self> {
        Self::parse_bytes(text.as_bytes())
    }
    /// The same for text that has not been found to be UTF-8: no value's spelling is anything else.
    fn parse_bytes(text: &[u8]) -> Option<Self>;
}

macro_rules! closed_label {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum $name {
            $($(#[$vmeta])* #[doc = concat!("`", $text, "`")] #[serde(rename = $text)] $variant,)+
        }

        impl ClosedLabel for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            #[inline]
            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            #[inline]
            fn as_json(self) -> &'static str {
                match self { $(Self::$variant => concat!("\"", $text, "\"")),+ }
            }

            #[inline]
            fn index(self) -> usize {
                self as usize
            }

            #[inline]
            fn parse_bytes(text: &[u8]) -> Option<Self> {
                $(if text == $text.as_bytes() { return Some(Self::$variant); })+
                None
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

closed_label! {
    /// How demanding a task is; decides how many providers must answer (2, 3, 4).
    TaskType { Basic = "basic", Premium = "premium", Critical = "critical", }
}

closed_label! {
    /// Who answers. What is simulated never bears a real provider's name.
    Provider {
        Gemini = "Gemini",
        OpenAi = "OpenAI",
        Claude = "Claude",
        OpenRouter = "OpenRouter",
        SimulatedGemini = "Simulated-Gemini",
        SimulatedOpenAi = "Simulated-OpenAI",
        SimulatedClaude = "Simulated-Claude",
        SimulatedOpenRouter = "Simulated-OpenRouter",
    }
}

closed_label! {
    /// Who sends the bill for a provider's answers.
    Vendor {
        Google = "google",
        OpenAi = "openai",
        Anthropic = "anthropic",
        OpenRouter = "openrouter",
        Simulated = "simulated",
    }
}

closed_label! {
    /// Whose answer an analysis returned.
    AnswerSource {
        Gemini = "Gemini",
        OpenAi = "OpenAI",
        Claude = "Claude",
        OpenRouter = "OpenRouter",
        SimulatedGemini = "Simulated-Gemini",
        SimulatedOpenAi = "Simulated-OpenAI",
        SimulatedClaude = "Simulated-Claude",
        SimulatedOpenRouter = "Simulated-OpenRouter",
        /// Synthesised from several answers.
        Ensemble = "ensemble",
        /// Nothing was returned.
        None = "none",
    }
}

closed_label! {
    /// How an analysis or a provider call ended.
    Status {
        Success = "success",
        Error = "error",
        Timeout = "timeout",
        /// Refused by an open breaker, a limit or the budget before any call was made: counted, but part of no
        /// response time, error rate or success rate.
        Rejected = "rejected",
    }
}

closed_label! {
    /// How an operation on a store (Redis, MySQL) ended.
    OperationStatus { Success = "success", Error = "error", Timeout = "timeout", }
}

closed_label! {
    /// Direction of billable tokens.
    TokenType { Input = "input", Output = "output", }
}

closed_label! {
    /// Method of an HTTP request; one that HTTP does not define is `OTHER`.
    HttpMethod {
        Get = "GET", Post = "POST", Put = "PUT", Patch = "PATCH", Delete = "DELETE", Head = "HEAD",
        Options = "OPTIONS", Other = "OTHER",
    }
}

closed_label! {
    /// What kind of route answered. Response-time figures of "the API" are over [`RouteKind::Api`] alone.
    RouteKind {
        /// Does what the product is for.
        Api = "api",
        /// Health, liveness, metrics.
        Probe = "probe",
        /// For a person's browser, and whatever matched no route.
        Page = "page",
        /// Long-lived (SSE, WebSocket): counted, but in no response time.
        Stream = "stream",
    }
}

closed_label! {
    /// A Redis command of the app's own cache, limiter and budget.
    RedisOperation {
        Get = "get", Set = "set", Del = "del", MGet = "mget", Exists = "exists", Incr = "incr",
        IncrBy = "incrby", Expire = "expire", Ttl = "ttl", HGet = "hget", HSet = "hset", HGetAll = "hgetall",
        Eval = "eval", Ping = "ping", Info = "info", Other = "other",
    }
}

closed_label! {
    /// Kind of a MySQL statement.
    QueryType {
        Select = "select", Insert = "insert", Update = "update", Delete = "delete", Ddl = "ddl",
        Transaction = "transaction", Other = "other",
    }
}

closed_label! {
    /// Where a cached answer was looked for.
    CacheType { Memory = "memory", Redis = "redis", }
}

closed_label! {
    /// How bad an error is.
    Severity { Info = "info", Warning = "warning", Error = "error", Critical = "critical", }
}

closed_label! {
    /// A part of the system that can fail or stand behind a circuit breaker.
    Service {
        Gemini = "Gemini",
        OpenAi = "OpenAI",
        Claude = "Claude",
        OpenRouter = "OpenRouter",
        SimulatedGemini = "Simulated-Gemini",
        SimulatedOpenAi = "Simulated-OpenAI",
        SimulatedClaude = "Simulated-Claude",
        SimulatedOpenRouter = "Simulated-OpenRouter",
        Redis = "redis",
        MySql = "mysql",
        GoogleDrive = "google_drive",
        Http = "http",
        Analysis = "analysis",
        Config = "config",
        Telemetry = "telemetry",
        Other = "other",
    }
}

closed_label! {
    /// State of a circuit breaker.
    BreakerState { Closed = "closed", HalfOpen = "half_open", Open = "open", }
}

closed_label! {
    /// Whether a caller was let in.
    AuthStatus { Success = "success", Failure = "failure", }
}

closed_label! {
    /// What a caller showed to be let in.
    AuthMethod { ApiKey = "api_key", Bearer = "bearer", Cookie = "cookie", None = "none", }
}

closed_label! {
    /// Why a caller was refused.
    AuthFailureReason {
        Missing = "missing", Malformed = "malformed", Unknown = "unknown", Revoked = "revoked",
        Expired = "expired", Forbidden = "forbidden",
    }
}

closed_label! {
    /// What input sanitisation found.
    SanitizationType {
        ControlCharacters = "control_characters", InvalidEncoding = "invalid_encoding", Html = "html",
        ScriptInjection = "script_injection", SqlInjection = "sql_injection",
        PromptInjection = "prompt_injection", PathTraversal = "path_traversal", Oversized = "oversized",
        Pii = "pii", SecretAccess = "secret_access",
    }
}

closed_label! {
    /// Whether what sanitisation found was refused (`true`) or made harmless (`false`).
    Blocked { True = "true", False = "false", }
}

closed_label! {
    /// Behaviour that deserves a person's look.
    AnomalyType {
        TrafficSpike = "traffic_spike", SensitiveAccess = "sensitive_access", ApiKeyMisuse = "api_key_misuse",
        RepeatedAuthFailure = "repeated_auth_failure", OversizedPayload = "oversized_payload",
    }
}

closed_label! {
    /// A connection that an app holds open.
    ConnectionType {
        Http = "http", Sse = "sse", WebSocket = "websocket", Redis = "redis", MySql = "mysql",
        Provider = "provider",
    }
}

closed_label! {
    /// A queue inside an app.
    QueueName { Journal = "journal", Audit = "audit", Analysis = "analysis", }
}

closed_label! {
    /// A part of the configuration.
    ConfigComponent {
        App = "app", Providers = "providers", ApiKeys = "api_keys", Budget = "budget", Limits = "limits",
        Logging = "logging", Certificates = "certificates",
    }
}

closed_label! {
    /// What happened to a provider in the set of those configured.
    ProviderChange { Added = "added", Removed = "removed", }
}

closed_label! {
    /// A component whose memory is measured.
    MemoryComponent {
        App = "app", Exporter = "exporter", Redis = "redis", MySql = "mysql", Host = "host",
    }
}

closed_label! {
    /// A calendar period that a budget is set for.
    BudgetPeriod { Daily = "daily", Monthly = "monthly", }
}

impl Provider {
    /// Who bills for this provider's answers.
    pub fn vendor(self) -> Vendor {
        match self {
            Self::Gemini => Vendor::Google,
            Self::OpenAi => Vendor::OpenAi,
            Self::Claude => Vendor::Anthropic,
            Self::OpenRouter => Vendor::OpenRouter,
            Self::SimulatedGemini
            | Self::SimulatedOpenAi
            | Self::SimulatedClaude
            | Self::SimulatedOpenRouter => Vendor::Simulated,
        }
    }
}

impl From<Provider> for AnswerSource {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::Gemini => Self::Gemini,
            Provider::OpenAi => Self::OpenAi,
            Provider::Claude => Self::Claude,
            Provider::OpenRouter => Self::OpenRouter,
            Provider::SimulatedGemini => Self::SimulatedGemini,
            Provider::SimulatedOpenAi => Self::SimulatedOpenAi,
            Provider::SimulatedClaude => Self::SimulatedClaude,
            Provider::SimulatedOpenRouter => Self::SimulatedOpenRouter,
        }
    }
}

impl From<Provider> for Service {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::Gemini => Self::Gemini,
            Provider::OpenAi => Self::OpenAi,
            Provider::Claude => Self::Claude,
            Provider::OpenRouter => Self::OpenRouter,
            Provider::SimulatedGemini => Self::SimulatedGemini,
            Provider::SimulatedOpenAi => Self::SimulatedOpenAi,
            Provider::SimulatedClaude => Self::SimulatedClaude,
            Provider::SimulatedOpenRouter => Self::SimulatedOpenRouter,
        }
    }
}

impl From<bool> for Blocked {
    fn from(blocked: bool) -> Self {
        if blocked { Self::True } else { Self::False }
    }
}

/// Two providers whose answers were compared, in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderPair {
    first: Provider,
    second: Provider,
}

impl ProviderPair {
    /// The pair of `a` and `b`, whichever way round.
    pub fn new(a: Provider, b: Provider) -> Self {
        if a.as_str() <= b.as_str() { Self { first: a, second: b } } else { Self { first: b, second: a } }
    }

    /// Every pair, including a provider with itself (two models of one provider).
    pub fn all() -> impl Iterator<Item = Self> {
        Provider::ALL
            .iter()
            .enumerate()
            .flat_map(|(index, &a)| Provider::ALL[index..].iter().map(move |&b| Self::new(a, b)))
    }

    /// The pair's two members, in the order of their names.
    pub fn members(self) -> (Provider, Provider) {
        (self.first, self.second)
    }
}

impl std::fmt::Display for ProviderPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.first, self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_round_trip_and_indexes_follow_the_list() {
        for (index, &provider) in Provider::ALL.iter().enumerate() {
            assert_eq!(provider.index(), index);
            assert_eq!(Provider::parse(provider.as_str()), Some(provider));
            assert_eq!(AnswerSource::from(provider).as_str(), provider.as_str());
            assert_eq!(Service::from(provider).as_str(), provider.as_str());
            assert_eq!(serde_json::to_string(&provider).unwrap(), format!("\"{provider}\""));
        }
        assert_eq!(Provider::parse("gemini"), None);
    }

    #[test]
    fn what_is_simulated_is_billed_by_nobody_real() {
        for &provider in Provider::ALL {
            let simulated = provider.as_str().starts_with("Simulated-");
            assert_eq!(provider.vendor() == Vendor::Simulated, simulated, "{provider}");
        }
    }

    #[test]
    fn a_pair_is_sorted_by_name() {
        let pair = ProviderPair::new(Provider::Gemini, Provider::Claude);
        assert_eq!(pair.to_string(), "Claude:Gemini");
        assert_eq!(pair, ProviderPair::new(Provider::Claude, Provider::Gemini));
        assert_eq!(ProviderPair::all().count(), 36);
    }
}
