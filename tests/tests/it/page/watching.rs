//! Figures, providers, services, budget and alerts, as they move; and what the page does while the app is away.

use serde_json::{Value, json};
use techsapo_tests::{Alertmanager, facts, http, wait};

use super::{Page, World};

/// A service's line: name and state.
fn service(page: &Page, name: &str) -> String {
    page.texts("#services li").into_iter().find(|line| line.starts_with(name)).unwrap_or_default()
}

/// An Alertmanager that tells nobody.
fn alertmanager() -> Alertmanager {
    Alertmanager::start("route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n")
}

/// Lets this alert fire, or ends it: `ends_at` is in RFC 3339.
fn tell(alertmanager: &Alertmanager, ends_at: Option<&str>) {
    let mut alert = json!({
        "labels": {"alertname": "HttpErrorRateHigh", "severity": "critical", "priority": "P0"},
        "annotations": {"summary": "Requests <b>fail</b>.", "runbook_url": "https://runbooks.example/one"},
    });
    alert["endsAt"] = ends_at.map_or(Value::Null, Into::into);
    if ends_at.is_none() {
        alert.as_object_mut().unwrap().remove("endsAt");
    }
    let url = format!("http://{}/api/v2/alerts", alertmanager.address());
    assert_eq!(http::send(http::client().post(url).json(&json!([alert]))).unwrap().status, 200);
}

#[test]
fn figures_providers_and_budget_move_while_questions_are_asked() {
    let world = World::with(|setup| setup.set("TECHSAPO_BUDGET_DAILY_USD", "0.05"));
    let page = Page::open(&world.app);
    page.wait_text("#providers", "Simulated-Gemini");
    wait::until_true("nothing is spent yet", || page.figure("Spent in all") == "$0.00");

    let mut spent = 0.0;
    for round in 0..5 {
        for number in 0..4 {
            let answer = world.app.generate(&format!("Question {round}.{number}"), "premium").unwrap();
            spent += answer.cost_nanousd() as f64 / 1e9;
        }
        let digits = if spent < 0.1 { 5 } else { 2 };
        let wanted = format!("${spent:.digits$}");
        let wanted = wanted.trim_end_matches('0');
        wait::until_true(&format!("what was spent is {wanted}"), || {
            page.figure("Spent in all").starts_with(wanted)
        });
    }
    wait::until_true("analyses are counted", || {
        page.figure("Analyses per minute").parse().is_ok_and(|rate: f64| rate > 0.0)
    });
    wait::until_true("all went well", || page.figure("Success, 5 min") == "100%");
    assert!(page.figure("Confidence, 5 min").ends_with('%'));
    assert!(page.is(
        "[...document.querySelectorAll('#figures path')].some((line) => line.getAttribute('d').length > 20)"
    ));

    let calls = page.texts("#providers td:last-child");
    let calls: u32 = calls.iter().map(|calls| calls.parse::<u32>().unwrap()).sum();
    assert_eq!(calls, 60, "three for each question");
    let rows = page.texts("#providers tr");
    assert!(rows.iter().all(|row| row.contains("well")), "{rows:?}");
    wait::until_true("the day's budget is partly used", || {
        page.is("document.getElementById('budget-daily').value > 1")
    });
    assert!(page.text("#budget").contains("Budget of the month"));
    page.assert_well();
}

#[test]
fn services_and_alerts_are_shown_and_go() {
    let alertmanager = alertmanager();
    let mut world = World::with(|setup| {
        setup.set("TECHSAPO_ALERTMANAGER_URL", &format!("http://{}", alertmanager.address()))
    });
    let page = Page::open(&world.app);
    page.wait_text("#alerts-state", "No alert is firing.");
    wait::until_true("all services are told", || {
        service(&page, "redis").contains("up") && service(&page, "mysql").contains("off")
    });
    page.wait_text("#footer", "version");

    tell(&alertmanager, None);
    page.wait_text("#alerts", "P0 HttpErrorRateHigh");
    page.wait_text("#alerts", "Requests <b>fail</b>.");
    assert!(page.is("document.querySelector('#alerts a').href === 'https://runbooks.example/one'"));
    assert_eq!(page.browser.barriers(), [""; 0]);
    tell(&alertmanager, Some("2020-01-01T00:00:00Z"));
    page.wait_text("#alerts-state", "No alert is firing.");
    page.assert_well();

    // What the page shows of others is told as theirs when they go.
    drop(alertmanager);
    page.wait_text("#alerts-state", "Alertmanager cannot be asked");
    world.exporter.kill_9();
    page.wait_text("#stale", "No live figures");
    world.exporter.restart();
    wait::until_true("there are figures again", || page.text("#stale").is_empty());
    page.assert_well();
}

#[test]
fn a_provider_that_is_left_alone_is_shown_so() {
    let world = World::with(|setup| setup.set("TECHSAPO_SIMULATED_FAILURE_RATE", "1"));
    let page = Page::open(&world.app);
    wait::until_true("breakers open", || {
        let _ = world.app.generate(&format!("Question at {}", facts::now_ms()), "basic");
        page.texts("#providers tr").iter().filter(|row| row.contains("left alone")).count() >= 2
    });
    page.assert_well();
}

#[test]
fn the_page_goes_on_by_itself_when_the_app_was_away() {
    let mut world = World::start();
    let page = Page::open(&world.app);
    page.ask_through("How do I make retries safe?");
    wait::until_true("there are figures", || !page.figure("Spent in all").is_empty());
    page.mark();
    page.assert_well();

    // Killed: it says so, and from when its figures are.
    world.app.kill_9();
    page.wait_text("#connection", "reconnecting…");
    page.wait_text("#stale", "The app cannot be reached. The figures are those of ");
    assert_eq!(page.browser.barriers(), [""; 0]);
    world.app.restart();
    page.wait_live();
    wait::until_true("the figures are those of now", || page.text("#stale").is_empty());
    page.ask_through("How do I restore a backup?");
    page.assert_well_but(&["net::ERR_"]);

    // Hanging: nothing is said by anybody, and the page notices all the same.
    world.app.process.pause();
    wait::until_within(3 * wait::PATIENCE, "the page notices the silence", || {
        page.text("#stale").contains("cannot be reached").then_some(())
    });
    world.app.process.resume();
    wait::until_within(3 * wait::PATIENCE, "the page goes on", || {
        (page.text("#connection") == "live" && page.text("#stale").is_empty()).then_some(())
    });
    let spent = page.figure("Spent in all");
    page.ask_through("How do I read a flame graph?");
    wait::until_true("the figures move again", || page.figure("Spent in all") != spent);
    assert!(page.is_marked(), "the page was never loaded anew");
    // Requests that the app did not answer in time were given up by the page.
    page.assert_well_but(&["net::ERR_"]);
}
