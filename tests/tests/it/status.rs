//! The exporter asks an app for its status that opens it to a key alone: one behind a proxy, to which nobody is local.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::{fs, thread};

use techsapo_tests::{App, Exporter, RedisServer, binaries};

/// A proxy before `port` that says, as proxies do, for whom it asks. Returns its own port.
fn forwarding(port: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Whoever goes away meanwhile asks again.
            thread::spawn(move || forward(client, port));
        }
    });
    own
}

fn forward(mut client: TcpStream, port: u16) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    head.truncate(head.len() - 2);
    head.extend(b"x-forwarded-for: 203.0.113.9\r\nconnection: close\r\n\r\n");
    server.write_all(&head)?;
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

fn make_key(file: &Path, scope: &str) -> String {
    let mut command = binaries::command("techsapo");
    command.env("TECHSAPO_KEYS_FILE", file);
    command.args(["keys", "create", "--name", scope, "--tier", "basic", "--scope", scope]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_app_that_is_not_local_is_shown_the_key_of_the_file_that_stands_there_now() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, shown) = (folder.path().join("keys.toml"), folder.path().join("monitor.key"));
    let (api, monitor) = (make_key(&keys, "api"), make_key(&keys, "monitor"));
    let redis = RedisServer::start();
    let app = App::of(&redis).set("TECHSAPO_KEYS_FILE", &keys.to_string_lossy()).start();
    let port = app.url().rsplit(':').next().unwrap().parse().unwrap();
    let url = format!("http://127.0.0.1:{}", forwarding(port));
    let exporter = Exporter::of(&redis).app(&url).app_key_file(&shown).start();
    let wait_up = |up: f64| {
        exporter.scrape_until(&format!("the app's status is {up}"), |page| {
            page.gauge("techsapo_exporter_app_up").with("url", &url).total() == up
        });
    };

    exporter.wait_log("monitor.key (--app.key-file) cannot be read");
    wait_up(0.0);
    fs::write(&shown, &api).unwrap();
    exporter.wait_log("403 Forbidden");
    fs::write(&shown, &monitor).unwrap();
    wait_up(1.0);
    fs::write(&shown, "tsk_nobody").unwrap();
    exporter.wait_log("401 Unauthorized");
    wait_up(0.0);
    for key in [api, monitor] {
        assert!(!exporter.process.log().contains(key.trim()), "a key stands in the log");
    }
}
