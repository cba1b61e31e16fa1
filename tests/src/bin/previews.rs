//! Preview pictures of the dashboards: the whole product runs under load for a while, a real Prometheus answers every
//! panel's queries, and a page drawn from the answers becomes `docs/images/<dashboard>.png`. `scripts/previews.sh` builds
//! and starts it. They are previews, drawn here and not by Grafana, and say so.
#![allow(clippy::print_stdout)] // It speaks to a person.
#![allow(clippy::unwrap_used)] // What goes wrong ends it.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::{Value, json};
use techsapo_tests::monitored::{Load, Monitored, Shown, happened, show};
use techsapo_tests::{facts, repository};
use tempfile::TempDir;

const USAGE: &str = "previews [--minutes N] [--prometheus http://host:port]
  --minutes N       how long the system is under load, and how much of it the pictures show (30)
  --prometheus URL  shows what this Prometheus holds, and starts nothing";
/// Of the page; the panels' places are worked out for it.
const WIDTH: u64 = 1_600;
/// The page's margins and its head.
const HEAD: u64 = 74;
/// A cell of Grafana's grid with the gap below it.
const CELL: u64 = 38;
/// Thinking time of a caller at a quiet time of the day.
const PAUSE: Duration = Duration::from_millis(2_500);

fn main() -> ExitCode {
    let Some((minutes, prometheus)) = arguments(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(prometheus) = prometheus {
        draw_all(&prometheus, minutes * 60);
    } else {
        let monitored = Monitored::start("15s");
        let load = Load::on(&monitored, PAUSE);
        println!("under load for {minutes} minutes; Prometheus is at {}", monitored.prometheus());
        std::thread::sleep(Duration::from_secs(minutes * 60 / 3));
        monitored.change_configuration();
        std::thread::sleep(Duration::from_secs(minutes * 60 * 2 / 3));
        draw_all(monitored.prometheus(), minutes * 60);
        load.stop();
    }
    ExitCode::SUCCESS
}

/// How many minutes, and which Prometheus if it is to be another's; nothing if the words make no sense.
fn arguments(mut words: impl Iterator<Item = String>) -> Option<(u64, Option<String>)> {
    let (mut minutes, mut prometheus) = (30, None);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--minutes" => minutes = value.parse().ok().filter(|minutes| *minutes > 0)?,
            "--prometheus" => prometheus = Some(value),
            _ => return None,
        }
    }
    Some((minutes, prometheus))
}

fn draw_all(prometheus: &str, range_s: u64) {
    let folder = repository::root().join("docs/images");
    std::fs::create_dir_all(&folder).unwrap();
    let to = facts::now_ms() as f64 / 1e3;
    for dashboard in techsapo_grafana::dashboards() {
        let json = dashboard.json();
        let panels = show(prometheus, &json, to, range_s);
        let picture = folder.join(format!("{}.png", dashboard.uid));
        let shown = json!({
            "dashboard": json, "from": to - range_s as f64, "to": to,
            "panels": panels.iter().map(Shown::json).collect::<Vec<_>>(),
            "happened": happened(prometheus, &json, to, range_s),
        });
        draw(&shown, &picture);
        println!("{}", picture.display());
    }
}

/// The page in which `shown` is drawn, photographed.
fn draw(shown: &Value, picture: &Path) {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("page.html");
    let script = repository::read("grafana/preview/draw.js");
    // Nothing in the data may end the script that it stands in.
    let data = shown.to_string().replace("</", "<\\/");
    let html = repository::read("grafana/preview/page.html")
        .replace("__DRAW__", &script)
        .replace("__SHOWN__", &data);
    std::fs::write(&page, html).unwrap();
    let panels = shown["dashboard"]["panels"].as_array().unwrap().iter();
    let bottom =
        panels.map(|panel| panel["gridPos"]["y"].as_u64().unwrap() + panel["gridPos"]["h"].as_u64().unwrap());
    let height = HEAD + bottom.max().unwrap() * CELL;
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]);
    browser.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    browser.arg(format!("--window-size={WIDTH},{height}")).arg(format!("--screenshot={}", picture.display()));
    let output = browser.arg(format!("file://{}", page.display())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
