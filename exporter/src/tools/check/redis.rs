//! Redis: whether the way to it leads somewhere, whether it is of the right kind, and what stands there. Reads only.

use std::collections::HashMap;
use std::time::Duration;

use redis::streams::StreamInfoStreamReply;
use redis::{Client, Connection, ErrorKind, RedisError, RedisResult};
use techsapo_redis_route::Route;
use techsapo_shared::wire::{EntryId, StreamKeys};

use super::finding::{Finding, Verdict};
use crate::flags::RedisArgs;
use crate::tools::human;
use crate::turn;

/// For each answer of each server.
const TIMEOUT: Duration = Duration::from_secs(3);
/// `XTRIM` by id came with it.
const OLDEST: (u32, u32) = (6, 2);

/// What stands beside the streams.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Stream → id of the state that owns it, where one does.
    pub(super) owners: Vec<(String, String)>,
    /// Producer → last acknowledged number.
    pub(super) acknowledged: HashMap<String, u64>,
}

/// Looks at every server and every stream. The survey is there if all streams could be asked.
pub(super) fn look(redis: &RedisArgs, route: &Route, now_ms: u64) -> (Vec<Finding>, Option<Survey>) {
    let masters = match route.masters(TIMEOUT) {
        Ok(masters) => masters,
        Err(error) => return (vec![away(format_args!("redis {route}"), &error)], None),
    };
    let is_cluster = redis.address().is_ok_and(|url| url.trim_start().starts_with("redis+cluster:"));
    let mut findings: Vec<_> = masters.iter().map(|master| server(master, is_cluster)).collect();
    if findings.iter().all(|finding| finding.verdict == Verdict::Failed) {
        return (findings, None);
    }
    let mut survey = Some(Survey::default());
    for key in &redis.streams {
        match stream(route, key, now_ms) {
            Ok((finding, owner, acknowledged)) => {
                findings.push(finding);
                if let Some(survey) = &mut survey {
                    survey.owners.extend(owner.map(|owner| (key.clone(), owner)));
                    turn::add_acknowledged(&mut survey.acknowledged, acknowledged);
                }
            }
            Err(error) => {
                findings.push(away(format_args!("stream {key}"), &error));
                survey = None;
            }
        }
    }
    (findings, survey)
}

/// A server that cannot be asked.
fn away(about: impl std::fmt::Display, error: &RedisError) -> Finding {
    let code = error.code().unwrap_or_default();
    if error.kind() == ErrorKind::AuthenticationFailed || ["NOAUTH", "WRONGPASS"].contains(&code) {
        // Without what Redis says: it may repeat what it was sent.
        let text = "it wants another user or password";
        return Finding::failed(about, text, "give them in TECHSAPO_EXPORTER_REDIS_URL (--redis.url)");
    }
    let advice = match code {
        "NOPERM" => "give its user the right to it in Redis' access list",
        _ if error.is_io_error() => "start it, or give its address with --redis.url",
        _ => "see whether --redis.url leads to the right servers",
    };
    Finding::failed(about, error, advice)
}

fn server(client: &Client, is_cluster: bool) -> Finding {
    let about = format!("redis {}", client.get_connection_info().addr());
    let info = client.get_connection_with_timeout(TIMEOUT).and_then(|mut connection| {
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        redis::cmd("INFO").query::<String>(&mut connection)
    });
    match info {
        Ok(info) => judge(about, &info, is_cluster),
        Err(error) if error.code() == Some("NOPERM") => {
            let text = "it answers, but does not tell of itself: techsapo_memory_usage_bytes{component=\"redis\"} will be missing";
            Finding::warning(about, text, "give its user the right to INFO in Redis' access list")
        }
        Err(error) => away(about, &error),
    }
}

/// Whether a server that tells this of itself is of use.
fn judge(about: String, info: &str, is_cluster: bool) -> Finding {
    let told: HashMap<_, _> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let field = |name: &str| told.get(name).copied().unwrap_or_default();
    let (version, mode) = (field("redis_version"), field("redis_mode"));
    match mode {
        "sentinel" => {
            let advice = "write redis+sentinel://host:port,…/master-name in --redis.url";
            return Finding::failed(about, "it is a sentinel and holds no streams", advice);
        }
        "cluster" if !is_cluster => {
            let advice = "write redis+cluster://host:port,… in --redis.url";
            return Finding::failed(about, "it is one node of a cluster", advice);
        }
        _ => {}
    }
    if field("role") == "slave" {
        let master = format!("{}:{}", field("master_host"), field("master_port"));
        let text = format!("it is a replica of {master} and cannot be written to");
        return Finding::failed(about, text, "give the master's address with --redis.url");
    }
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(OLDEST.0), Some(OLDEST.1)) {
        let text = format!("it is version {version:?}, which cannot trim a stream by id");
        return Finding::failed(about, text, format_args!("use Redis {}.{} or later", OLDEST.0, OLDEST.1));
    }
    if field("loading") == "1" {
        return Finding::warning(about, "it is still loading what it had stored", "wait until it has");
    }
    if field("maxmemory") != "0" && field("maxmemory_policy") != "noeviction" {
        let policy = field("maxmemory_policy");
        let text = format!("when its memory is full, it deletes keys ({policy}), streams among them");
        return Finding::warning(about, text, "set maxmemory-policy to noeviction");
    }
    let memory = field("used_memory").parse().map_or_else(|_| "?".to_owned(), human::bytes);
    Finding::ok(about, format_args!("it answers: version {version}, {mode}, {memory} used"))
}

type Stream = (Finding, Option<String>, HashMap<String, u64>);

/// What stands in and beside one stream.
fn stream(route: &Route, key: &str, now_ms: u64) -> RedisResult<Stream> {
    let keys = StreamKeys::of(key);
    let connection = &mut route.connect(key, TIMEOUT)?;
    let kind: String = redis::cmd("TYPE").arg(key).query(connection)?;
    let owner = redis::cmd("GET").arg(&keys.owner).query(connection)?;
    let acknowledged = redis::cmd("HGETALL").arg(&keys.acks).query(connection)?;
    let about = format!("stream {key}");
    let finding = match kind.as_str() {
        "stream" => entries(about, connection, key, now_ms)?,
        "none" => Finding::warning(
            about,
            "it is not there yet: it comes with the first event",
            "if an app runs, compare its redis.url and redis.streams with --redis.url and --redis.stream",
        ),
        other => Finding::failed(
            about,
            format_args!("the key holds a {other}, not a stream"),
            "choose another key with --redis.stream, or see who writes that one",
        ),
    };
    Ok((finding, owner, acknowledged))
}

fn entries(about: String, connection: &mut Connection, key: &str, now_ms: u64) -> RedisResult<Finding> {
    let info: StreamInfoStreamReply = redis::cmd("XINFO").arg("STREAM").arg(key).query(connection)?;
    let newest = EntryId::parse(info.last_generated_id.as_bytes()).unwrap_or_default();
    let age = human::duration(Duration::from_millis(now_ms.saturating_sub(newest.ms)));
    Ok(Finding::ok(about, format_args!("{} entries, the newest came {age} ago", info.length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::paint::{Paint, When};

    fn judged(changes: &str, is_cluster: bool) -> (Verdict, String) {
        let plain = "redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nused_memory:1536\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\nloading:0\r\n";
        let finding = judge("redis r".to_owned(), &format!("{plain}{changes}"), is_cluster);
        (finding.verdict, finding.line(Paint::of(When::Never, &std::io::stdout())))
    }

    #[test]
    fn a_server_is_judged_by_what_it_says_of_itself() {
        let (verdict, line) = judged("", false);
        assert_eq!(verdict, Verdict::Ok);
        assert!(line.ends_with("it answers: version 7.0.15, standalone, 1.5 KiB used"), "{line}");
        for (changes, is_cluster, expected, part) in [
            ("redis_mode:cluster\r\n", true, Verdict::Ok, "cluster"),
            ("redis_mode:cluster\r\n", false, Verdict::Failed, "redis+cluster://"),
            ("redis_mode:sentinel\r\n", false, Verdict::Failed, "redis+sentinel://"),
            ("role:slave\r\nmaster_host:a\r\nmaster_port:1\r\n", false, Verdict::Failed, "replica of a:1"),
            ("redis_version:6.0.16\r\n", false, Verdict::Failed, "use Redis 6.2 or later"),
            ("redis_version:6.2.0\r\n", false, Verdict::Ok, "6.2.0"),
            ("redis_version:10.0\r\n", false, Verdict::Ok, "10.0"),
            ("redis_version:later\r\n", false, Verdict::Failed, "later"),
            ("loading:1\r\n", false, Verdict::Warning, "loading"),
            ("maxmemory:9\r\nmaxmemory_policy:allkeys-lru\r\n", false, Verdict::Warning, "allkeys-lru"),
            ("maxmemory:9\r\n", false, Verdict::Ok, "answers"),
        ] {
            let (verdict, line) = judged(changes, is_cluster);
            assert_eq!(verdict, expected, "{changes}: {line}");
            assert!(line.contains(part), "{changes}: {line}");
        }
    }
}
