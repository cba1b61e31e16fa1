//! Development: for those who change the code. Endpoints, queries, caches, errors, the runtime.

use crate::model::{Colour, Dashboard, Folder, Palette, Panel, Unit, areas, bars, lines, stat, table};
use crate::parts::{INSTANCE, RANGE, RATE, ROUTE};

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        folder: Folder::Engineering,
        uid: "techsapo-development",
        title: "TechSapo / Development",
        english: "For those who change the code: every endpoint, query, cache and error, and the runtime beneath.",
        japanese: "開発者向け。エンドポイント別性能、DBクエリ、キャッシュ効率、エラー調査、実行環境を示します。",
        range_h: 1,
        refresh: "30s",
        choices: &[ROUTE, INSTANCE],
        rows: Vec::new(),
    }
    .row("Now", now())
    .row("Endpoints", endpoints())
    .row("Database and Redis", stores())
    .row("Caches", caches())
    .row("Errors", errors())
    .row("Runtime", runtime())
}

/// The choice of routes.
const CHOSEN: &str = r#"route=~"$route""#;

fn by_route(quantile: &str, window: &str) -> String {
    format!(
        "histogram_quantile({quantile}, sum by (route, le) (rate(techsapo_http_request_duration_seconds_bucket{{{CHOSEN}}}[{window}])))"
    )
}

fn now() -> Vec<Panel> {
    vec![
        stat("Requests", "Requests each second on the routes chosen.", "選択したルートの毎秒リクエスト数。")
            .unit(Unit::RequestsPerSecond)
            .decimals(2)
            .colours(Palette::One(Colour::Blue))
            .query(format!("sum(rate(techsapo_http_requests_total{{{CHOSEN}}}[{RATE}]))")),
        stat("Median response time", "Half of the requests of the last 5 minutes on the routes chosen were faster.", "選択したルートの応答時間の中央値（直近5分間）。")
            .unit(Unit::Seconds)
            .decimals(2)
            .bad_above(2.0, 5.0)
            .idle("No requests")
            .query(format!("histogram_quantile(0.5, sum by (le) (rate(techsapo_http_request_duration_seconds_bucket{{{CHOSEN}}}[5m])))")),
        stat("Server errors", "Share of the requests on the routes chosen answered with 5xx.", "選択したルートで5xxを返した割合。")
            .unit(Unit::Share)
            .decimals(2)
            .bad_above(0.001, 0.01)
            .idle("No requests")
            .query(format!(
                "(sum(rate(techsapo_http_requests_total{{{CHOSEN},status_code=~\"5..\"}}[{RATE}])) or vector(0)) \
                 / (sum(rate(techsapo_http_requests_total{{{CHOSEN}}}[{RATE}])) > 0)"
            )),
        stat("Errors per minute", "Failures of any part, as the app states them.", "アプリが記録した毎分のエラー数。")
            .decimals(1)
            .bad_above(10.0, 60.0)
            .query(format!("60 * (sum(rate(techsapo_errors_total[{RATE}])) or vector(0))")),
        stat("Failed statements", "Share of MySQL statements that failed or timed out.", "失敗したMySQL文の割合。")
            .unit(Unit::Share)
            .decimals(2)
            .bad_above(0.001, 0.01)
            .idle("No statements")
            .query(format!(
                "sum(rate(techsapo_mysql_queries_total{{status!=\"success\"}}[{RATE}])) \
                 / (sum(rate(techsapo_mysql_queries_total[{RATE}])) > 0)"
            )),
        stat("Largest heap", "Used heap of the instance that uses most.", "最も多く使っているインスタンスのヒープ使用量。")
            .unit(Unit::Bytes)
            .decimals(1)
            .colours(Palette::One(Colour::Blue))
            .query(r#"max(nodejs_heap_size_used_bytes{app_instance=~"$app_instance"})"#),
    ]
}

fn endpoints() -> Vec<Panel> {
    let count = format!("sum by (route) (rate(techsapo_http_requests_total{{{CHOSEN}}}[{RANGE}]))");
    let failed = format!(
        "sum by (route) (rate(techsapo_http_requests_total{{{CHOSEN},status_code=~\"5..\"}}[{RANGE}]))"
    );
    vec![
        table("Endpoints", "Each route in the time shown. Long-lived streams have no duration.", "表示期間のルート別の値。長時間のストリームには応答時間がありません。")
            .high(8).idle("No requests")
            .column("Requests per second", Unit::RequestsPerSecond, &count)
            .column("Median", Unit::Seconds, by_route("0.50", RANGE))
            .column("p95", Unit::Seconds, by_route("0.95", RANGE))
            .column("p99", Unit::Seconds, by_route("0.99", RANGE))
            .column("Server errors", Unit::Share, format!("({failed} or 0 * {count}) / ({count} > 0)")),
        areas("Requests by route", "Requests each second.", "ルート別の毎秒リクエスト数。")
            .wide(8).unit(Unit::RequestsPerSecond).zero_based()
            .line(format!("sum by (method, route) (rate(techsapo_http_requests_total{{{CHOSEN}}}[{RATE}]))"), "{{method}} {{route}}"),
        lines("Response time by route, p95", "95 of 100 requests were answered faster.", "ルート別応答時間の95パーセンタイル。")
            .wide(8).unit(Unit::Seconds).zero_based()
            .line(by_route("0.95", RATE), "{{route}}"),
        lines("Body sizes, p95", "95 of 100 bodies were smaller.", "リクエスト・レスポンス本文サイズの95パーセンタイル。")
            .wide(8).unit(Unit::Bytes).zero_based()
            .colours(Palette::Named(&[("request", Colour::Blue), ("response", Colour::Orange)]))
            .line(format!("histogram_quantile(0.95, sum by (le) (rate(techsapo_http_request_size_bytes_bucket[{RATE}])))"), "request")
            .line(format!("histogram_quantile(0.95, sum by (le) (rate(techsapo_http_response_size_bytes_bucket[{RATE}])))"), "response"),
    ]
}

fn stores() -> Vec<Panel> {
    vec![
        areas("MySQL statements", "Statements each second by what they do.", "種類別の毎秒MySQL文数。")
            .wide(8)
            .unit(Unit::PerSecond)
            .zero_based()
            .line(
                format!("sum by (query_type) (rate(techsapo_mysql_queries_total[{RATE}])) > 0"),
                "{{query_type}}",
            ),
        areas(
            "Redis operations",
            "Operations each second of cache, limits and budget.",
            "種類別の毎秒Redis操作数。",
        )
        .wide(8)
        .unit(Unit::PerSecond)
        .zero_based()
        .line(
            format!("sum by (operation) (rate(techsapo_redis_operations_total[{RATE}])) > 0"),
            "{{operation}}",
        ),
        lines(
            "Failures and connections",
            "Failed and timed-out operations each minute; open connections of the Redis pools.",
            "失敗した操作数（毎分）とRedis接続数。",
        )
        .wide(8)
        .decimals(1)
        .zero_based()
        .line(
            format!(
                "60 * sum by (status) (rate(techsapo_mysql_queries_total{{status!=\"success\"}}[{RATE}]))"
            ),
            "MySQL {{status}}",
        )
        .line(
            format!(
                "60 * sum by (status) (rate(techsapo_redis_operations_total{{status!=\"success\"}}[{RATE}]))"
            ),
            "Redis {{status}}",
        )
        .line("max(techsapo_redis_connection_pool_size)", "Redis connections"),
    ]
}

fn caches() -> Vec<Panel> {
    vec![
        stat("Cache hits", "Share of the look-ups of the last 5 minutes that found an answer. Below 80 % for half an hour an alert fires.", "直近5分間のキャッシュヒット率。80 %未満が30分続くと警報が出ます。")
            .wide(6).high(7).unit(Unit::Share).decimals(1).good_above(0.8, 0.5).idle("No look-ups")
            .line("max by (cache_type) (techsapo_cache_hit_ratio)", "{{cache_type}}"),
        lines("Cache hits over time", "The same as it went. Gaps: nothing was looked up.", "キャッシュヒット率の推移。空白は参照のない時間です。")
            .wide(10).high(7).unit(Unit::Share).between(0.0, 1.0).good_above(0.8, 0.5).idle("No look-ups")
            .line("max by (cache_type) (techsapo_cache_hit_ratio)", "{{cache_type}}"),
        lines("Look-ups", "Cache look-ups each second, as events counted.", "毎秒のキャッシュ参照数。")
            .wide(8).high(7).unit(Unit::PerSecond).zero_based().colours(Palette::One(Colour::Blue))
            .line(format!("sum(rate(techsapo_telemetry_events_total{{type=\"cache_lookup\"}}[{RATE}]))"), "look-ups"),
    ]
}

fn errors() -> Vec<Panel> {
    vec![
        table("Most frequent errors", "The twenty most frequent failures of the time shown.", "表示期間に最も多かったエラー20種。")
            .wide(12).idle("No errors")
            .column("Count", Unit::Count, format!("topk(20, sum by (service, error_type, severity) (increase(techsapo_errors_total[{RANGE}])) > 0)")),
        areas("Errors per minute by severity", "Failures each minute.", "深刻度別の毎分のエラー数。")
            .wide(6).unit(Unit::PerMinute).zero_based().idle("No errors")
            .colours(Palette::Named(&[("info", Colour::Blue), ("warning", Colour::Yellow), ("error", Colour::Orange), ("critical", Colour::Red)]))
            .line(format!("60 * sum by (severity) (rate(techsapo_errors_total[{RATE}]))"), "{{severity}}"),
        bars("Failed requests by route", "Requests of the time shown answered with 4xx or 5xx.", "表示期間に4xx・5xxで応答したリクエスト数（ルート別）。")
            .wide(6).decimals(0).zero_based().idle("No failed requests").colours(Palette::One(Colour::Orange))
            .now(format!("sort_desc(sum by (route, status_code) (increase(techsapo_http_requests_total{{{CHOSEN},status_code=~\"[45]..\"}}[{RANGE}])) > 0)"), "{{status_code}} {{route}}"),
    ]
}

fn runtime() -> Vec<Panel> {
    let late = |family: &str| {
        format!(
            "histogram_quantile(0.99, sum by (app_instance, le) (rate({family}_bucket{{app_instance=~\"$app_instance\"}}[{RATE}])))"
        )
    };
    vec![
        lines(
            "Heap",
            "Used heap of each instance, and what the runtime holds for it.",
            "インスタンスごとのヒープ使用量と確保量。",
        )
        .wide(8)
        .unit(Unit::Bytes)
        .zero_based()
        .line(
            r#"max by (app_instance) (nodejs_heap_size_used_bytes{app_instance=~"$app_instance"})"#,
            "{{app_instance}} used",
        )
        .line(
            r#"max by (app_instance) (nodejs_heap_size_total_bytes{app_instance=~"$app_instance"})"#,
            "{{app_instance}} held",
        ),
        lines(
            "Scheduler lag, p99",
            "How late timers fire: event-loop lag in Node.js, scheduler lag in the Rust app.",
            "タイマー遅延の99パーセンタイル（Node.jsのイベントループ遅延に相当）。",
        )
        .wide(8)
        .unit(Unit::Seconds)
        .zero_based()
        .line(late("nodejs_eventloop_lag_seconds"), "{{app_instance}}"),
        lines(
            "Garbage collection, p99",
            "Pauses of producers that collect garbage. The Rust app has none.",
            "GC停止時間の99パーセンタイル。Rust版アプリにはGCがありません。",
        )
        .wide(8)
        .unit(Unit::Seconds)
        .zero_based()
        .idle("No garbage collection")
        .line(late("nodejs_gc_duration_seconds"), "{{app_instance}}"),
    ]
}
