//! Dashboards in Grafana's JSON: its types are published as `@grafana/schema`, and the tests hold this against them.

use serde_json::{Value, json};

use crate::model::{Choice, Colour, Dashboard, Palette, Panel, Query, Unit, View};

/// The version of the format that is written here: Grafana 12 and 13 read it as it is, others migrate it.
const SCHEMA_VERSION: u32 = 42;
/// All dashboards bear this tag: the links at their head are made of it.
const TAG: &str = "techsapo";
/// Columns of the page's grid.
const GRID: u32 = 24;

/// The data source that is chosen at the dashboard's head.
fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

impl Dashboard {
    /// As Grafana reads it.
    pub fn json(&self) -> Value {
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": both(self.english, self.japanese),
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "liveNow": false,
            "refresh": self.refresh,
            "time": {"from": format!("now-{}h", self.range_h), "to": "now"},
            "timepicker": {"refresh_intervals": ["15s", "30s", "1m", "5m", "15m", "1h"]},
            "timezone": "browser",
            "links": [links()],
            "annotations": {"list": annotations()},
            "templating": {"list": variables(self.choices)},
            "panels": panels(self),
        })
    }
}

fn both(english: &str, japanese: &str) -> String {
    format!("{english}\n\n{japanese}")
}

/// The way to all other dashboards, with the same range and choices.
fn links() -> Value {
    json!({
        "type": "dashboards", "title": "TechSapo", "tags": [TAG], "asDropdown": false, "includeVars": true,
        "keepTime": true, "targetBlank": false, "icon": "external link", "tooltip": "", "url": "",
    })
}

/// What happened meanwhile, drawn into every graph.
fn annotations() -> Value {
    let drawn = |name: &str, colour: Colour, expr: &str, title: &str, text: &str, tags: &str| {
        json!({
            "name": name, "enable": true, "hide": false, "iconColor": colour.name(), "datasource": source(),
            "target": {"refId": "Anno", "expr": expr, "interval": "15s"},
            "titleFormat": title, "textFormat": text, "tagKeys": tags, "useValueForTime": "",
        })
    };
    json!([
        {
            "name": "Annotations & Alerts", "builtIn": 1, "enable": true, "hide": true, "type": "dashboard",
            "iconColor": Colour::Blue.name(), "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        },
        drawn(
            "Alerts",
            Colour::Red,
            r#"ALERTS{alertstate="firing",alertname!="Watchdog"}"#,
            "{{alertname}}",
            "{{priority}} {{severity}} {{instance}}",
            "priority,severity",
        ),
        drawn(
            "Configuration changed",
            Colour::Blue,
            "sum by (component) (increase(techsapo_config_changes_total[30s])) > 0",
            "Configuration changed: {{component}}",
            "{{component}}",
            "component",
        ),
    ])
}

fn variables(choices: &[Choice]) -> Vec<Value> {
    let datasource = json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
        "current": {"text": "Prometheus", "value": "techsapo-prometheus", "selected": true},
        "options": [], "includeAll": false, "multi": false, "refresh": 1, "regex": "", "skipUrlSync": false,
    });
    let choice = |choice: &Choice| {
        let query = format!("label_values({},{})", choice.family, choice.name);
        json!({
            "name": choice.name, "label": choice.label, "type": "query", "datasource": source(), "hide": 0,
            "query": {"query": query, "qryType": 1, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
            "current": {"text": ["All"], "value": ["$__all"], "selected": true},
            "includeAll": true, "multi": true, "options": [], "refresh": 2, "regex": "",
            "sort": 1, "skipUrlSync": false,
        })
    };
    std::iter::once(datasource).chain(choices.iter().map(choice)).collect()
}

/// Rows one under the other; in each, every panel as high up as it fits, and there as far left.
fn panels(dashboard: &Dashboard) -> Vec<Value> {
    let (mut found, mut y, mut id) = (Vec::new(), 0, 1..);
    let mut next_id = || id.next().unwrap_or_default();
    for row in &dashboard.rows {
        found.push(json!({
            "id": next_id(), "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": GRID, "h": 1},
        }));
        let mut filled = [y + 1; GRID as usize];
        for panel in &row.panels {
            let place = place(&mut filled, panel.width, panel.height);
            found.push(self::panel(panel, next_id(), place));
        }
        y = filled.into_iter().max().unwrap_or(y + 1);
    }
    found
}

/// Where a panel fits, given how far down each column is filled; fills that place.
fn place(filled: &mut [u32; GRID as usize], width: u32, height: u32) -> (u32, u32) {
    let below = |x: usize| filled.iter().skip(x).take(width as usize).copied().max().unwrap_or_default();
    let last = GRID.saturating_sub(width);
    let (y, x) = (0..=last).map(|x| (below(x as usize), x)).min().unwrap_or_default();
    filled.iter_mut().skip(x as usize).take(width as usize).for_each(|column| *column = y + height);
    (x, y)
}

fn panel(panel: &Panel, id: u32, (x, y): (u32, u32)) -> Value {
    let mut json = json!({
        "id": id,
        "type": kind(panel.view),
        "title": panel.title,
        "description": both(panel.english, panel.japanese),
        "datasource": source(),
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults(panel), "overrides": overrides(panel)},
        "options": options(panel),
        "targets": targets(panel),
    });
    if let Some(interval) = panel.interval {
        json["interval"] = interval.into();
    }
    if panel.view == View::Columns {
        json["maxDataPoints"] = 48.into();
    }
    if panel.view == View::Table {
        json["transformations"] = json!([{"id": "merge", "options": {}}, {"id": "organize", "options": {
            "excludeByName": {"Time": true}, "indexByName": {}, "renameByName": {},
        }}]);
    }
    json
}

fn kind(view: View) -> &'static str {
    match view {
        View::Stat | View::Name => "stat",
        View::Gauge => "gauge",
        View::Bars => "bargauge",
        View::Lines | View::Areas | View::Columns => "timeseries",
        View::States(_) => "state-timeline",
        View::Table => "table",
    }
}

/// Queries are called A, B, C … in their order.
fn ref_id(index: usize) -> String {
    char::from(b'A' + u8::try_from(index % 26).unwrap_or_default()).to_string()
}

fn targets(panel: &Panel) -> Vec<Value> {
    let target = |(index, query): (usize, &Query)| {
        json!({
            "refId": ref_id(index),
            "datasource": source(),
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend,
            "instant": query.instant,
            "range": !query.instant,
            "format": if panel.view == View::Table { "table" } else { "time_series" },
        })
    };
    panel.queries.iter().enumerate().map(target).collect()
}

fn thresholds(panel: &Panel) -> Value {
    let first = json!({"color": panel.base.name(), "value": null});
    let rest = panel.steps.iter().map(|(from, colour)| json!({"color": colour.name(), "value": from}));
    json!({"mode": "absolute", "steps": std::iter::once(first).chain(rest).collect::<Vec<_>>()})
}

fn defaults(panel: &Panel) -> Value {
    let colour = match panel.palette {
        Palette::Thresholds => json!({"mode": "thresholds"}),
        Palette::Series | Palette::Named(_) => json!({"mode": "palette-classic-by-name"}),
        Palette::One(colour) => json!({"mode": "fixed", "fixedColor": colour.name()}),
    };
    let mut defaults = json!({
        "unit": panel.unit.id(), "color": colour, "thresholds": thresholds(panel), "mappings": mappings(panel.view),
        "noValue": panel.idle, "custom": custom(panel),
    });
    let bounds = [("min", panel.bounds.0), ("max", panel.bounds.1)];
    for (name, bound) in bounds.into_iter().filter_map(|(name, bound)| Some((name, bound?))) {
        defaults[name] = bound.into();
    }
    if let Some(decimals) = panel.decimals {
        defaults["decimals"] = decimals.into();
    }
    defaults
}

/// What the states are called.
fn mappings(view: View) -> Value {
    // Nothing divided by nothing.
    let nothing =
        json!({"type": "special", "options": {"match": "nan", "result": {"index": 0, "text": "–"}}});
    let View::States(states) = view else { return json!([nothing]) };
    let mut options = json!({});
    for (index, (value, text, colour)) in states.iter().enumerate() {
        options[value.to_string()] = json!({"index": index, "text": text, "color": colour.name()});
    }
    json!([{"type": "value", "options": options}])
}

/// The settings of one kind of panel.
fn custom(panel: &Panel) -> Value {
    let graph = |draw: &str, opacity: u32, stack: &str| {
        json!({
            "drawStyle": draw, "lineWidth": if draw == "bars" { 0 } else { 2 }, "fillOpacity": opacity,
            "gradientMode": if draw == "line" && stack == "none" { "opacity" } else { "none" },
            "lineInterpolation": "linear", "showPoints": "never", "pointSize": 5, "spanNulls": 60_000,
            "stacking": {"group": "A", "mode": stack},
            "axisPlacement": "auto", "axisLabel": "", "axisColorMode": "text", "axisBorderShow": false,
            "axisCenteredZero": false, "scaleDistribution": {"type": "linear"}, "barAlignment": 0,
            "hideFrom": {"legend": false, "tooltip": false, "viz": false},
            "thresholdsStyle": {"mode": if panel.steps.is_empty() { "off" } else { "dashed" }},
        })
    };
    match panel.view {
        // Where several lines cross, what lies below them would only blur.
        View::Lines => graph("line", if matches!(panel.palette, Palette::One(_)) { 10 } else { 0 }, "none"),
        View::Areas => graph("line", 30, "normal"),
        View::Columns => graph("bars", 80, "normal"),
        View::States(_) => json!({
            "fillOpacity": 75, "lineWidth": 0, "hideFrom": {"legend": false, "tooltip": false, "viz": false},
        }),
        View::Table => json!({
            "align": "auto", "cellOptions": {"type": "auto"}, "filterable": false, "inspect": false,
        }),
        View::Stat | View::Name | View::Gauge | View::Bars => json!({}),
    }
}

fn overrides(panel: &Panel) -> Vec<Value> {
    let mut found = Vec::new();
    if let Palette::Named(names) = panel.palette {
        found.extend(names.iter().map(|(pattern, colour)| {
            json!({
                "matcher": {"id": "byRegexp", "options": format!("/{pattern}/")},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour.name()}}],
            })
        }));
    }
    if panel.view == View::Table {
        let columns = panel.queries.iter().enumerate();
        found.extend(columns.filter_map(|(index, query)| Some(column(index, query, query.unit?))));
    }
    found
}

fn column(index: usize, query: &Query, unit: Unit) -> Value {
    json!({
        "matcher": {"id": "byName", "options": format!("Value #{}", ref_id(index))},
        "properties": [
            {"id": "displayName", "value": query.legend},
            {"id": "unit", "value": unit.id()},
            {"id": "custom.align", "value": "right"},
        ],
    })
}

fn options(panel: &Panel) -> Value {
    let reduce = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
    match panel.view {
        View::Stat | View::Name => json!({
            "colorMode": "value", "graphMode": if panel.queries.iter().any(|query| query.instant) { "none" } else { "area" },
            "justifyMode": "auto", "orientation": "auto", "percentChangeColorMode": "standard",
            "reduceOptions": reduce, "showPercentChange": false, "wideLayout": true,
            "textMode": if panel.view == View::Name { "value_and_name" } else { "auto" },
        }),
        View::Gauge => json!({
            "orientation": "auto", "reduceOptions": reduce, "showThresholdLabels": false,
            "showThresholdMarkers": true, "sizing": "auto", "minVizHeight": 75, "minVizWidth": 75,
            "barShape": "flat", "barWidthFactor": 0.4, "effects": {"gradient": false}, "segmentCount": 1,
            "segmentSpacing": 0.3, "shape": "gauge",
        }),
        View::Bars => json!({
            "displayMode": "basic", "orientation": "horizontal", "reduceOptions": reduce, "showUnfilled": true,
            "sizing": "auto", "minVizHeight": 16, "minVizWidth": 8, "maxVizHeight": 56, "namePlacement": "auto",
            "valueMode": "color", "legend": legend(false),
        }),
        View::Lines | View::Areas | View::Columns => json!({
            "legend": legend(true), "tooltip": {"mode": "multi", "sort": "desc", "hideZeros": false},
        }),
        View::States(_) => json!({
            "alignValue": "left", "mergeValues": true, "rowHeight": 0.8, "showValue": "never",
            "legend": legend(true), "tooltip": {"mode": "multi", "sort": "none"},
        }),
        View::Table => json!({
            "cellHeight": "sm", "frameIndex": 0, "showHeader": true,
            "sortBy": [{"displayName": panel.queries.first().map(|query| query.legend), "desc": true}],
        }),
    }
}

fn legend(shown: bool) -> Value {
    json!({"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": shown})
}
