//! `scripts/demo-faults.sh` as its users call it, on a stack of `start-monitoring.sh` whose Prometheus was made to hurry: the
//! alerts come and go, and what was killed or set otherwise is as before, also when somebody presses Ctrl-C.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use techsapo_tests::stack::said;
use techsapo_tests::{Stack, http, repository, wait};

use super::haste::{hastened_config, hastened_rules};
use super::versions::{changed, copy_rules};

const SCRIPT: &str = "demo-faults.sh";

/// The id of a process that the stack's records name.
fn pid(stack: &Stack, service: &str) -> Pid {
    let file = stack.run().join(format!("{service}.pid"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// Lets the stack's Prometheus scrape, and look at the rules, in a twentieth of the time.
fn hurry(stack: &Stack) {
    let rules = stack.folder().join("rules");
    std::fs::create_dir(&rules).unwrap();
    copy_rules(&rules, hastened_rules);
    let file = stack.run().join("prometheus.yml");
    let config = hastened_config(&std::fs::read_to_string(&file).unwrap());
    let from = repository::root().join("prometheus/rules");
    let config = changed(&config, &[(&from.display().to_string(), &rules.display().to_string())]);
    std::fs::write(&file, config).unwrap();
    kill_process(pid(stack, "prometheus"), Signal::HUP).unwrap();
    wait::until_true("Prometheus hurries", || {
        let config = http::get(&format!("{}/api/v1/status/config", stack.url("PROMETHEUS"))).unwrap().json();
        config["data"]["yaml"].as_str().unwrap().contains("scrape_interval: 750ms")
    });
}

/// In nano-dollars.
fn daily_limit(stack: &Stack) -> u64 {
    let budget = http::get(&format!("{}/api/v1/budget", stack.url("APP"))).unwrap().json();
    budget["daily"]["limit_nanousd"].as_u64().unwrap()
}

#[test]
fn it_teaches_lists_and_says_what_is_missing() {
    let stack = Stack::new();
    let call = |arguments: &[&str]| stack.script(SCRIPT, arguments).output().unwrap();
    let help = call(&["--help"]);
    assert!(help.status.success() && said(&help).contains("demo-faults.sh --list"), "{}", said(&help));
    // What the list says of an alert is what its rule says.
    let list = said(&call(&["--list"]));
    let words: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [
        &["app-killed", "AppDown", "30", "s", "0", "s"],
        &["providers-fail", "HttpErrorRateHigh", "60", "s", "120", "s"],
        &["wrong-keys", "AuthFailuresHigh", "0", "s", "300", "s"],
    ] {
        assert!(words.iter().any(|words| words == row), "{row:?} is not in\n{list}");
    }
    for (arguments, answer) in [
        (&["app-killed"][..], "start-monitoring.sh"),
        (&["no-such-fault"], "there is no fault 'no-such-fault'"),
        (&["--no-such-option"], "unknown option"),
    ] {
        let output = call(arguments);
        assert!(!output.status.success() && said(&output).contains(answer), "{}", said(&output));
    }
}

#[test]
fn faults_become_alerts_that_end_with_them() {
    let stack = Stack::new();
    stack.succeed(&[]);
    hurry(&stack);
    let before = daily_limit(&stack);
    let first = pid(&stack, "app");

    let output = stack.script(SCRIPT, &["budget-spent", "app-killed"]).output().unwrap();
    let shown = said(&output);
    assert!(output.status.success(), "{shown}");
    let (_, table) = shown.rsplit_once("resolved_after").unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    for (fault, alert) in [("app-killed", "AppDown"), ("budget-spent", "DailyBudgetHigh")] {
        let row = rows.iter().find(|row| row.starts_with(&[fault, alert]));
        let row = row.unwrap_or_else(|| panic!("{fault} {alert} is not in\n{shown}"));
        // for, fired_after, goes_on, resolved_after: each a number of seconds.
        let numbers: Vec<u64> = row[2..].chunks(2).map(|value| value[0].parse().unwrap()).collect();
        assert_eq!(numbers.len(), 4, "{row:?}");
    }
    assert_ne!(pid(&stack, "app"), first, "it was killed");
    stack.succeed(&["--status"]);
    assert_eq!(daily_limit(&stack), before);

    // Interrupted while the app is away, it brings the app back, also when nobody reads any more what it says.
    for is_read in [true, false] {
        let killed = pid(&stack, "app");
        let mut script = stack.script(SCRIPT, &["app-killed"]);
        script.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut script = script.spawn().unwrap();
        wait::until_true("the app is killed", || http::get(&format!("{}/health", stack.url("APP"))).is_err());
        if !is_read {
            drop((script.stdout.take(), script.stderr.take()));
        }
        // A terminal tells the whole group.
        kill_process_group(Pid::from_child(&script), Signal::INT).unwrap();
        let output = script.wait_with_output().unwrap();
        assert!(!output.status.success(), "{}", said(&output));
        assert!(!is_read || said(&output).contains("Ending app-killed"), "{}", said(&output));
        assert_ne!(pid(&stack, "app"), killed);
    }
    stack.succeed(&["--status"]);
    stack.generate();
}
