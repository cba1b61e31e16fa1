//! `scripts/start-monitoring.sh` as its users call it, on free ports and in a folder of its own: it starts everything,
//! proves by Prometheus that a sample was counted, does no harm when called again, and stops what it started.

use std::process::Command;

use techsapo_tests::stack::{SERVICES, said};
use techsapo_tests::{Stack, binaries, repository, wait};

#[test]
fn it_starts_counts_and_stops_what_it_started() {
    let stack = Stack::new();
    let table = stack.succeed(&[]);
    for service in SERVICES {
        assert!(table.contains(&stack.port(service).to_string()), "{service} is not in the table:\n{table}");
    }
    let app = std::fs::read_to_string(stack.run().join("app.pid")).unwrap();
    let at_work_in =
        std::fs::read_link(format!("/proc/{}/cwd", app.split_whitespace().next().unwrap())).unwrap();
    assert_eq!(at_work_in, repository::root(), "its files are the project's, wherever the script was called");
    let counted = "sum(techsapo_wallbounce_requests_total)";
    let before = stack.ask_prometheus(counted).expect("the script waits until Prometheus has counted");
    assert!(before >= 1.0);

    let nanousd: u64 = (0..10)
        .map(|_| stack.generate()["wall_bounce_analysis"]["total_cost_nanousd"].as_u64().unwrap())
        .sum();
    assert!(nanousd > 0);
    wait::until_true("Prometheus counts ten more", || stack.ask_prometheus(counted) == Some(before + 10.0));

    let again = stack.succeed(&[]);
    assert!(again.contains("running"), "{again}");
    let after = stack.ask_prometheus(counted).unwrap();
    assert_eq!(after, before + 11.0, "the second call sends one more sample and disturbs nothing");
    stack.succeed(&["--status"]);

    // With keys, it asks with one of its own, and starts again what died.
    let mut create = binaries::command("techsapo");
    create.args(["keys", "create", "--name", "somebody", "--tier", "basic"]);
    assert!(create.env("TECHSAPO_KEYS_FILE", stack.keys_file()).output().unwrap().status.success());
    let pid = std::fs::read_to_string(stack.run().join("exporter.pid")).unwrap();
    assert!(
        Command::new("kill").args(["-9", pid.split_whitespace().next().unwrap()]).status().unwrap().success()
    );
    for _ in 0..2 {
        let said = stack.succeed(&[]);
        assert!(said.contains("named start-monitoring"), "{said}");
    }
    let list = std::fs::read_to_string(stack.keys_file()).unwrap();
    assert_eq!(list.matches("[[key]]").count(), 2, "{list}");

    stack.succeed(&["--stop"]);
    for service in SERVICES {
        let port = stack.port(service);
        assert!(
            std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(),
            "{service} still listens on {port}"
        );
    }
    assert_eq!(stack.call(&["--status"]).status.code(), Some(3), "nothing runs");
    stack.succeed(&["--stop"]);
}

#[test]
fn a_port_that_is_taken_is_one_clear_message_and_nothing_is_left() {
    let stack = Stack::new();
    let port = stack.port("ALERTMANAGER");
    let _foreign = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let output = stack.call(&[]);
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains(&port.to_string()) && said.contains("TECHSAPO_PORT_ALERTMANAGER"), "{said}");
    assert_eq!(stack.call(&["--status"]).status.code(), Some(3), "nothing runs");
}

#[test]
fn a_folder_that_cannot_be_written_is_one_clear_message() {
    let mut stack = Stack::new();
    let file = stack.folder().join("file");
    std::fs::write(&file, b"").unwrap();
    stack.run_in(&file.join("run"));
    let output = stack.call(&[]);
    assert!(!output.status.success());
    assert!(said(&output).contains("file/run"), "{}", said(&output));
}
