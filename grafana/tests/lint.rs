//! What every dashboard must keep to, read from the JSON that Grafana reads.

#![allow(clippy::unwrap_used)] // A test that meets the unexpected has failed.

use std::collections::BTreeSet;

use serde_json::Value;

/// Links and bookmarks hold these: they never change.
const UIDS: [&str; 6] = [
    "techsapo-main",
    "techsapo-executive",
    "techsapo-operations",
    "techsapo-llm",
    "techsapo-cost",
    "techsapo-development",
];

/// Every panel with its dashboard's name before its own; rows are none.
fn panels() -> Vec<(String, Value)> {
    let all = techsapo_grafana::dashboards().into_iter().flat_map(|dashboard| {
        let json = dashboard.json();
        let panels = json["panels"].as_array().unwrap().clone();
        let named =
            move |panel: Value| (format!("{}: {}", dashboard.uid, panel["title"].as_str().unwrap()), panel);
        panels.into_iter().filter(|panel| panel["type"] != "row").map(named).collect::<Vec<_>>()
    });
    all.collect()
}

fn texts<'a>(panel: &'a Value, field: &'a str) -> impl Iterator<Item = &'a str> {
    panel["targets"].as_array().unwrap().iter().map(move |target| target[field].as_str().unwrap())
}

/// The windows of a query: what stands between brackets.
fn windows(expr: &str) -> impl Iterator<Item = &str> {
    let ranges = expr.split('[').skip(1).filter_map(|rest| Some(rest.split_once(']')?.0));
    // Within a regular expression brackets are classes of characters.
    ranges.filter(|range| range.starts_with('$') || range.ends_with(['s', 'm', 'h', 'd']))
}

#[test]
fn dashboards_keep_their_names_and_lead_to_each_other() {
    let dashboards: Vec<Value> =
        techsapo_grafana::dashboards().iter().map(techsapo_grafana::Dashboard::json).collect();
    let uids: Vec<&str> = dashboards.iter().map(|dashboard| dashboard["uid"].as_str().unwrap()).collect();
    assert_eq!(uids, UIDS);
    let titles: BTreeSet<&str> =
        dashboards.iter().map(|dashboard| dashboard["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), UIDS.len());
    for dashboard in &dashboards {
        let uid = &dashboard["uid"];
        assert_eq!(dashboard["links"][0]["tags"], dashboard["tags"], "{uid}");
        assert_eq!(dashboard["links"][0]["keepTime"], true, "{uid}");
        assert!(["15s", "30s"].contains(&dashboard["refresh"].as_str().unwrap()), "{uid}");
        assert!(dashboard.get("id").is_none() && dashboard.get("__inputs").is_none(), "{uid}");
        let annotations = dashboard["annotations"]["list"].as_array().unwrap();
        let drawn: Vec<&str> = annotations.iter().filter_map(|one| one["target"]["expr"].as_str()).collect();
        assert!(drawn.iter().any(|expr| expr.starts_with("ALERTS{")), "{uid}");
        assert!(drawn.iter().any(|expr| expr.contains("techsapo_config_changes_total")), "{uid}");
    }
}

#[test]
fn every_panel_says_what_it_shows_in_both_languages() {
    let mut titles = BTreeSet::new();
    for (name, panel) in panels() {
        assert!(titles.insert(name.clone()), "{name} stands twice");
        let (english, japanese) = panel["description"].as_str().unwrap().split_once("\n\n").unwrap();
        assert!(english.is_ascii() || english.contains(['×', '¢']), "{name}: {english}");
        assert!(english.len() > 10 && english.ends_with('.'), "{name}: {english}");
        let is_kana = |letter: char| ('\u{3041}'..='\u{30ff}').contains(&letter);
        assert!(japanese.contains(is_kana) && japanese.ends_with('。'), "{name}: {japanese}");
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(!defaults["unit"].as_str().unwrap().is_empty(), "{name}");
        assert!(!defaults["noValue"].as_str().unwrap().is_empty(), "{name}");
        assert!(!defaults["thresholds"]["steps"].as_array().unwrap().is_empty(), "{name}");
    }
}

#[test]
fn panels_stand_in_the_grid_and_nowhere_twice() {
    for dashboard in techsapo_grafana::dashboards() {
        let json = dashboard.json();
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in json["panels"].as_array().unwrap() {
            let name = format!("{}: {}", dashboard.uid, panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: its id stands twice");
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= 24, "{name} stands outside of the grid");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{name} covers another panel");
            }
        }
        // A row's panels fill its width, or end together: no ragged holes between rows.
        let bottom = cells.iter().map(|(_, y)| *y).max().unwrap();
        let empty = (0..=bottom).filter(|y| !(0..24).any(|x| cells.contains(&(x, *y)))).count();
        assert_eq!(empty, 0, "{}: empty lines between panels", dashboard.uid);
        let holes: Vec<_> = (0..=bottom)
            .flat_map(|y| (0..24).map(move |x| (x, y)))
            .filter(|cell| !cells.contains(cell))
            .collect();
        assert!(holes.is_empty(), "{}: holes at {holes:?}", dashboard.uid);
    }
}

#[test]
fn every_query_goes_to_the_chosen_data_source_and_looks_back_as_it_should() {
    for (name, panel) in panels() {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{name} asks nothing");
        assert!(targets.iter().all(|target| target["datasource"]["uid"] == "${datasource}"), "{name}");
        let refs: BTreeSet<&str> = texts(&panel, "refId").collect();
        assert_eq!(refs.len(), targets.len(), "{name}: queries of the same name");
        for target in targets {
            assert_ne!(target["instant"], target["range"], "{name}: either the present or the range");
            let expr = target["expr"].as_str().unwrap();
            for window in windows(expr) {
                let fixed = window.ends_with(['m', 'h', 'd']) && !window.starts_with('$');
                match window {
                    "$__rate_interval" => assert_eq!(target["range"], true, "{name}: {expr}"),
                    "$__range" => assert_eq!(target["instant"], true, "{name}: {expr}"),
                    // Shorter than two scrapes it would see nothing.
                    "$__interval" => assert_eq!(panel["interval"], "1m", "{name}: {expr}"),
                    _ => assert!(fixed, "{name} looks back over [{window}]"),
                }
            }
        }
    }
}

#[test]
fn graphs_are_of_the_kinds_that_read_well() {
    const KINDS: [&str; 6] = ["stat", "gauge", "bargauge", "timeseries", "state-timeline", "table"];
    for (name, panel) in panels() {
        let kind = panel["type"].as_str().unwrap();
        assert!(KINDS.contains(&kind), "{name} is a {kind}");
        if kind == "timeseries" {
            assert_eq!(panel["options"]["tooltip"]["mode"], "multi", "{name}");
            assert_eq!(panel["options"]["legend"]["showLegend"], true, "{name}");
        }
        let legends: BTreeSet<&str> = texts(&panel, "legendFormat").collect();
        assert_eq!(legends.len(), texts(&panel, "legendFormat").count(), "{name}: series of the same name");
    }
}

#[test]
fn an_amount_of_money_says_how_many_decimals_it_has() {
    // Else Grafana shows as many as it finds room for: $0.1 beside $12.
    let money =
        panels().into_iter().filter(|(_, panel)| panel["fieldConfig"]["defaults"]["unit"] == "currencyUSD");
    let without: Vec<_> = money
        .filter(|(_, panel)| {
            panel["fieldConfig"]["defaults"]["decimals"].as_u64().is_none_or(|count| count < 2)
        })
        .map(|(name, _)| name)
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn what_can_be_chosen_matters() {
    for dashboard in techsapo_grafana::dashboards() {
        let json = dashboard.json();
        let queries: String = panels()
            .iter()
            .filter(|(name, _)| name.starts_with(dashboard.uid))
            .flat_map(|(_, panel)| texts(panel, "expr").map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let mut declared: BTreeSet<String> = BTreeSet::new();
        for variable in json["templating"]["list"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            declared.insert(name.to_owned());
            let used = name == "datasource" || queries.contains(&format!("\"${name}\""));
            assert!(used, "{}: nothing changes with {name}", dashboard.uid);
        }
        for used in queries.split("=~\"$").skip(1) {
            let name = used.split('"').next().unwrap();
            assert!(declared.contains(name), "{}: {name} cannot be chosen", dashboard.uid);
        }
    }
}
