//! Operations: for those on call. What runs, what is slow, what fails, and whether measuring itself is well.

use crate::model::{Colour, Dashboard, Folder, Palette, Panel, Unit, areas, lines, stat, states, table};
use crate::parts::{self, INSTANCE, PROVIDER, PROVIDERS, RATE, STATUSES, TASKS};

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        folder: Folder::Engineering,
        uid: "techsapo-operations",
        title: "TechSapo / Operations",
        english: "For those on call: analyses, providers compared, trends of errors and latency, infrastructure, measuring.",
        japanese: "運用担当者向け。分析性能、プロバイダー比較、エラーと遅延の傾向、基盤、計測系の状態を示します。",
        range_h: 1,
        refresh: "15s",
        choices: &[PROVIDER, INSTANCE],
        rows: Vec::new(),
    }
    .row("Now", now())
    .row("Wall-bounce", wall_bounce())
    .row("Providers", providers())
    .row("Errors and latency", trends())
    .row("Infrastructure", infrastructure())
    .row("Callers", callers())
    .row("Measuring", measuring())
}

fn now() -> Vec<Panel> {
    vec![
        stat("Alerts firing", "Alerts that fire now, without the dead-man's switch.", "発報中の警報の数（死活監視用を除く）。")
            .decimals(0)
            .bad_above(1.0, 3.0)
            .query(r#"count(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)"#),
        stat("Targets down", "Targets that Prometheus could not scrape.", "応答しない監視対象の数。")
            .decimals(0)
            .bad_above(1.0, 1.0)
            .query("sum(1 - up)"),
        stat("Open breakers", "Services that some instance does not call at present because they keep failing.", "障害続きのため呼び出しを止めているサービスの数。")
            .decimals(0)
            .bad_above(1.0, 2.0)
            .query(r#"sum(max by (service) (techsapo_circuit_breaker_state{state="open"}))"#),
        stat("Failed calls", "Share of the calls to providers of the last 5 minutes that failed or timed out.", "直近5分間のプロバイダー呼び出しの失敗率。")
            .unit(Unit::Share)
            .decimals(1)
            .bad_above(0.02, 0.05)
            .idle("No calls")
            .query(
                r#"sum(rate(techsapo_llm_requests_total{status=~"error|timeout"}[5m])) / (sum(rate(techsapo_llm_requests_total{status!="rejected"}[5m])) > 0)"#,
            ),
        stat("Response time, p95", "95 of 100 API requests of the last 5 minutes were answered faster.", "直近5分間のAPI応答時間の95パーセンタイル。")
            .unit(Unit::Seconds)
            .decimals(2)
            .bad_above(5.0, 10.0)
            .idle("No requests")
            .query("max(techsapo_http_p95_response_time)"),
        stat("Redis failures in a row", "Of the app's operations, in the worst instance. From 3 on an alert fires.", "Redis操作の連続失敗数（最も悪いインスタンス）。3回で警報が出ます。")
            .decimals(0)
            .bad_above(1.0, 3.0)
            .query("max(techsapo_redis_consecutive_failures)"),
    ]
}

fn wall_bounce() -> Vec<Panel> {
    let confidence = |quantile: &str| {
        format!(
            "histogram_quantile({quantile}, sum by (le) (rate(techsapo_wallbounce_consensus_confidence_bucket[{RATE}])))"
        )
    };
    vec![
        areas("Analyses per minute by outcome", "Analyses each minute by how they ended.", "結果別の毎分の分析数。")
            .wide(8).unit(Unit::PerMinute).zero_based().colours(STATUSES)
            .line(format!("60 * sum by (status) (rate(techsapo_wallbounce_requests_total[{RATE}]))"), "{{status}}"),
        lines("Mean duration", "How long analyses take on average, by task type.", "タスク種別ごとの平均分析時間。")
            .wide(8).unit(Unit::Seconds).zero_based().colours(TASKS)
            .line(
                format!("sum by (task_type) (rate(techsapo_wallbounce_processing_duration_seconds_sum[{RATE}])) / (sum by (task_type) (rate(techsapo_wallbounce_processing_duration_seconds_count[{RATE}])) > 0)"),
                "{{task_type}}",
            ),
        lines("Spread of confidence", "Half of the fresh analyses lie between the outer lines, half above the middle one.", "新規分析の信頼度の四分位（25・50・75パーセンタイル）。")
            .wide(8).unit(Unit::Share).up_to(1.0)
            .colours(Palette::Named(&[("upper", Colour::Green), ("median", Colour::Blue), ("lower", Colour::Orange)]))
            .line(confidence("0.75"), "upper quarter").line(confidence("0.50"), "median").line(confidence("0.25"), "lower quarter"),
    ]
}

fn providers() -> Vec<Panel> {
    vec![
        table("Providers compared", "The last 15 minutes. A breaker that is open on some instance shows as 1.", "直近15分間の比較。いずれかのインスタンスで遮断中なら1。")
            .high(7).wide(16).idle("No calls")
            .column("Calls per minute", Unit::Count, r#"60 * sum by (provider) (rate(techsapo_llm_requests_total{provider=~"$provider"}[15m]))"#)
            .column("Success", Unit::Share, parts::provider_success("15m"))
            .column("Mean time", Unit::Seconds, r#"sum by (provider) (rate(techsapo_llm_response_time_seconds_sum{provider=~"$provider"}[15m])) / (sum by (provider) (rate(techsapo_llm_response_time_seconds_count{provider=~"$provider"}[15m])) > 0)"#)
            .column("p95", Unit::Seconds, parts::provider_time("0.95", "15m"))
            .column("Quality", Unit::Share, parts::quality("15m"))
            .column("Cost per hour", Unit::Usd, r#"3600 * sum by (provider) (rate(techsapo_wallbounce_cost_usd{provider=~"$provider"}[15m]))"#)
            .column("Breaker open", Unit::Count, r#"max by (provider) (label_replace(techsapo_circuit_breaker_state{state="open",service=~"$provider"}, "provider", "$1", "service", "(.+)"))"#),
        states(
            &[(0, "closed", Colour::Green), (1, "half open", Colour::Yellow), (2, "open", Colour::Red)],
            "Circuit breakers",
            "Of providers and stores. Open: it keeps failing and is not called. The worst instance counts.",
            "プロバイダーとストアの遮断器。open＝障害続きで呼び出し停止中。最も悪いインスタンスの状態です。",
        )
        .high(7)
        .line(
            r#"max by (service) (2 * techsapo_circuit_breaker_state{state="open"} or techsapo_circuit_breaker_state{state="half_open"})"#,
            "{{service}}",
        ),
    ]
}

fn trends() -> Vec<Panel> {
    vec![
        lines(
            "Error rate by provider",
            "Share of calls that failed or timed out. Above 5 % an alert fires.",
            "失敗またはタイムアウトした呼び出しの割合。5 %を超えると警報が出ます。",
        )
        .wide(8)
        .unit(Unit::Share)
        .zero_based()
        .bad_above(0.02, 0.05)
        .colours(PROVIDERS)
        .line(parts::provider_failure(RATE), "{{provider}}"),
        lines(
            "Latency by provider, p95",
            "95 of 100 calls were answered faster.",
            "プロバイダー別応答時間の95パーセンタイル。",
        )
        .wide(8)
        .unit(Unit::Seconds)
        .zero_based()
        .colours(PROVIDERS)
        .line(parts::provider_time("0.95", RATE), "{{provider}}"),
        areas(
            "Errors per minute by service",
            "Failures each minute by the part that failed.",
            "障害箇所別の毎分のエラー数。",
        )
        .wide(8)
        .unit(Unit::PerMinute)
        .zero_based()
        .idle("No errors")
        .line(format!("60 * sum by (service) (rate(techsapo_errors_total[{RATE}]))"), "{{service}}"),
    ]
}

fn infrastructure() -> Vec<Panel> {
    vec![
        states(
            &[(0, "down", Colour::Red), (1, "up", Colour::Green)],
            "Targets",
            "Whether Prometheus could scrape each job's targets; down if one of them is.",
            "監視対象の稼働状況。1つでも応答しなければdownです。",
        )
        .line("min by (job) (up)", "{{job}}"),
        lines("Memory", "Resident memory of each part, over live instances.", "構成要素ごとのメモリ使用量。")
            .wide(8).unit(Unit::Bytes).zero_based()
            .line(r#"max by (component) (techsapo_memory_usage_bytes{component!="host"})"#, "{{component}}"),
        lines("Connections", "Open connections of all live instances.", "全インスタンスの接続数。")
            .wide(8).decimals(0).zero_based()
            .line("max by (connection_type) (techsapo_active_connections)", "{{connection_type}}"),
        lines("Queues", "What waits: events for the exporter (journal), facts for the audit, questions for a place.", "待ち行列の長さ（計測イベント・監査・分析）。")
            .wide(8).decimals(0).zero_based()
            .line("max by (queue_name) (techsapo_queue_size)", "{{queue_name}}"),
        lines("Redis and MySQL failures", "Operations each minute that failed or timed out; failures of Redis in a row.", "失敗した操作数（毎分）とRedisの連続失敗数。")
            .wide(8).decimals(1).zero_based()
            .line(format!("60 * sum(rate(techsapo_redis_operations_total{{status!=\"success\"}}[{RATE}]))"), "Redis, per minute")
            .line(format!("60 * sum(rate(techsapo_mysql_queries_total{{status!=\"success\"}}[{RATE}]))"), "MySQL, per minute")
            .line("max(techsapo_redis_consecutive_failures)", "Redis, in a row"),
        lines("Scheduler lag, p99", "How late timers fire in each instance: an overloaded runtime shows here first.", "インスタンスごとのタイマー遅延の99パーセンタイル。過負荷の兆候です。")
            .wide(8).unit(Unit::Seconds).zero_based()
            .line(
                format!("histogram_quantile(0.99, sum by (app_instance, le) (rate(nodejs_eventloop_lag_seconds_bucket{{app_instance=~\"$app_instance\"}}[{RATE}])))"),
                "{{app_instance}}",
            ),
    ]
}

fn callers() -> Vec<Panel> {
    vec![
        areas(
            "Callers refused per minute",
            "Callers turned away each minute, by reason. Above 10 a minute an alert fires.",
            "理由別の毎分の認証拒否数。毎分10件を超えると警報が出ます。",
        )
        .wide(8)
        .unit(Unit::PerMinute)
        .zero_based()
        .line(format!("60 * sum by (reason) (rate(techsapo_auth_failures_total[{RATE}]))"), "{{reason}}"),
        areas(
            "Findings in prompts per minute",
            "What sanitisation found each minute, by type, refused or not.",
            "入力検査の検出数（種類別、毎分）。",
        )
        .wide(8)
        .unit(Unit::PerMinute)
        .zero_based()
        .line(format!("60 * sum by (type) (rate(techsapo_input_sanitization_total[{RATE}]))"), "{{type}}"),
        areas(
            "Unusual requests and limits, per minute",
            "Anomalies by type, and requests refused by a rate limit, each minute.",
            "異常な要求と流量制限による拒否（毎分）。",
        )
        .wide(8)
        .unit(Unit::PerMinute)
        .zero_based()
        .line(format!("60 * sum by (type) (rate(techsapo_anomaly_requests_total[{RATE}]))"), "{{type}}")
        .line(format!("60 * (sum(rate(techsapo_rate_limit_hits_total[{RATE}])) or vector(0))"), "rate limit"),
    ]
}

fn measuring() -> Vec<Panel> {
    vec![
        stat("Exporter's lag", "How old the newest event read is while newer ones wait; 0 when it is up to date.", "エクスポーターの遅延。最新なら0。")
            .unit(Unit::Seconds).decimals(1).bad_above(10.0, 60.0)
            .query("max(techsapo_exporter_lag_seconds)"),
        stat("Journal used", "The fullest journal. When it is full, events are dropped and counted.", "最も埋まっているジャーナルの使用率。満杯になると計測イベントを破棄（計数）します。")
            .unit(Unit::Share).decimals(1).bad_above(0.5, 0.8)
            .query("max(techsapo_telemetry_journal_used_bytes / techsapo_telemetry_journal_capacity_bytes)"),
        stat("Events lost or dropped", "In the time shown. Zero unless a disk failed or a journal was full.", "表示期間に失われた計測イベント数。通常は0です。")
            .decimals(0).bad_above(1.0, 100.0)
            .now("sum(increase(techsapo_telemetry_lost_events_total[$__range])) + sum(increase(techsapo_telemetry_dropped_total[$__range]))", "lost"),
        stat("Events rejected", "Events and batches of the time shown that are none by the contract; copies are in the quarantine stream.", "表示期間に契約違反で隔離されたイベント数。")
            .decimals(0).bad_above(1.0, 100.0)
            .now("sum(increase(techsapo_telemetry_rejected_events_total[$__range])) + sum(increase(techsapo_telemetry_rejected_batches_total[$__range]))", "rejected"),
        stat("Age of the checkpoint", "Time since all that was read was last known to be durable.", "最後に永続化が確認されてからの時間。")
            .unit(Unit::Seconds).decimals(1).bad_above(10.0, 60.0)
            .query("max(techsapo_exporter_checkpoint_age_seconds)"),
        stat("Holders", "Exporters that hold the state and serve it. It must be one.", "状態を保持し提供しているエクスポーターの数。常に1であるべきです。")
            .decimals(0).good_above(1.0, 1.0)
            .query("sum(techsapo_exporter_leader)"),
        areas("Events counted", "Events each second by type, each counted exactly once.", "種類別の毎秒イベント数（各1回だけ計数）。")
            .wide(24).high(7).unit(Unit::PerSecond).zero_based()
            .line(format!("sum by (type) (rate(techsapo_telemetry_events_total[{RATE}])) > 0"), "{{type}}"),
    ]
}
