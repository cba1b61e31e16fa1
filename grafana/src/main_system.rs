//! Main System: is it well, at a glance, and if not, where to look.

use crate::model::{Colour, Dashboard, Folder, Palette, Panel, Unit, areas, lines, stat};
use crate::parts::{API, CODES, RATE, TASKS};

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        folder: Folder::Overview,
        uid: "techsapo-main",
        title: "TechSapo / Main System",
        english: "The whole system at a glance: what callers get, how good the answers are, how the host fares.",
        japanese: "システム全体の概況。利用者への応答、回答の品質、ホストの状態を示します。",
        range_h: 1,
        refresh: "15s",
        choices: &[],
        rows: Vec::new(),
    }
    .row("Now", now())
    .row("Traffic", traffic())
    .row("Answers", answers())
    .row("Host", host())
}

fn now() -> Vec<Panel> {
    vec![
        stat(
            "Success rate",
            "Share of the analyses of the last 5 minutes that succeeded. Promised: 95 %.",
            "直近5分間の分析成功率。目標は95 %。",
        )
        .wide(3)
        .unit(Unit::Share)
        .decimals(1)
        .good_above(0.95, 0.9)
        .idle("No analyses")
        .query("max(techsapo_wallbounce_success_rate)"),
        stat(
            "Confidence",
            "Mean confidence of the fresh analyses of the last 5 minutes. Below 70 % an alert fires.",
            "直近5分間の新規分析の平均信頼度。70 %を下回ると警報が出ます。",
        )
        .wide(3)
        .unit(Unit::Share)
        .decimals(1)
        .good_above(0.8, 0.7)
        .idle("No analyses")
        .query("max(techsapo_wallbounce_avg_confidence_5m)"),
        stat(
            "Consensus",
            "Mean over the analyses of the last 5 minutes of how far their answers agree pairwise.",
            "直近5分間の分析における回答同士の平均一致度。",
        )
        .wide(3)
        .unit(Unit::Share)
        .decimals(1)
        .good_above(0.8, 0.6)
        .idle("No analyses")
        .query("max(techsapo_wallbounce_consensus_score)"),
        stat(
            "Response time, p95",
            "95 of 100 API requests of the last 5 minutes were answered faster. Above 10 s an alert fires.",
            "直近5分間のAPI応答時間の95パーセンタイル。10秒を超えると警報が出ます。",
        )
        .wide(3)
        .unit(Unit::Seconds)
        .decimals(2)
        .bad_above(5.0, 10.0)
        .idle("No requests")
        .query("max(techsapo_http_p95_response_time)"),
        stat("Throughput", "API requests each second.", "APIの毎秒リクエスト数。")
            .wide(3)
            .unit(Unit::RequestsPerSecond)
            .decimals(2)
            .colours(Palette::One(Colour::Blue))
            .query(format!("sum(rate(techsapo_http_requests_total{{{API}}}[{RATE}]))")),
        stat(
            "Server errors",
            "Share of API requests answered with 5xx. Above 1 % an alert fires.",
            "5xxで応答したAPIリクエストの割合。1 %を超えると警報が出ます。",
        )
        .wide(3)
        .unit(Unit::Share)
        .decimals(2)
        .bad_above(0.001, 0.01)
        .idle("No requests")
        .query(share_of("5..")),
        stat(
            "Open breakers",
            "Services that some instance does not call at present because they keep failing.",
            "障害続きのため呼び出しを止めているサービスの数。",
        )
        .wide(3)
        .decimals(0)
        .bad_above(1.0, 2.0)
        .query(r#"sum(max by (service) (techsapo_circuit_breaker_state{state="open"}))"#),
        stat(
            "Alerts firing",
            "Alerts that fire now, without the dead-man's switch.",
            "発報中の警報の数（死活監視用を除く）。",
        )
        .wide(3)
        .decimals(0)
        .bad_above(1.0, 3.0)
        .query(r#"count(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)"#),
    ]
}

/// Share of the API's requests that were answered with such a code.
fn share_of(code: &str) -> String {
    format!(
        "(sum(rate(techsapo_http_requests_total{{{API},status_code=~\"{code}\"}}[{RATE}])) or vector(0)) \
         / (sum(rate(techsapo_http_requests_total{{{API}}}[{RATE}])) > 0)"
    )
}

/// The API's response time that this share of requests stays below.
fn response_time(quantile: &str) -> String {
    format!(
        "histogram_quantile({quantile}, sum by (le) (rate(techsapo_http_request_duration_seconds_bucket{{{API}}}[{RATE}])))"
    )
}

fn traffic() -> Vec<Panel> {
    vec![
        areas(
            "Requests by status code",
            "API requests each second by the status code of their answer.",
            "ステータスコード別の毎秒APIリクエスト数。",
        )
        .unit(Unit::RequestsPerSecond)
        .zero_based()
        .colours(CODES)
        .line(
            format!("sum by (status_code) (rate(techsapo_http_requests_total{{{API}}}[{RATE}]))"),
            "{{status_code}}",
        ),
        lines(
            "Response time",
            "Half, 95 and 99 of 100 API requests were answered within these times.",
            "API応答時間の50・95・99パーセンタイル。",
        )
        .unit(Unit::Seconds)
        .zero_based()
        .bad_above(5.0, 10.0)
        .colours(Palette::Named(&[("p50", Colour::Green), ("p95", Colour::Yellow), ("p99", Colour::Orange)]))
        .line(response_time("0.50"), "p50")
        .line(response_time("0.95"), "p95")
        .line(response_time("0.99"), "p99"),
        lines(
            "Error rate",
            "Share of API requests answered with 4xx (the caller's fault) and 5xx (ours).",
            "4xx（呼び出し側の誤り）と5xx（当方の障害）の割合。",
        )
        .unit(Unit::Share)
        .zero_based()
        .bad_above(0.001, 0.01)
        .colours(Palette::Named(&[("4xx", Colour::Yellow), ("5xx", Colour::Red)]))
        .line(share_of("4.."), "4xx")
        .line(share_of("5.."), "5xx"),
        areas(
            "Analyses per minute by task type",
            "Analyses each minute by how demanding they are.",
            "タスク種別ごとの毎分の分析数。",
        )
        .unit(Unit::PerMinute)
        .zero_based()
        .colours(TASKS)
        .line(
            format!("60 * sum by (task_type) (rate(techsapo_wallbounce_requests_total[{RATE}]))"),
            "{{task_type}}",
        ),
    ]
}

fn answers() -> Vec<Panel> {
    vec![
        lines("Success, confidence, consensus", "The three figures of the last 5 minutes over time. Gaps: nobody asked.", "成功率・信頼度・一致度の推移。空白は分析がなかった時間です。")
            .unit(Unit::Share).up_to(1.0).idle("No analyses")
            .colours(Palette::Named(&[("success", Colour::Green), ("confidence", Colour::Blue), ("consensus", Colour::Purple)]))
            .line("max(techsapo_wallbounce_success_rate)", "success")
            .line("max(techsapo_wallbounce_avg_confidence_5m)", "confidence")
            .line("max(techsapo_wallbounce_consensus_score)", "consensus"),
        lines("Duration of analyses, p95", "95 of 100 analyses took less, by task type; refused ones are not in it.", "タスク種別ごとの分析時間の95パーセンタイル（拒否分を除く）。")
            .unit(Unit::Seconds).zero_based().colours(TASKS)
            .line(format!("histogram_quantile(0.95, sum by (task_type, le) (rate(techsapo_wallbounce_processing_duration_seconds_bucket[{RATE}])))"), "{{task_type}}"),
    ]
}

fn host() -> Vec<Panel> {
    let network = |direction: &str| {
        format!(
            "sum(rate(node_network_{direction}_bytes_total{{device!~\"lo|veth.*|docker.*|br-.*\"}}[{RATE}]))"
        )
    };
    vec![
        lines("CPU", "Use of the host's processors.", "ホストのCPU使用率。")
            .wide(6)
            .unit(Unit::Percent)
            .between(0.0, 100.0)
            .bad_above(80.0, 95.0)
            .colours(Palette::One(Colour::Blue))
            .line("max(techsapo_cpu_usage_percent)", "CPU"),
        lines(
            "Memory",
            "Use of the host's memory. Above 90 % for 30 s an alert fires.",
            "ホストのメモリ使用率。90 %超が30秒続くと警報が出ます。",
        )
        .wide(6)
        .unit(Unit::Percent)
        .between(0.0, 100.0)
        .bad_above(80.0, 90.0)
        .colours(Palette::One(Colour::Purple))
        .line("max(techsapo_memory_usage_percent)", "memory"),
        lines(
            "Network",
            "Bytes each second that the host receives and sends (below zero), without the loopback.",
            "ホストの送受信量（送信は負側、ループバックを除く）。",
        )
        .wide(6)
        .unit(Unit::BytesPerSecond)
        .colours(Palette::Named(&[("received", Colour::Green), ("sent", Colour::Orange)]))
        .line(network("receive"), "received")
        .line(format!("-{}", network("transmit")), "sent"),
        lines(
            "Memory by component",
            "Resident memory of each part, over live instances; Redis and MySQL as they report it.",
            "構成要素ごとのメモリ使用量。RedisとMySQLは自己申告値。",
        )
        .wide(6)
        .unit(Unit::Bytes)
        .zero_based()
        .line(r#"max by (component) (techsapo_memory_usage_bytes{component!="host"})"#, "{{component}}"),
    ]
}
