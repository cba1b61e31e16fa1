//! `grafana/access/apply.py` against a stand-in for Grafana's HTTP API: what it is told it keeps, and it counts who
//! writes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use techsapo_tests::repository;

/// What Grafana holds.
#[derive(Debug, Default)]
struct Held {
    teams: Vec<String>,
    folders: Vec<(String, Value)>,
    role: String,
    members: Vec<(u64, u64)>,
    writes: Vec<String>,
    authorizations: Vec<String>,
}

struct Grafana {
    held: Arc<Mutex<Held>>,
    url: String,
}

impl Grafana {
    /// With the provisioned folders, as they are at first: open to everybody; and one person.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let at_first = json!([
            {"role": "Admin", "permission": 4}, {"role": "Editor", "permission": 2}, {"role": "Viewer", "permission": 1},
        ]);
        let folders = ["techsapo-overview", "techsapo-business", "techsapo-engineering"];
        let held = Held {
            folders: folders.map(|uid| (uid.to_owned(), at_first.clone())).into(),
            role: "Viewer".to_owned(),
            ..Held::default()
        };
        let held = Arc::new(Mutex::new(held));
        let shared = Arc::clone(&held);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &mut shared.lock().unwrap());
            }
        });
        Self { held, url }
    }

    fn apply(&self, access: &Value, flags: &[&str]) -> Output {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), access.to_string()).unwrap();
        let mut command = Command::new("python3");
        command.arg(repository::root().join("grafana/access/apply.py"));
        command.args(["--url", &self.url, "--file"]).arg(file.path()).args(flags);
        command.env("GRAFANA_TOKEN", "a-token").output().unwrap()
    }

    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.held.lock().unwrap().writes)
    }
}

/// Reads one request and answers it.
fn serve(mut stream: TcpStream, held: &mut Held) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => held.authorizations.push(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    if method != "GET" {
        held.writes.push(format!("{method} {path}"));
    }
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let (status, answer) =
        answer(held, method, path, &body).map_or((404, json!({"message": "not found"})), |one| (200, one));
    let text = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )
    .unwrap();
}

fn answer(held: &mut Held, method: &str, path: &str, body: &Value) -> Option<Value> {
    let id = |text: &str| text.parse::<u64>().ok();
    if let Some(name) = path.strip_prefix("/api/teams/search?name=") {
        let name = name.replace('+', " ");
        let found = held.teams.iter().enumerate().filter(|(_, team)| **team == name);
        return Some(
            json!({"teams": found.map(|(at, team)| json!({"id": at + 1, "name": team})).collect::<Vec<_>>()}),
        );
    }
    match (method, path) {
        ("POST", "/api/teams") => {
            held.teams.push(body["name"].as_str()?.to_owned());
            Some(json!({"teamId": held.teams.len()}))
        }
        ("GET", "/api/org/users") => Some(json!([{"login": "hanako", "userId": 7, "role": held.role}])),
        ("PATCH", "/api/org/users/7") => {
            held.role = body["role"].as_str()?.to_owned();
            Some(json!({}))
        }
        (_, path) if path.ends_with("/members") => {
            let team = id(path.strip_prefix("/api/teams/")?.strip_suffix("/members")?)?;
            if method == "POST" {
                held.members.push((team, body["userId"].as_u64()?));
            }
            let inside = held.members.iter().filter(|(of, _)| *of == team);
            Some(json!(inside.map(|(_, user)| json!({"userId": user})).collect::<Vec<_>>()))
        }
        (_, path) => {
            let uid = path.strip_prefix("/api/folders/")?.strip_suffix("/permissions")?;
            let (_, permissions) = held.folders.iter_mut().find(|(folder, _)| folder == uid)?;
            if method == "POST" {
                let mut all = body["items"].as_array()?.clone();
                // Administrators' rights are always there.
                all.push(json!({"role": "Admin", "permission": 4}));
                *permissions = json!(all);
            }
            Some(permissions.clone())
        }
    }
}

fn wanted() -> Value {
    let mut access: Value = serde_json::from_str(&repository::read("grafana/access/access.json")).unwrap();
    access["members"] = json!({"hanako": {"role": "Editor", "teams": ["TechSapo Operators"]}});
    access
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn access_is_brought_to_what_the_file_says_and_then_left_alone() {
    let grafana = Grafana::start();
    let check = grafana.apply(&wanted(), &["--check"]);
    assert_eq!(check.status.code(), Some(1), "{}", said(&check));
    assert!(grafana.writes().is_empty(), "a check writes nothing");
    let first = grafana.apply(&wanted(), &[]);
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    assert_eq!(grafana.writes().len(), 3 + 3 + 1 + 1, "teams, folders, a role, a member: {}", said(&first));
    {
        let held = grafana.held.lock().unwrap();
        assert!(held.authorizations.iter().all(|shown| shown == "Bearer a-token"));
        assert_eq!((held.role.as_str(), held.members.as_slice()), ("Editor", &[(2, 7)][..]));
        let (_, business) = &held.folders[1];
        let team = |id: u64| json!({"permission": 1, "teamId": id});
        let listed = business.as_array().unwrap();
        assert!(
            listed.contains(&team(1)) && listed.contains(&team(2)) && !listed.contains(&team(3)),
            "{business}"
        );
        assert!(listed.iter().all(|item| item["role"] != "Viewer"), "{business}");
    }
    let again = grafana.apply(&wanted(), &[]);
    assert!(grafana.writes().is_empty() && said(&again).contains("nothing to change"), "{}", said(&again));
    // Somebody opens a folder by hand: it is closed again, and nothing else touched.
    grafana.held.lock().unwrap().folders[2].1 = json!([{"role": "Viewer", "permission": 1}]);
    let mended = grafana.apply(&wanted(), &[]);
    assert_eq!(grafana.writes(), ["POST /api/folders/techsapo-engineering/permissions"], "{}", said(&mended));
}

#[test]
fn what_makes_no_sense_is_told() {
    let grafana = Grafana::start();
    let mut unknown_team = wanted();
    unknown_team["folders"]["techsapo-business"][0]["team"] = json!("Nobody");
    let mut unknown_person = wanted();
    unknown_person["members"] = json!({"taro": {"role": "Viewer"}});
    let mut unknown_folder = wanted();
    unknown_folder["folders"]["elsewhere"] = json!([{"role": "Viewer", "permission": "View"}]);
    for (access, word) in [(unknown_team, "Nobody"), (unknown_person, "taro"), (unknown_folder, "404")] {
        let output = grafana.apply(&access, &[]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(word), "{}", said(&output));
        if word == "Nobody" {
            assert!(grafana.writes().is_empty(), "the file is wrong: nothing is to be written");
        }
    }
}
