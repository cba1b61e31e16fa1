//! Each alert has a page in `docs/runbooks/`, in one form, and each page an alert. What its queries answer, `versions` asks.

use std::collections::BTreeSet;

use techsapo_tests::repository;

use super::book::alerts;

/// The parts of a page, in their order.
const PARTS: [&str; 5] =
    ["## Meaning", "## First look", "## Usual causes", "## What to do", "## When to call"];

fn page(alert: &str) -> String {
    repository::read(format!("docs/runbooks/{alert}.md"))
}

/// The queries of all pages: name of the alert, query.
pub(super) fn queries() -> Vec<(String, String)> {
    let of_page = |alert: String| {
        let page = page(&alert);
        let blocks =
            page.split("```promql\n").skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned());
        blocks.map(|query| (alert.clone(), query)).collect::<Vec<_>>()
    };
    alerts().into_iter().flat_map(|alert| of_page(alert.name)).collect()
}

#[test]
fn each_alert_has_a_page_that_says_what_to_do() {
    let index = page("README");
    for alert in alerts() {
        let (name, page) = (&alert.name, page(&alert.name));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}: another title");
        let at: Vec<_> = PARTS
            .iter()
            .map(|part| page.find(&format!("\n{part}\n\n")).unwrap_or_else(|| panic!("{name} lacks {part}")))
            .collect();
        assert!(at.is_sorted(), "{name}: the parts are in another order");
        let summary = page.lines().nth(2).unwrap();
        let japanese = summary.chars().any(|c| ('ぁ'..='ヶ').contains(&c));
        assert!(summary.starts_with("> ") && japanese, "{name}: no summary in Japanese");
        let stands = format!("{}, {}: answer it", alert.labels["priority"], alert.labels["severity"]);
        assert!(page.contains(&stands), "{name}: not {stands:?}");
        assert!(page[at[1]..at[2]].contains("```promql\n"), "{name}: nothing to look at");
        let row = format!(
            "| [{name}]({name}.md) | {} | {} | {} |",
            alert.labels["priority"], alert.labels["severity"], alert.labels["area"]
        );
        assert!(index.contains(&row), "{name} is not in the list: {row}");
    }
}

#[test]
fn each_page_has_an_alert_and_each_link_a_page() {
    let alerts: BTreeSet<_> = alerts().into_iter().map(|alert| alert.name).collect();
    for file in repository::files("docs/runbooks", "md") {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(name == "README" || alerts.contains(&name), "{name}.md tells of no alert");
        let text = repository::read(&file);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let target = link.split('#').next().unwrap();
            let exists = repository::root().join("docs/runbooks").join(target).exists();
            assert!(target.starts_with("http") || exists, "{name}: {link} leads nowhere");
        }
    }
}
