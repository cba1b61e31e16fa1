//! `healthcheck` of both programs: what it says, in one line and an exit code, of a process that is well, gone, or stuck.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::time::Duration;

use techsapo_tests::{App, Exporter, RedisServer, binaries, wait};

/// Each program, and the variable that tells it where it listens.
const PROGRAMS: [(&str, &str); 2] =
    [("techsapo", "TECHSAPO_LISTEN"), ("techsapo-exporter", "TECHSAPO_EXPORTER_WEB_LISTEN_ADDRESS")];

fn check((program, variable): (&str, &str), address: &str) -> Output {
    binaries::command(program).arg("healthcheck").env(variable, address).output().unwrap()
}

/// Checks, expects this exit code, and returns the one line that was said.
fn line(program: (&str, &str), address: &str, code: i32) -> String {
    let output = check(program, address);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{program:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{program:?}: {said}");
    said
}

#[test]
fn a_process_is_found_well_at_its_own_address_and_missed_when_it_is_gone() {
    let redis = RedisServer::start();
    let mut exporter = Exporter::of(&redis).start();
    let mut app = App::of(&redis).start();
    let port = |url: &str| url.rsplit_once(':').unwrap().1.to_owned();
    let ports = [port(&app.url()), port(&exporter.url())];
    for (program, port) in PROGRAMS.iter().zip(&ports) {
        // As in a container, where a process listens on every address.
        for host in ["127.0.0.1", "0.0.0.0"] {
            let said = line(*program, &format!("{host}:{port}"), 0);
            assert!(said.starts_with(&format!("healthy: http://127.0.0.1:{port}/")), "{said}");
        }
    }
    app.kill_9();
    exporter.kill_9();
    for (program, port) in PROGRAMS.iter().zip(&ports) {
        let said = line(*program, &format!("127.0.0.1:{port}"), 1);
        assert!(said.contains("does not answer") && said.contains("refused"), "{said}");
    }
}

/// As many as the exporter serves at once, and none asks: their places are free long before their patience ends.
#[test]
fn a_crowd_that_asks_nothing_keeps_nobody_out_of_the_exporter() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let address = exporter.url().strip_prefix("http://").unwrap().to_owned();
    let crowd: Vec<_> = (0..64).map(|_| TcpStream::connect(&address).unwrap()).collect();
    wait::until_within(Duration::from_secs(60), "the exporter answers", || {
        check(PROGRAMS[1], &address).status.success().then_some(())
    });
    drop(crowd);
}

/// As many as the exporter serves at once, and each asks for more than the kernel keeps for it, and reads nothing.
#[test]
fn a_crowd_that_reads_nothing_keeps_nobody_out_of_the_exporter() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let address = exporter.url().strip_prefix("http://").unwrap().to_owned();
    let requests = "GET /metrics HTTP/1.1\r\nhost: exporter\r\n\r\n".repeat(2_000);
    let asking = |_| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_nonblocking(true).unwrap();
        // What the kernel takes of it is enough.
        let taken = stream.write(requests.as_bytes()).unwrap();
        assert!(taken > requests.len() / 4, "{taken}");
        stream
    };
    let crowd: Vec<_> = (0..64).map(asking).collect();
    wait::until_true("the exporter answers", || check(PROGRAMS[1], &address).status.success());
    drop(crowd);
}

#[test]
fn what_answers_otherwise_or_never_is_not_healthy() {
    for program in PROGRAMS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1_024]).unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").unwrap();
            listener
        });
        let said = line(program, &address, 1);
        assert!(said.contains("answered 503"), "{said}");
        // The kernel takes the connection, and nobody answers.
        let _silent = server.join().unwrap();
        let said = line(program, &address, 1);
        assert!(said.contains("nothing within 5 s"), "{said}");
    }
}

#[test]
fn settings_that_cannot_be_read_are_not_healthy_either() {
    let output = check(PROGRAMS[0], "nowhere");
    assert_eq!(output.status.code(), Some(1), "0 and 1 are all that a container engine understands");
    assert!(String::from_utf8_lossy(&output.stderr).contains("TECHSAPO_LISTEN"));
}
