//! Cost Management: what is spent, how much of the budget is left, and who gives most for the money.

use crate::model::{Colour, Dashboard, Folder, Palette, Panel, Unit, areas, bars, lines, name, stat, table};
use crate::parts::{self, PROVIDER, PROVIDERS, RANGE, RATE, TASKS};

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        folder: Folder::Business,
        uid: "techsapo-cost",
        title: "TechSapo / Cost Management",
        english: "What answers cost, how much of the budget is used, and which provider gives most quality for its money.",
        japanese: "回答の費用、予算の消化状況、費用対品質で推奨されるプロバイダーを示します。",
        range_h: 24,
        refresh: "30s",
        choices: &[PROVIDER],
        rows: Vec::new(),
    }
    .row("Now", now())
    .row("Where the money goes", spending())
    .row("Budget", budget())
    .row("Cost and quality", quality())
}

fn now() -> Vec<Panel> {
    vec![
        stat("Cost per hour", "What an hour costs at the pace of the last 5 minutes.", "直近5分間のペースでの1時間あたり費用。")
            .unit(Unit::Usd).decimals(2).colours(Palette::One(Colour::Blue))
            .query("3600 * sum(rate(techsapo_wallbounce_cost_usd[5m]))"),
        stat("Cost of the last 24 hours", "What all providers' calls of the last 24 hours cost.", "直近24時間の総費用。")
            .unit(Unit::Usd).decimals(2).colours(Palette::One(Colour::Blue))
            .now("sum(increase(techsapo_wallbounce_cost_usd[24h]))", "24 hours"),
        stat("Daily budget used", "Spent share of today's budget, simulated cost included. Above 80 % an alert fires.", "本日の予算消化率（模擬費用を含む）。80 %を超えると警報が出ます。")
            .unit(Unit::Percent).decimals(1).bad_above(80.0, 100.0)
            .query(r#"max(techsapo_budget_utilization_percent{period="daily"})"#),
        stat("Monthly budget used", "Spent share of this month's budget. Above 80 % for an hour an alert fires.", "今月の予算消化率。80 %超が1時間続くと警報が出ます。")
            .unit(Unit::Percent).decimals(1).bad_above(80.0, 100.0)
            .query(r#"max(techsapo_budget_utilization_percent{period="monthly"})"#),
        stat("Cost per analysis", "Mean cost of the analyses shown, failed ones included.", "表示期間の分析1件あたりの平均費用（失敗分を含む）。")
            .unit(Unit::Usd).decimals(4).colours(Palette::One(Colour::Blue)).idle("No analyses")
            .now(
                format!("sum(increase(techsapo_wallbounce_cost_usd[{RANGE}])) / (sum(increase(techsapo_wallbounce_requests_total{{status!=\"rejected\"}}[{RANGE}])) > 0)"),
                "per analysis",
            ),
        name("Recommended provider", "Most quality for each US cent, among the providers whose quality is at least nine tenths of the best. Quality: share of calls that succeed × mean agreement with the others' answers.", "品質が最良の9割以上のプロバイダーのうち、1セントあたりの品質が最も高いもの。品質＝成功率×他の回答との平均一致度。")
            .decimals(2).unit(Unit::QualityPerCent)
        .idle("Too few answers")
            .now(parts::recommended(RANGE), "{{provider}}"),
    ]
}

fn spending() -> Vec<Panel> {
    vec![
        areas("Cost per hour by provider", "What each provider costs in an hour at the pace of the moment.", "プロバイダー別の1時間あたり費用（現在のペース）。")
            .wide(16).unit(Unit::Usd).decimals(2).zero_based().colours(PROVIDERS)
            .line(format!("3600 * sum by (provider) (rate(techsapo_wallbounce_cost_usd{{provider=~\"$provider\"}}[{RATE}]))"), "{{provider}}"),
        bars("Cost by provider", "What each provider cost in the time shown.", "表示期間のプロバイダー別費用。")
            .unit(Unit::Usd).decimals(2).zero_based().colours(PROVIDERS)
            .now(format!("sort_desc(sum by (provider) (increase(techsapo_wallbounce_cost_usd{{provider=~\"$provider\"}}[{RANGE}])))"), "{{provider}}"),
        areas("Cost per hour by task type", "What basic, premium and critical analyses cost in an hour.", "タスク種別ごとの1時間あたり費用。")
            .wide(8).unit(Unit::Usd).decimals(2).zero_based().colours(TASKS)
            .line(format!("3600 * sum by (task_type) (rate(techsapo_wallbounce_cost_usd{{provider=~\"$provider\"}}[{RATE}]))"), "{{task_type}}"),
        areas("Tokens per minute", "Billable tokens that providers read (input) and wrote (output).", "プロバイダーが課金対象として報告した毎分の入力・出力トークン数。")
            .wide(8).unit(Unit::PerMinute).zero_based()
            .colours(Palette::Named(&[("^input", Colour::Blue), ("^output", Colour::Orange)]))
            .line(format!("60 * sum by (type) (rate(techsapo_llm_token_usage_total{{provider=~\"$provider\"}}[{RATE}]))"), "{{type}}"),
        bars("Cost by vendor", "What each vendor bills for the time shown; simulated providers are billed by nobody, and stand apart.", "表示期間の請求元別費用。模擬プロバイダーの分は請求されません。")
            .unit(Unit::Usd).decimals(2).zero_based()
            .now(format!("sum by (provider) (increase(techsapo_provider_cost_usd[{RANGE}]))"), "{{provider}}"),
    ]
}

fn budget() -> Vec<Panel> {
    vec![
        lines(
            "Budget used",
            "Spent share of the calendar day's and month's budget. Simulated cost is in it; real providers are refused when real cost alone reaches the limit.",
            "暦日・暦月の予算消化率。模擬費用を含みます。実プロバイダーの拒否は実費用だけで判断します。",
        )
        .wide(16)
        .unit(Unit::Percent)
        .zero_based()
        .bad_above(80.0, 100.0)
        .colours(Palette::Named(&[("^daily", Colour::Blue), ("^monthly", Colour::Purple)]))
        .line("max by (period) (techsapo_budget_utilization_percent)", "{{period}}"),
        bars("Budget used now", "The same, as it stands.", "現在の予算消化率。")
            .unit(Unit::Percent)
            .decimals(1)
            .between(0.0, 100.0)
            .bad_above(80.0, 100.0)
            .colours(Palette::Thresholds)
            .line("max by (period) (techsapo_budget_utilization_percent)", "{{period}}"),
    ]
}

fn quality() -> Vec<Panel> {
    vec![
        table("Providers by quality and cost", "The figures behind the recommendation, for the time shown; best value first. Quality: success × agreement. Value: quality for each US cent that an answer costs.", "推奨の根拠となる表示期間の値（費用対品質の高い順）。品質＝成功率×一致度、価値＝回答費用1セントあたりの品質。")
            .high(7).idle("No answers")
            .column("Value", Unit::QualityPerCent, parts::value(RANGE))
            .column("Quality", Unit::Share, parts::quality(RANGE))
            .column("Success", Unit::Share, parts::provider_success(RANGE))
            .column("Agreement", Unit::Share, parts::agreement(RANGE))
            .column("Cost per answer", Unit::Usd, parts::cost_per_answer(RANGE))
            .column("Cost", Unit::Usd, format!("sum by (provider) (increase(techsapo_wallbounce_cost_usd{{provider=~\"$provider\"}}[{RANGE}]))"))
            .column("Answers", Unit::Count, format!("sum by (provider) (increase(techsapo_llm_requests_total{{provider=~\"$provider\",status=\"success\"}}[{RANGE}]))")),
        lines("Quality per US cent", "Quality for each US cent that an answer costs, over the half hour before each moment.", "回答費用1セントあたりの品質（直前30分間）。")
            .unit(Unit::QualityPerCent)
        .zero_based().decimals(1).colours(PROVIDERS).idle("No answers")
            .line(parts::value("30m"), "{{provider}}"),
        lines("Cost per answer", "What an answer costs, over the half hour before each moment.", "回答1件あたりの費用（直前30分間）。")
            .unit(Unit::Usd).decimals(4).zero_based().colours(PROVIDERS).idle("No answers")
            .line(parts::cost_per_answer("30m"), "{{provider}}"),
    ]
}
