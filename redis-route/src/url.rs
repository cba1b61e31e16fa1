//! Addresses as people write them: of one server, a cluster, or sentinels and the master they watch.
//!
//! Each host is read by the `redis` crate's own parser, as an address of one server with the same user and password;
//! only what stands between and behind the hosts is read here. No error repeats any of it, for there may be a password.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError};

use crate::cluster::Cluster;
use crate::nodes::{Manner, Node};
use crate::sentinel::Sentinels;
use crate::{EXPECTED, Kind};

/// Where a sentinel listens if nothing else is said.
const SENTINEL_PORT: u16 = 26379;

/// Why an address cannot be used. It never holds the address.
#[derive(Debug, thiserror::Error)]
#[error("expected {EXPECTED}; {reason}")]
pub struct UrlError {
    reason: &'static str,
    #[source]
    source: Option<RedisError>,
}

impl UrlError {
    fn because(reason: &'static str) -> Self {
        Self { reason, source: None }
    }
}

impl From<RedisError> for UrlError {
    fn from(source: RedisError) -> Self {
        Self {
            reason: "an address in it cannot be read (write special characters of a password as %40 and the like)",
            source: Some(source),
        }
    }
}

pub(crate) fn parse(text: &str) -> Result<Kind, UrlError> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match scheme {
        "redis+cluster" => parse_cluster("redis", rest).map(Kind::Cluster),
        "rediss+cluster" => parse_cluster("rediss", rest).map(Kind::Cluster),
        "redis+sentinel" => parse_sentinels("redis", rest).map(Kind::Sentinels),
        "rediss+sentinel" => parse_sentinels("rediss", rest).map(Kind::Sentinels),
        _ if redis::parse_redis_url(text).is_some() => {
            let server = text.into_connection_info()?;
            if let ConnectionAddr::TcpTls { insecure: true, .. } = server.addr() {
                return Err(UrlError::because("what is insecure protects nobody: leave #insecure out"));
            }
            Ok(Kind::Server(server))
        }
        _ => Err(UrlError::because("it begins with something else")),
    }
}

fn parse_cluster(scheme: &str, rest: &str) -> Result<Cluster, UrlError> {
    let parts = Parts::of(rest);
    if parts.query.is_some() {
        return Err(UrlError::because("a cluster's address ends with its last port"));
    }
    let servers = servers(scheme, parts.credentials, &parts.hosts, parts.path.unwrap_or_default())?;
    let (manner, nodes) = join(servers)?;
    if manner.db() != 0 {
        return Err(UrlError::because("a cluster has no database but 0"));
    }
    Ok(Cluster::new(nodes, manner))
}

fn parse_sentinels(scheme: &str, rest: &str) -> Result<Sentinels, UrlError> {
    let parts = Parts::of(rest);
    let (name, db) = parts.path.map_or(("", ""), |path| path.split_once('/').unwrap_or((path, "")));
    if name.is_empty() {
        return Err(UrlError::because("the master's name is missing behind the last host"));
    }
    let hosts: Vec<String> = parts.hosts.iter().map(|host| with_port(host)).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let (to_master, _) = join(servers(scheme, parts.credentials, &hosts, db)?)?;
    let sentinel_credentials = sentinel_credentials(parts.query)?;
    let (to_sentinel, nodes) = join(servers(scheme, sentinel_credentials.as_deref(), &hosts, "")?)?;
    Ok(Sentinels::new(name, nodes, to_sentinel, to_master))
}

/// `[credentials@]host,host[/path][?query]`, still as written.
struct Parts<'a> {
    credentials: Option<&'a str>,
    hosts: Vec<&'a str>,
    path: Option<&'a str>,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Self {
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(rest, path)| (rest, Some(path)));
        let (credentials, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        Self { credentials, hosts: hosts.split(',').collect(), path, query }
    }
}

/// The address of each host by itself.
fn servers(
    scheme: &str,
    credentials: Option<&str>,
    hosts: &[&str],
    db: &str,
) -> Result<Vec<ConnectionInfo>, UrlError> {
    let at = credentials.map(|credentials| format!("{credentials}@")).unwrap_or_default();
    let server = |host: &&str| Ok(format!("{scheme}://{at}{host}/{db}").into_connection_info()?);
    hosts.iter().map(server).collect()
}

/// How all of them are connected to, and where they are.
fn join(servers: Vec<ConnectionInfo>) -> Result<(Manner, Vec<Node>), UrlError> {
    let mut servers = servers.into_iter().filter_map(Manner::of);
    let (manner, first) = servers.next().ok_or(UrlError::because("it names no host"))?;
    Ok((manner, std::iter::once(first).chain(servers.map(|(_, node)| node)).collect()))
}

fn with_port(host: &str) -> String {
    let behind_ipv6 = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    if behind_ipv6.contains(':') { host.to_owned() } else { format!("{host}:{SENTINEL_PORT}") }
}

/// User and password for the sentinels themselves: `sentinel_username=…&sentinel_password=…`.
fn sentinel_credentials(query: Option<&str>) -> Result<Option<String>, UrlError> {
    let (mut user, mut password) = ("", None);
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        match pair.split_once('=') {
            Some(("sentinel_username", value)) => user = value,
            Some(("sentinel_password", value)) => password = Some(value),
            _ => {
                return Err(UrlError::because(
                    "behind ? stand sentinel_username and sentinel_password alone",
                ));
            }
        }
    }
    match password {
        Some(password) => Ok(Some(format!("{user}:{password}"))),
        None if user.is_empty() => Ok(None),
        None => Err(UrlError::because("sentinel_username needs a sentinel_password")),
    }
}

#[cfg(test)]
mod tests {
    use redis::Client;

    use super::*;
    use crate::Route;

    fn led_to(url: &str) -> String {
        url.parse::<Route>().unwrap_or_else(|error| panic!("{url}: {error:?}")).to_string()
    }

    #[test]
    fn every_form_is_read_and_shown_without_its_password() {
        assert_eq!(led_to("redis://:secret@redis.internal"), "redis.internal:6379");
        assert_eq!(led_to("redis+cluster://u:secret@a:1,b,[::1]:3"), "cluster of a:1, b:6379, [::1]:3");
        assert_eq!(
            led_to("redis+sentinel://u:secret@a:1,b,[::1]/main/2?sentinel_password=s%40cret"),
            "main of the sentinels a:1, b:26379, [::1]:26379"
        );
        assert_eq!(led_to("rediss://u:secret@redis.internal:6380/1"), "redis.internal:6380");
        assert_eq!(led_to("rediss+cluster://u:secret@a:1,b"), "cluster of a:1, b:6379");
        let debug = format!("{:?}", "redis+cluster://u:secret@a:1".parse::<Route>().unwrap());
        assert_eq!(debug, "Route(cluster of a:1)");
    }

    #[test]
    fn master_and_sentinels_have_credentials_of_their_own() {
        let url = "redis+sentinel://user:sec%40ret@a:1/main/2?sentinel_username=s&sentinel_password=p%2Fw";
        let Ok(Kind::Sentinels(sentinels)) = parse(url) else { panic!("{url}") };
        let node = Node { host: "a".to_owned(), port: 1 };
        let [master, sentinel] = sentinels.manners().map(|manner| manner.client(&node, None).unwrap());
        let shown = |client: &Client| {
            let settings = client.get_connection_info().redis_settings().clone();
            let owned = |text: Option<&str>| text.map(str::to_owned);
            (owned(settings.username()), owned(settings.password()), settings.db())
        };
        assert_eq!(shown(&master), (Some("user".to_owned()), Some("sec@ret".to_owned()), 2));
        assert_eq!(shown(&sentinel), (Some("s".to_owned()), Some("p/w".to_owned()), 0));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_repeating_it() {
        for url in [
            "",
            "secret",
            "http://u:secret@a",
            "redis://:secret@host:port",
            "rediss://u:secret@a/#insecure",
            "redis+cluster://",
            "redis+cluster://u:secret@a:1,",
            "redis+cluster://u:secret@a:port",
            "redis+cluster://u:secret@a:1/1",
            "redis+cluster://u:secret@a:1?sentinel_password=secret",
            "redis+sentinel://u:secret@a:1",
            "redis+sentinel://u:secret@a:1/",
            "redis+sentinel://u:secret@a:1/main/db",
            "redis+sentinel://u:secret@a:1/main?password=secret",
            "redis+sentinel://u:secret@a:1/main?sentinel_username=secret",
            "redis+sentinel://u:se/secret@a:1/main",
        ] {
            let error = url.parse::<Route>().err().unwrap_or_else(|| panic!("{url} was taken"));
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("redis+cluster://[user") && !shown.contains("secret"), "{url}: {shown}");
        }
    }
}
