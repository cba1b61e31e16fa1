//! The rules of the house, read from the sources: who may import whom, what every file must hold, and that documents
//! name only metrics that exist. A rule that nobody runs is a wish.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use techsapo_tests::repository::{self, files, read};
use techsapo_tests::textfile;

/// Sources under `place` (a folder or a file) never contain any of `words`, `because`.
struct Rule {
    place: &'static str,
    words: &'static [&'static str],
    because: &'static str,
}

const RUNTIME: &[&str] = &["tokio", "hyper", "axum", "tower", "redis", "reqwest", "mysql_async"];
const IMPURE: &[&str] = &[
    "redis::",
    "tokio::",
    "hyper::",
    "reqwest::",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "std::fs",
    "std::net",
    "std::thread",
];
const PURE: &str = "it is pure: tested by tables and by property";

const RULES: &[Rule] = &[
    Rule { place: "app/src", words: &["techsapo_exporter"], because: "app and exporter meet at the stream" },
    Rule { place: "exporter/src", words: &["techsapo_app"], because: "app and exporter meet at the stream" },
    Rule {
        place: "redis-route/src",
        words: &["techsapo_app", "techsapo_exporter", "techsapo_shared", "tokio"],
        because: "it knows servers and keys, not what stands under them, and blocks",
    },
    Rule {
        place: "tls/src",
        words: &[
            "techsapo_app",
            "techsapo_exporter",
            "techsapo_shared",
            "techsapo_redis_route",
            "hyper",
            "axum",
            "reqwest",
            "redis::",
            "mysql_async",
        ],
        because: "it knows files and handshakes, not what is said over them",
    },
    Rule {
        place: "app/src/providers",
        words: &["crate::http", "crate::analysis", "crate::telemetry", "axum"],
        because: "providers return facts",
    },
    Rule {
        place: "app/src/analysis",
        words: &["crate::http", "crate::telemetry", "axum", "hyper", "StatusCode"],
        because: "an analysis is the use case and knows no HTTP",
    },
    Rule { place: "app/src/guard/anomaly.rs", words: IMPURE, because: PURE },
    Rule { place: "app/src/guard/sanitise.rs", words: IMPURE, because: PURE },
    Rule { place: "app/src/guard/breaker/core.rs", words: IMPURE, because: PURE },
    Rule { place: "app/src/guard/budget/calendar.rs", words: IMPURE, because: PURE },
    Rule { place: "app/src/guard/budget/ledger.rs", words: IMPURE, because: PURE },
    Rule { place: "app/src/guard/keys/record.rs", words: IMPURE, because: PURE },
    Rule { place: "app/src/guard/keys/ring.rs", words: IMPURE, because: PURE },
    Rule { place: "app/src/guard/limits/window.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/catalog.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/apply.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/apply", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/state.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/series.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/series", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/window.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/budget.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/gauges.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/render.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/live.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/tools/check/environment.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/tools/explain/alerts.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/tools/explain/labels.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/tools/explain/selector.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/tools/human.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/tools/printable.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/tools/tail/line.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/tools/tail/numbers.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/tools/nearest.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/reader/resp.rs", words: IMPURE, because: PURE },
    Rule { place: "exporter/src/reader/entries.rs", words: IMPURE, because: PURE },
    Rule { place: "grafana/src", words: IMPURE, because: "dashboards are data" },
    Rule {
        place: "grafana/src",
        words: &["techsapo_exporter::", "techsapo_app", "techsapo_shared"],
        because: "dashboards are held against the catalogue by its tests, and built without the exporter",
    },
    Rule { place: "shared/src/wire.rs", words: IMPURE, because: PURE },
    Rule { place: "shared/src/decode.rs", words: IMPURE, because: PURE },
    Rule { place: "shared/src/event.rs", words: IMPURE, because: PURE },
];

/// A source without its comments and without the tests at its end.
fn code(path: &Path) -> String {
    let text = read(path);
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

fn dependencies(manifest: &str, table: &str) -> Vec<String> {
    let manifest: toml::Table = read(manifest).parse().unwrap();
    manifest
        .get(table)
        .and_then(toml::Value::as_table)
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

/// Families that the generated list of metrics names.
fn documented_metrics() -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    let names = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    names.map(str::to_owned).collect()
}

fn sources() -> Vec<std::path::PathBuf> {
    ["app", "exporter", "grafana", "redis-route", "shared", "tests", "tls"]
        .iter()
        .flat_map(|member| files(member, "rs"))
        .collect()
}

#[test]
fn imports_point_where_they_may() {
    let mut broken = Vec::new();
    for rule in RULES {
        let place = files(rule.place, "rs");
        let place = if place.is_empty() { vec![rule.place.into()] } else { place };
        for path in place {
            let code = code(&path);
            for word in rule.words.iter().filter(|word| code.contains(**word)) {
                broken.push(format!("{} contains {word:?}: {}", path.display(), rule.because));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The paths that a `use` brings in: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn spread(tree: &str) -> Vec<String> {
    let Some((before, within)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let within = &within[..within.rfind('}').unwrap()];
    let (mut depth, mut branches) = (0_i32, vec![String::new()]);
    for c in within.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            branches.push(String::new());
        } else {
            branches.last_mut().unwrap().push(c);
        }
    }
    let whole = |branch: &String| format!("{}{}", before.trim(), branch.trim());
    branches
        .iter()
        .filter(|branch| !branch.trim().is_empty())
        .flat_map(|branch| spread(&whole(branch)))
        .collect()
}

/// Of each module of a member that has no modules within: which others of these it uses.
fn uses(member: &str) -> BTreeMap<String, BTreeSet<String>> {
    let source = format!("{member}/src");
    let files: BTreeMap<String, String> = files(&source, "rs")
        .iter()
        .map(|path| {
            let place = path.to_str().unwrap().split_once(&format!("{source}/")).unwrap().1;
            (place.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::"), code(path))
        })
        .collect();
    let is_leaf = |module: &String| !files.keys().any(|other| other.starts_with(&format!("{module}::")));
    let of = |module: &String, code: &String| -> BTreeSet<String> {
        let statements = code.match_indices("use ").filter(|(at, _)| {
            let before = code[..*at].rsplit('\n').next().unwrap().trim();
            before.is_empty() || before == "pub" || (before.starts_with("pub(") && before.ends_with(')'))
        });
        let statements = statements
            .map(|(at, word)| code[at + word.len()..].split(';').next().unwrap().replace('\n', " "));
        let absolute = |path: String| -> Option<String> {
            let mut at: Vec<&str> = module.split("::").collect();
            let mut rest = path.as_str();
            if let Some(path) = rest.strip_prefix("crate::") {
                (at, rest) = (Vec::new(), path);
            } else if !rest.starts_with("super::") {
                return None;
            }
            while let Some(path) = rest.strip_prefix("super::") {
                at.pop();
                rest = path;
            }
            at.extend(rest.split("::"));
            (1..=at.len()).rev().map(|length| at[..length].join("::")).find(|name| files.contains_key(name))
        };
        let used = statements.flat_map(|tree| spread(&tree)).filter_map(absolute);
        used.filter(|used| used != module && is_leaf(used)).collect()
    };
    let leaves = files.iter().filter(|(module, _)| is_leaf(module));
    leaves.map(|(module, code)| (module.clone(), of(module, code))).collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for member in ["app", "exporter", "grafana", "redis-route", "shared", "tls"] {
        let mut left = uses(member);
        assert!(member != "app" || left.values().map(BTreeSet::len).sum::<usize>() > 100, "{left:?}");
        // Whatever uses nothing that is left goes, until nothing does.
        loop {
            let before = left.len();
            let names: BTreeSet<String> = left.keys().cloned().collect();
            left.values_mut().for_each(|used| used.retain(|used| names.contains(used)));
            left.retain(|_, used| !used.is_empty());
            if left.len() == before {
                break;
            }
        }
        assert!(left.is_empty(), "{member}: these are, or lead to, a circle: {left:#?}");
    }
}

#[test]
fn members_depend_on_what_they_may() {
    for (member, never) in [("app", "techsapo-exporter"), ("exporter", "techsapo")] {
        for table in ["dependencies", "dev-dependencies"] {
            let found = dependencies(&format!("{member}/Cargo.toml"), table);
            assert!(
                !found.iter().any(|name| name == never),
                "{member} depends on {never}: they meet at the stream"
            );
        }
    }
    for member in ["app", "exporter", "grafana", "redis-route", "shared", "tests", "tls"] {
        let manifest: toml::Table = read(format!("{member}/Cargo.toml")).parse().unwrap();
        for table in ["dependencies", "dev-dependencies"] {
            for (name, how) in manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                assert_eq!(
                    how["workspace"].as_bool(),
                    Some(true),
                    "{member}: {name} belongs in the workspace's table"
                );
            }
        }
    }
    let contract = dependencies("shared/Cargo.toml", "dependencies");
    assert!(
        contract.iter().all(|name| !RUNTIME.contains(&name.as_str())),
        "a contract has no runtime: {contract:?}"
    );
}

#[test]
fn the_app_names_no_metric() {
    let metrics = documented_metrics();
    assert!(metrics.len() > 40, "docs/metrics.md lists {} families", metrics.len());
    for path in files("app/src", "rs") {
        let text = read(&path);
        let named: Vec<_> = metrics.iter().filter(|name| text.contains(name.as_str())).collect();
        assert!(named.is_empty(), "{} names {named:?}: the app states facts", path.display());
    }
}

#[test]
fn every_source_says_first_what_it_is_for() {
    let silent: Vec<_> = sources().into_iter().filter(|path| !read(path).starts_with("//! ")).collect();
    assert!(silent.is_empty(), "these begin without a `//!` line: {silent:?}");
}

#[test]
fn nothing_is_left_for_later() {
    // Written apart, so that this file does not hold what it looks for.
    let words = [["todo", "!("], ["unimplemented", "!("], ["#[", "ignore"], ["FIX", "ME"], ["dbg", "!("]]
        .map(|word| word.concat());
    for path in sources() {
        let text = read(&path);
        let left: Vec<_> = words.iter().filter(|word| text.contains(word.as_str())).collect();
        assert!(left.is_empty(), "{} holds {left:?}", path.display());
    }
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let mut paths = vec![["/ho", "me/"].concat(), ["/Us", "ers/"].concat(), ["/ro", "ot/"].concat()];
    let root = repository::root().canonicalize().unwrap();
    if root.components().count() > 2 {
        paths.push(format!("{}/", root.display()));
    }
    let kinds =
        ["rs", "toml", "md", "sh", "yml", "yaml", "json", "js", "conf", "cnf", "sql", "service", "py"];
    for path in kinds.iter().flat_map(|kind| files("", kind)) {
        let text = read(&path);
        let found: Vec<_> = paths.iter().filter(|place| text.contains(place.as_str())).collect();
        assert!(found.is_empty(), "{} names {found:?}", path.display());
    }
}

/// Names that look like a metric's and are none.
const NO_METRICS: &[&str] = &[
    "techsapo_app",
    "techsapo_exporter",
    "techsapo_grafana",
    "techsapo_redis_route",
    "techsapo_shared",
    "techsapo_tests",
    "techsapo_tls",
    "techsapo_producer",
    "techsapo_audit",
    "techsapo_backend",
    "techsapo_session",
];

#[test]
fn documents_and_rules_name_only_metrics_that_exist() {
    let mut metrics = documented_metrics();
    metrics.extend(textfile::declared().into_iter().map(|metric| metric.name));
    let exists = |name: &str| {
        // What a shard's own figure is called (config/scaling/prometheus.yml).
        let name = &name.replacen("techsapo_shard_", "techsapo_", 1);
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let is_prefix = name.ends_with('_') && metrics.iter().any(|metric| metric.starts_with(name.as_str()));
        is_prefix
            || metrics.contains(name.as_str())
            || base.is_some_and(|base| metrics.contains(base))
            || NO_METRICS.contains(&name.as_str())
    };
    let texts = ["md", "yml", "yaml", "json", "sh"].iter().flat_map(|kind| files("", kind));
    let mut unknown = Vec::new();
    for path in texts.filter(|path| !path.starts_with("shared")) {
        let text = read(&path);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        let named = words.filter(|word| word.starts_with("techsapo_") || word.starts_with("nodejs_"));
        unknown.extend(named.filter(|name| !exists(name)).map(|name| format!("{}: {name}", path.display())));
    }
    assert!(unknown.is_empty(), "these metrics do not exist: {unknown:#?}");
}
