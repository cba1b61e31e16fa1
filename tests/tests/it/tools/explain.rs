//! `techsapo-exporter explain`: what it says, with which exit code, to whom.

use std::io::Read as _;
use std::process::Stdio;

use techsapo_tests::binaries;

use super::{exporter, texts};

#[test]
fn a_metric_is_explained_without_any_server() {
    let output = exporter(&["explain", "techsapo_redis_operations_total{operation=\"get\"}"]);
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    assert!(out.starts_with("techsapo_redis_operations_total\n"), "{out}");
    assert!(out.contains("sum by (operation) (rate(techsapo_redis_operations_total[5m]))"), "{out}");
    assert!(out.contains("  alerts    "), "{out}");
}

#[test]
fn a_mistyped_name_is_a_wrong_argument() {
    let output = exporter(&["explain", "techsapo_redis_operation_total"]);
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(2), ""));
    assert!(err.contains("did you mean techsapo_redis_operations_total"), "{err}");
}

#[test]
fn flags_of_serving_do_not_go_before_a_tool() {
    let output = exporter(&["--redis.url", "redis://127.0.0.1:1", "explain"]);
    assert_eq!(output.status.code(), Some(2), "{:?}", texts(&output));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = binaries::command("techsapo-exporter");
    let mut child = command.arg("explain").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}
