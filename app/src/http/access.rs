//! Lets callers in: finds out who asks, and whether that may.
//!
//! | routes | open to |
//! |---|---|
//! | `/`, `/page/…`, `/health`, `/ping`, `/api/v1/openapi.json`, whatever is no route | everybody |
//! | `/metrics`, `/internal/status` | this machine, and keys with the scope `monitor` |
//! | `/api/v1/health`, `/api/v1/alerts` | this machine, and every key |
//! | the rest of `/api/v1/`, `/ws/metrics` | keys with the scope `api`; as long as no key was made and the app listens on loopback, everybody |
//!
//! What must hold: who is refused learns only that a valid key is needed, or that theirs does not open this; why is for
//! the measurements alone. What a browser sends by itself (nothing, or a session's cookie) is not taken from another
//! site's page; and who needs no key asks by one of this app's own names, through a proxy only by one that was allowed.
//! A key is never logged. Every attempt is one `auth_attempt` fact.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use techsapo_shared::event::{AuthAttempt, Event};
use techsapo_shared::labels::{AnomalyType, AuthFailureReason, AuthMethod, AuthStatus};

use super::error::ApiError;
use super::{ALERTS, API, App, DESCRIPTION, HEALTH, MONITORING, STREAMS, limits, suspicion};
use crate::clock;
use crate::guard::address::Client;
use crate::guard::caller::Caller;
use crate::guard::host::Host;
use crate::guard::keys::record::Scope;
use crate::guard::keys::ring::KeyRing;
use crate::guard::keys::session::ShownSession;
use crate::guard::keys::token::Shown;
use crate::telemetry::Recorder;

/// The other way to show a key.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Says who is behind a proxy.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The other end of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Tells where a request of a browser comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The cookie that bears a session.
pub(super) const COOKIE: &str = "techsapo_session";

/// The layer.
pub(super) async fn admit(
    app: &App,
    mut request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let route = limits::route(&request);
    let access = Access::of(&route);
    let client = client(app, &request);
    let is_for_us = access == Access::Open || is_for_us(&request, &app.settings.http.allowed_hosts, client);
    let local_may = access.is_open_to_local() && client.is_local;
    if access == Access::Open || (local_may && is_for_us) {
        return next(request).await;
    }
    let credential = Credential::of(request.headers(), access);
    let attempt = Attempt::new(&app.recorder, credential.method());
    let ring = app.keys.ring();
    let anonymous_may = ring.is_empty() && app.settings.listen.ip().is_loopback();
    if !is_for_us && credential.is_needless(anonymous_may, local_may) {
        attempt.fail(AuthFailureReason::Forbidden);
        return ApiError::host_not_allowed().into_response();
    }
    let decided = if credential.comes_by_itself() && is_cross_site(request.headers()) {
        Err(AuthFailureReason::Forbidden)
    } else {
        decide(&credential, &ring, access, anonymous_may, client, app.settings.keys.session)
    };
    match decided {
        Ok(caller) => {
            app.suspicion.request(&caller, &app.recorder);
            request.extensions_mut().insert(caller);
            drop(ring);
            let response = next(request).await;
            // A handler may find that the key does not open what is asked for.
            if response.extensions().get::<ApiError>().is_some_and(ApiError::is_forbidden) {
                attempt.fail(AuthFailureReason::Forbidden);
            }
            response
        }
        Err(reason) => {
            attempt.fail(reason);
            refuse(app, &route, client, reason).into_response()
        }
    }
}

fn refuse(app: &App, route: &str, client: Client, reason: AuthFailureReason) -> ApiError {
    match reason {
        AuthFailureReason::Forbidden => return ApiError::forbidden_here(),
        // Nothing was tried; or the secret was right once, as a page's is whose session has run out.
        AuthFailureReason::Missing | AuthFailureReason::Expired | AuthFailureReason::Revoked => {
            return ApiError::unauthorized();
        }
        _ => {}
    }
    let guess = app.limits.guess(client.subscriber());
    if guess.allowed {
        return ApiError::unauthorized();
    }
    limits::record_hit(app, route, client);
    suspicion::record_anomaly(&app.recorder, AnomalyType::RepeatedAuthFailure);
    ApiError::too_many_wrong_keys(limits::retry_after_s(&guess))
}

/// Who asks, or why that may not.
fn decide(
    credential: &Credential<'_>,
    ring: &KeyRing,
    access: Access,
    anonymous_may: bool,
    client: Client,
    longest_session: Duration,
) -> Result<Caller, AuthFailureReason> {
    let now = Timestamp::now();
    let malformed = |_| AuthFailureReason::Malformed;
    let key = match credential {
        Credential::None if anonymous_may => return Ok(Caller::anonymous(client)),
        Credential::None => return Err(AuthFailureReason::Missing),
        Credential::Unreadable(_) => return Err(AuthFailureReason::Malformed),
        Credential::Key(_, text) => ring.find(&Shown::parse(text).map_err(malformed)?, now)?,
        // A cookie left over from a time with keys is no reason to turn anybody away who needs none.
        Credential::Session(_) if anonymous_may => return Ok(Caller::anonymous(client)),
        Credential::Session(text) => {
            ring.find_session(&ShownSession::parse(text).map_err(malformed)?, now, longest_session)?
        }
    };
    if access.is_open_to(&key.scopes) {
        Ok(Caller::with_key(Arc::clone(key), client))
    } else {
        Err(AuthFailureReason::Forbidden)
    }
}

fn client(app: &App, request: &Request) -> Client {
    let headers = request.headers();
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
    // A client may send any bytes; what its proxy appended to them must still be read.
    let lines = headers.get_all(X_FORWARDED_FOR).iter();
    let forwarded: Vec<_> = lines.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let has_forwarded = !forwarded.is_empty() || headers.contains_key(header::FORWARDED);
    let hops: Vec<_> = forwarded.iter().flat_map(|value| value.split(',')).collect();
    Client::find(peer, hops.into_iter(), has_forwarded, &app.settings.http.trusted_proxies)
}

/// To whom a route is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    Monitoring,
    Health,
    Api,
    /// As `Api`; also taken by a session, for a browser cannot send a header there.
    Stream,
}

impl Access {
    fn of(route: &str) -> Self {
        if MONITORING.contains(&route) {
            Self::Monitoring
        } else if route == HEALTH || route == ALERTS {
            Self::Health
        } else if STREAMS.contains(&route) {
            Self::Stream
        } else if route.starts_with(API) && route != DESCRIPTION {
            Self::Api
        } else {
            Self::Open
        }
    }

    fn is_open_to_local(self) -> bool {
        matches!(self, Self::Open | Self::Monitoring | Self::Health)
    }

    fn takes_sessions(self) -> bool {
        matches!(self, Self::Health | Self::Stream)
    }

    fn is_open_to(self, scopes: &[Scope]) -> bool {
        match self {
            Self::Open | Self::Health => true,
            Self::Monitoring => scopes.contains(&Scope::Monitor),
            Self::Api | Self::Stream => scopes.contains(&Scope::Api),
        }
    }
}

/// What a caller shows.
enum Credential<'a> {
    None,
    Key(AuthMethod, &'a str),
    Session(&'a str),
    Unreadable(AuthMethod),
}

impl<'a> Credential<'a> {
    /// `Authorization: Bearer …`, else `X-API-Key: …`, else the cookie where it is taken. Another scheme is somebody
    /// else's: a proxy's, perhaps.
    fn of(headers: &'a HeaderMap, access: Access) -> Self {
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
            None => match cookie(headers) {
                Some(session) if access.takes_sessions() => Self::Session(session),
                _ => Self::None,
            },
        }
    }

    /// Whether its caller would be let in without any.
    fn is_needless(&self, anonymous_may: bool, local_may: bool) -> bool {
        match self {
            Self::None => anonymous_may || local_may,
            Self::Session(_) => anonymous_may,
            Self::Key(..) | Self::Unreadable(_) => false,
        }
    }

    /// Whether a browser sends it with whatever a page of another site asks for.
    fn comes_by_itself(&self) -> bool {
        matches!(self, Self::None | Self::Session(_))
    }

    fn method(&self) -> AuthMethod {
        match self {
            Self::None => AuthMethod::None,
            Self::Session(_) => AuthMethod::Cookie,
            Self::Key(method, _) | Self::Unreadable(method) => *method,
        }
    }
}

/// The session's cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Whether every name that a request gives its server is one of ours. Who gives none is no browser. A proxy on this machine may ask
/// by `localhost` for anybody, so that through one only a name that was allowed will do.
fn is_for_us(request: &Request, allowed: &[Host], client: Client) -> bool {
    let headers = request.headers().get_all(header::HOST).iter();
    let named = headers.map(|value| value.to_str().ok().and_then(Host::of_request));
    // HTTP/2 names it in the request's target.
    let target = request.uri().authority().map(|authority| Host::of_request(authority.as_str()));
    let mut names = named.chain(target).peekable();
    (client.is_local || names.peek().is_some())
        && names.all(|host| {
            host.is_some_and(|host| (client.is_local && host.is_loopback()) || allowed.contains(&host))
        })
}

/// Whether a page of another site made a browser send this. Who is no browser says nothing of the kind.
fn is_cross_site(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin != headers.get(header::HOST).and_then(|host| host.to_str().ok())
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

    use super::super::UNMATCHED;
    use super::*;

    fn shown(headers: &[(HeaderName, &'static str)]) -> (AuthMethod, Option<String>) {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let headers = HeaderMap::from_iter(headers);
        let credential = Credential::of(&headers, Access::Stream);
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
    fn a_session_is_taken_where_no_header_can_be_sent() {
        let headers = HeaderMap::from_iter([(
            header::COOKIE,
            HeaderValue::from_static("a=b; techsapo_session=s; c=d"),
        )]);
        for (access, taken) in [(Access::Stream, true), (Access::Health, true), (Access::Api, false)] {
            let credential = Credential::of(&headers, access);
            assert_eq!(matches!(credential, Credential::Session("s")), taken, "{access:?}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_told_from_ours_and_from_no_browser() {
        let cross = |headers: &[(HeaderName, &'static str)]| {
            let pairs = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            is_cross_site(&HeaderMap::from_iter(pairs))
        };
        let (site, origin, host) = (SEC_FETCH_SITE, header::ORIGIN, (header::HOST, "here:4000"));
        assert!(!cross(&[]));
        assert!(!cross(&[(site.clone(), "same-origin")]) && !cross(&[(site.clone(), "none")]));
        assert!(cross(&[(site.clone(), "cross-site")]) && cross(&[(site, "same-site")]));
        assert!(!cross(&[(origin.clone(), "http://here:4000"), host.clone()]));
        assert!(cross(&[(origin.clone(), "http://there"), host.clone()]));
        assert!(cross(&[(origin.clone(), "null"), host.clone()]));
        assert!(cross(&[(origin, "http://here:3000"), host]));
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
            ("/api/v1/metrics/stream", Access::Stream),
            ("/ws/metrics", Access::Stream),
        ] {
            assert_eq!(Access::of(route), access, "{route}");
        }
    }
}
