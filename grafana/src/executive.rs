//! Executive: does the service keep its promises, how much is it used, what does it cost.

use crate::model::{Colour, Dashboard, Folder, Palette, Panel, Unit, bars, columns, gauge, lines, stat};
use crate::parts::{
    self, AVAILABILITY_PROMISED, LATENCY_PROMISED, PROVIDERS, RANGE, SUCCESS_PROMISED, TASKS,
};

pub(crate) fn dashboard() -> Dashboard {
    Dashboard {
        folder: Folder::Business,
        uid: "techsapo-executive",
        title: "TechSapo / Executive",
        english: "Health, promises kept, volume and cost, for those who answer for the service.",
        japanese: "経営・管理者向け。健全性スコア、SLA遵守、利用量、費用と予算を示します。",
        range_h: 24,
        refresh: "30s",
        choices: &[],
        rows: Vec::new(),
    }
    .row("Health", health())
    .row("Promises (SLA)", promises())
    .row("Volume", volume())
    .row("Cost and budget", cost())
}

fn health() -> Vec<Panel> {
    vec![
        gauge("Health score", "100 × (0.3 availability + 0.3 success + 0.2 answers within 10 s + 0.2 confidence), over the last 15 minutes. What nobody asked for counts as well; 0 when nothing is measured.", "100×（0.3×可用性＋0.3×成功率＋0.2×10秒以内の応答率＋0.2×信頼度）、直近15分間。要求のない項目は満点、計測不能時は0。")
            .between(0.0, 100.0).decimals(1).good_above(90.0, 75.0)
            .line(parts::health(), "health"),
        lines("Health over time", "The health score as it went.", "健全性スコアの推移。")
            .wide(10).between(0.0, 100.0).good_above(90.0, 75.0).colours(Palette::One(Colour::Green))
            .line(parts::health(), "health"),
        stat("Analyses, last 24 hours", "Questions asked, however they ended.", "直近24時間の分析数（結果を問わず）。")
            .decimals(0).colours(Palette::One(Colour::Blue))
            .now("sum(increase(techsapo_wallbounce_requests_total[24h]))", "24 hours"),
        stat("Cost, last 24 hours", "What the providers' calls of the last 24 hours cost.", "直近24時間の費用。")
            .unit(Unit::Usd).decimals(2).colours(Palette::One(Colour::Blue))
            .now("sum(increase(techsapo_wallbounce_cost_usd[24h]))", "24 hours"),
        stat("Analyses, last hour", "Questions asked, however they ended.", "直近1時間の分析数（結果を問わず）。")
            .decimals(0).colours(Palette::One(Colour::Blue))
            .now("sum(increase(techsapo_wallbounce_requests_total[1h]))", "1 hour"),
        stat("Monthly budget used", "Spent share of this month's budget.", "今月の予算消化率。")
            .unit(Unit::Percent).decimals(1).bad_above(80.0, 100.0)
            .query(r#"max(techsapo_budget_utilization_percent{period="monthly"})"#),
    ]
}

fn promises() -> Vec<Panel> {
    let (available, success, in_time) =
        (parts::availability(RANGE), parts::success(RANGE), parts::in_time(RANGE));
    vec![
        stat("Availability (promised: 99.9 %)", "Share of API requests not answered with 5xx, in the time shown.", "5xx以外で応答したAPIリクエストの割合（表示期間、目標99.9 %）。")
            .unit(Unit::Share).decimals(2).good_above(AVAILABILITY_PROMISED, 0.995).idle("No requests")
            .now(&available, "availability"),
        stat("Success (promised: 95 %)", "Share of the analyses made that succeeded, in the time shown.", "成功した分析の割合（表示期間、目標95 %）。")
            .unit(Unit::Share).decimals(2).good_above(SUCCESS_PROMISED, 0.9).idle("No analyses")
            .now(&success, "success"),
        stat("Within 10 s (promised: 95 %)", "Share of API requests answered within 10 seconds, in the time shown.", "10秒以内に応答したAPIリクエストの割合（表示期間、目標95 %）。")
            .unit(Unit::Share).decimals(2).good_above(LATENCY_PROMISED, 0.9).idle("No requests")
            .now(&in_time, "within 10 s"),
        bars("Error budget left", "How much of what may fail in the time shown has not failed yet. Below zero a promise was broken.", "許容される失敗のうち残っている割合（表示期間）。負なら目標未達です。")
            .wide(12).high(4).unit(Unit::Share).decimals(0).between(-1.0, 1.0).good_above(0.25, 0.0).colours(Palette::Thresholds)
            .idle("No requests")
            .now(parts::budget_left(&available, AVAILABILITY_PROMISED), "availability")
            .now(parts::budget_left(&success, SUCCESS_PROMISED), "success")
            .now(parts::budget_left(&in_time, LATENCY_PROMISED), "within 10 s"),
        lines("Promises over time", "The three shares over the half hour before each moment.", "3指標の推移（直前30分間）。")
            .wide(24).high(7).unit(Unit::Share).idle("No requests")
            .colours(Palette::Named(&[("availability", Colour::Blue), ("success", Colour::Green), ("within", Colour::Purple)]))
            .line(parts::availability("30m"), "availability")
            .line(parts::success("30m"), "success")
            .line(parts::in_time("30m"), "within 10 s"),
    ]
}

fn volume() -> Vec<Panel> {
    vec![
        columns(
            "Analyses by task type",
            "Questions asked in each column's time: half an hour when a day is shown, hours when a week is.",
            "各棒の期間の分析数（1日表示では30分単位）。",
        )
        .every("1m")
        .decimals(0)
        .zero_based()
        .colours(TASKS)
        .line(
            "sum by (task_type) (increase(techsapo_wallbounce_requests_total[$__interval]))",
            "{{task_type}}",
        ),
        columns(
            "Analyses by outcome",
            "The same by how they ended; refused: by a limit, the budget or an open breaker.",
            "結果別の分析数。rejectedは制限・予算・遮断による拒否です。",
        )
        .every("1m")
        .decimals(0)
        .zero_based()
        .colours(parts::STATUSES)
        .line("sum by (status) (increase(techsapo_wallbounce_requests_total[$__interval]))", "{{status}}"),
    ]
}

fn cost() -> Vec<Panel> {
    vec![
        columns(
            "Cost by provider",
            "What each provider's calls cost in each column's time.",
            "各棒の期間のプロバイダー別費用。",
        )
        .every("1m")
        .unit(Unit::Usd)
        .decimals(2)
        .zero_based()
        .colours(PROVIDERS)
        .line("sum by (provider) (increase(techsapo_wallbounce_cost_usd[$__interval]))", "{{provider}}"),
        lines(
            "Budget used",
            "Spent share of the calendar day's and month's budget.",
            "暦日・暦月の予算消化率。",
        )
        .unit(Unit::Percent)
        .zero_based()
        .bad_above(80.0, 100.0)
        .colours(Palette::Named(&[("^daily", Colour::Blue), ("^monthly", Colour::Purple)]))
        .line(r#"max by (period) (techsapo_budget_utilization_percent)"#, "{{period}}"),
    ]
}
