//! LLM Provider: how each provider answers, how well, how much it is used, and what goes wrong.

use crate::model::{Colour, Dashboard, Folder, Palette, Panel, Unit, areas, bars, lines, stat, states};
use crate::parts::{self, PROVIDER, PROVIDERS, RANGE, RATE, STATUSES};

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        folder: Folder::Overview,
        uid: "techsapo-llm",
        title: "TechSapo / LLM Provider",
        english: "Each provider's response time, success and quality; how much it is used; what goes wrong.",
        japanese: "プロバイダー別の応答時間・成功率・品質、利用量と費用効率、エラーを示します。",
        range_h: 3,
        refresh: "30s",
        choices: &[PROVIDER],
        rows: Vec::new(),
    }
    .row("Now", now())
    .row("Response time", response_time())
    .row("Quality", quality())
    .row("Use and cost efficiency", usage())
    .row("Errors", errors())
}

fn now() -> Vec<Panel> {
    vec![
        stat(
            "Success rate now",
            "Share of each provider's calls of the last 5 minutes that succeeded; refused ones do not count.",
            "直近5分間のプロバイダー別成功率（拒否分を除く）。",
        )
        .wide(12)
        .unit(Unit::Share)
        .decimals(1)
        .good_above(0.95, 0.9)
        .idle("No calls")
        .line(
            r#"max by (provider) (techsapo_llm_success_rate_by_provider{provider=~"$provider"})"#,
            "{{provider}}",
        ),
        stat(
            "Response time now, p95",
            "95 of 100 calls of the last 5 minutes were answered faster.",
            "直近5分間のプロバイダー別応答時間の95パーセンタイル。",
        )
        .wide(12)
        .unit(Unit::Seconds)
        .decimals(2)
        .bad_above(10.0, 30.0)
        .idle("No calls")
        .line(parts::provider_time("0.95", "5m"), "{{provider}}"),
    ]
}

fn response_time() -> Vec<Panel> {
    vec![
        lines("Response time, p95", "95 of 100 calls were answered faster, retries included.", "応答時間の95パーセンタイル（再試行を含む）。")
            .wide(8).unit(Unit::Seconds).zero_based().colours(PROVIDERS)
            .line(parts::provider_time("0.95", RATE), "{{provider}}"),
        lines("Response time, median", "Half of the calls were answered faster.", "応答時間の中央値。")
            .wide(8).unit(Unit::Seconds).zero_based().colours(PROVIDERS)
            .line(parts::provider_time("0.50", RATE), "{{provider}}"),
        bars("Mean response time by model", "Mean over the time shown. Of models that were not asked nothing stands here.", "表示期間のモデル別平均応答時間。")
            .unit(Unit::Seconds).decimals(2).zero_based().idle("No calls")
            .now(
                format!("sort_desc(sum by (model) (rate(techsapo_llm_response_time_seconds_sum{{provider=~\"$provider\"}}[{RANGE}])) / (sum by (model) (rate(techsapo_llm_response_time_seconds_count{{provider=~\"$provider\"}}[{RANGE}])) > 0))"),
                "{{model}}",
            ),
    ]
}

fn quality() -> Vec<Panel> {
    vec![
        lines("Success rate", "Share of calls of the last 5 minutes that succeeded.", "直近5分間の成功率の推移。")
            .wide(8).unit(Unit::Share).up_to(1.0).colours(PROVIDERS).idle("No calls")
            .line(r#"max by (provider) (techsapo_llm_success_rate_by_provider{provider=~"$provider"})"#, "{{provider}}"),
        lines("Quality score", "Share of calls that succeed × mean agreement with the others' answers, over the quarter hour before each moment.", "品質スコア＝成功率×他の回答との平均一致度（直前15分間）。")
            .wide(8).unit(Unit::Share).up_to(1.0).colours(PROVIDERS).idle("No answers")
            .line(parts::quality("15m"), "{{provider}}"),
        bars("Agreement of pairs", "Mean agreement of two providers' answers to the same question, over the time shown.", "同じ質問に対する2プロバイダー間の平均一致度（表示期間）。")
            .unit(Unit::Share).decimals(1).between(0.0, 1.0).good_above(0.8, 0.6).colours(Palette::Thresholds).idle("No pairs")
            .now(
                format!("sort_desc(sum by (provider_pair) (rate(techsapo_llm_agreement_score_sum[{RANGE}])) / (sum by (provider_pair) (rate(techsapo_llm_agreement_score_count[{RANGE}])) > 0))"),
                "{{provider_pair}}",
            ),
    ]
}

fn usage() -> Vec<Panel> {
    vec![
        areas("Calls per minute by provider", "Finished calls each minute, refused ones included.", "プロバイダー別の毎分の呼び出し数（拒否分を含む）。")
            .wide(8).unit(Unit::PerMinute).zero_based().colours(PROVIDERS)
            .line(format!("60 * sum by (provider) (rate(techsapo_llm_requests_total{{provider=~\"$provider\"}}[{RATE}]))"), "{{provider}}"),
        areas("Tokens per minute by provider", "Billable tokens each minute, input and output together.", "プロバイダー別の毎分のトークン数（入力＋出力）。")
            .wide(8).unit(Unit::PerMinute).zero_based().colours(PROVIDERS)
            .line(format!("60 * sum by (provider) (rate(techsapo_llm_token_usage_total{{provider=~\"$provider\"}}[{RATE}]))"), "{{provider}}"),
        lines("Cost efficiency", "Answers for one US dollar, over the quarter hour before each moment.", "1ドルあたりの回答数（直前15分間）。")
            .wide(8).zero_based().decimals(0).colours(PROVIDERS).idle("No answers")
            .line(format!("1 / ({} > 0)", parts::cost_per_answer("15m")), "{{provider}}"),
    ]
}

fn errors() -> Vec<Panel> {
    vec![
        lines("Error rate by provider", "Share of calls that failed or timed out. Above 5 % an alert fires.", "失敗またはタイムアウトした呼び出しの割合。5 %を超えると警報が出ます。")
            .wide(8).unit(Unit::Share).zero_based().bad_above(0.02, 0.05).colours(PROVIDERS)
            .line(parts::provider_failure(RATE), "{{provider}}"),
        areas("Calls per minute without an answer", "Calls each minute that failed, timed out or were refused before they were made.", "失敗・タイムアウト・事前拒否となった毎分の呼び出し数。")
            .wide(8).unit(Unit::PerMinute).zero_based().colours(STATUSES)
            .line(format!("60 * sum by (status) (rate(techsapo_llm_requests_total{{provider=~\"$provider\",status!=\"success\"}}[{RATE}]))"), "{{status}}"),
        states(
            &[(0, "closed", Colour::Green), (1, "half open", Colour::Yellow), (2, "open", Colour::Red)],
            "Circuit breakers",
            "Open: the provider keeps failing and is not called. Half open: one call finds out whether it is well again. The worst instance counts.",
            "open＝障害続きで呼び出し停止中、half open＝回復確認中。最も悪いインスタンスの状態を示します。",
        )
        .line(
            r#"max by (service) (2 * techsapo_circuit_breaker_state{state="open",service=~"$provider"} or techsapo_circuit_breaker_state{state="half_open",service=~"$provider"})"#,
            "{{service}}",
        ),
        areas("Errors per minute by kind", "Failures of providers each minute by kind.", "種類別の毎分のプロバイダー障害数。")
            .wide(16).unit(Unit::PerMinute).zero_based().idle("No errors")
            .line(format!("60 * sum by (error_type) (rate(techsapo_errors_total{{service=~\"$provider\"}}[{RATE}]))"), "{{error_type}}"),
        bars("Errors by provider", "Failures in the time shown.", "表示期間のプロバイダー別障害数。")
            .decimals(0).zero_based().colours(PROVIDERS).idle("No errors")
            .now(format!("sort_desc(sum by (service) (increase(techsapo_errors_total{{service=~\"$provider\"}}[{RANGE}])))"), "{{service}}"),
    ]
}
