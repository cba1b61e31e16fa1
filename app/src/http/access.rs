//! Lets callers in: finds out who asks, and whether that may.
//!
//! | routes | open to |
//! |---|---|
//! | `/health`, `/ping`, whatever is no route | everybody |
//! | `/metrics`, `/internal/status` | this machine, and keys with the scope `monitor` |
//! | `/api/v1/health` | this machine, and every key |
//! | the rest of `/api/v1/`, `/ws/metrics` | keys with the scope `api`; as long as no key was made and the app listens on loopback, everybody |
//!
//! What must hold: who is refused learns only that a valid key is needed, or that theirs does not open this; why is for
//! the measurements alone. A key is never logged. Every attempt is one `auth_attempt` fact.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use techsapo_shared::event::{AuthAttempt, Event};
use techsapo_shared::labels::{AuthFailureReason, AuthMethod, AuthStatus};

use super::error::ApiError;
use super::{API, App, HEALTH, MONITORING, SOCKET, UNMATCHED};
use crate::clock;
use crate::guard::address::Client;
use crate::guard::caller::Caller;
use crate::guard::keys::ring::{KeyRing, Scope};
use crate::guard::keys::token::Shown;
use crate::telemetry::Recorder;

/// The other way to show a key.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Says who is behind a proxy.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The layer.
pub(super) async fn admit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let access = Access::of(route.as_ref().map_or(UNMATCHED, MatchedPath::as_str));
    let client = client(&app, &request);
    if access == Access::Open || (access.is_open_to_local() && client.is_local) {
        return next.run(request).await;
    }
    let credential = Credential::of(request.headers());
    let attempt = Attempt::new(&app.recorder, credential.method());
    let ring = app.keys.ring();
    let anonymous_may = ring.is_empty() && app.settings.listen.ip().is_loopback();
    match decide(&credential, &ring, access, anonymous_may, client) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            drop(ring);
            let response = next.run(request).await;
            // A handler may find that the key does not open what is asked for.
            if response.extensions().get::<ApiError>().is_some_and(ApiError::is_forbidden) {
                attempt.fail(AuthFailureReason::Forbidden);
            }
            response
        }
        Err(reason) => {
            attempt.fail(reason);
            match reason {
                AuthFailureReason::Forbidden => ApiError::forbidden_here().into_response(),
                _ => ApiError::unauthorized().into_response(),
            }
        }
    }
}

/// Who asks, or why that may not.
fn decide(
    credential: &Credential<'_>,
    ring: &KeyRing,
    access: Access,
    anonymous_may: bool,
    client: Client,
) -> Result<Caller, AuthFailureReason> {
    let shown = match credential {
        Credential::None if anonymous_may => return Ok(Caller::anonymous(client)),
        Credential::None => return Err(AuthFailureReason::Missing),
        Credential::Unreadable(_) => return Err(AuthFailureReason::Malformed),
        Credential::Key(_, text) => Shown::parse(text).map_err(|_| AuthFailureReason::Malformed)?,
    };
    let key = ring.find(&shown, Timestamp::now())?;
    if access.is_open_to(&key.scopes) {
        Ok(Caller::with_key(Arc::clone(key), client))
    } else {
        Err(AuthFailureReason::Forbidden)
    }
}

fn client(app: &App, request: &Request) -> Client {
    let headers = request.headers();
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
    let forwarded = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let has_forwarded = headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(header::FORWARDED);
    let hops: Vec<_> = forwarded.flat_map(|value| value.split(',')).collect();
    Client::find(peer, hops.into_iter(), has_forwarded, &app.settings.http.trusted_proxies)
}

/// To whom a route is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    Monitoring,
    Health,
    Api,
}

impl Access {
    fn of(route: &str) -> Self {
        if MONITORING.contains(&route) {
            Self::Monitoring
        } else if route == HEALTH {
            Self::Health
        } else if route.starts_with(API) || route == SOCKET {
            Self::Api
        } else {
            Self::Open
        }
    }

    fn is_open_to_local(self) -> bool {
        self != Self::Api
    }

    fn is_open_to(self, scopes: &[Scope]) -> bool {
        match self {
            Self::Open | Self::Health => true,
            Self::Monitoring => scopes.contains(&Scope::Monitor),
            Self::Api => scopes.contains(&Scope::Api),
        }
    }
}

/// What a caller shows.
enum Credential<'a> {
    None,
    Key(AuthMethod, &'a str),
    Unreadable(AuthMethod),
}

impl<'a> Credential<'a> {
    /// `Authorization: Bearer …`, else `X-API-Key: …`. Another scheme is somebody else's: a proxy's, perhaps.
    fn of(headers: &'a HeaderMap) -> Self {
        let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or(""));
        let bearer = authorization.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        if let Some(token) = bearer {
            return Self::Key(AuthMethod::Bearer, token);
        }
        match headers.get(X_API_KEY).map(|value| value.to_str().unwrap_or("")) {
            Some(token) => Self::Key(AuthMethod::ApiKey, token.trim()),
            None if authorization.is_some() => Self::Unreadable(AuthMethod::Bearer),
            None => Self::None,
        }
    }

    fn method(&self) -> AuthMethod {
        match self {
            Self::None => AuthMethod::None,
            Self::Key(method, _) | Self::Unreadable(method) => *method,
        }
    }
}

/// One attempt to be let in: a fact, stated when it is over. A caller who goes away had been let in.
struct Attempt<'a> {
    recorder: &'a Recorder,
    method: AuthMethod,
    failure: Option<AuthFailureReason>,
}

impl<'a> Attempt<'a> {
    fn new(recorder: &'a Recorder, method: AuthMethod) -> Self {
        Self { recorder, method, failure: None }
    }

    fn fail(mut self, reason: AuthFailureReason) {
        self.failure = Some(reason);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.recorder.record(&Event::AuthAttempt(AuthAttempt {
            t: clock::unix_ms(),
            status: if self.failure.is_none() { AuthStatus::Success } else { AuthStatus::Failure },
            method: self.method,
            reason: self.failure,
        }));
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn shown(headers: &[(HeaderName, &'static str)]) -> (AuthMethod, Option<String>) {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(headers);
        let credential = Credential::of(&headers);
        let text = if let Credential::Key(_, text) = credential { Some(text.to_owned()) } else { None };
        (credential.method(), text)
    }

    #[test]
    fn a_key_may_be_shown_in_two_ways() {
        let (bearer, api_key) = (header::AUTHORIZATION, X_API_KEY);
        let key = |method| (method, Some("k".to_owned()));
        assert_eq!(shown(&[(bearer.clone(), "Bearer k")]), key(AuthMethod::Bearer));
        assert_eq!(shown(&[(bearer.clone(), "bearer  k ")]), key(AuthMethod::Bearer));
        assert_eq!(shown(&[(api_key.clone(), " k")]), key(AuthMethod::ApiKey));
        assert_eq!(shown(&[(bearer.clone(), "Basic x"), (api_key, "k")]), key(AuthMethod::ApiKey));
        assert_eq!(shown(&[(bearer.clone(), "Basic x")]), (AuthMethod::Bearer, None));
        assert_eq!(shown(&[(bearer, "Bearer")]), (AuthMethod::Bearer, None));
        assert_eq!(shown(&[]), (AuthMethod::None, None));
    }

    #[test]
    fn every_route_is_open_to_whom_it_should_be() {
        for (route, access) in [
            ("/health", Access::Open),
            ("/ping", Access::Open),
            (UNMATCHED, Access::Open),
            ("/metrics", Access::Monitoring),
            ("/internal/status", Access::Monitoring),
            ("/api/v1/health", Access::Health),
            ("/api/v1/generate", Access::Api),
        ] {
            assert_eq!(Access::of(route), access, "{route}");
        }
    }
}
