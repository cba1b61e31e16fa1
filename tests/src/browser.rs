//! A real browser: Chromium without a window, driven through chromedriver by the WebDriver protocol.
//!
//! What it is told to press and click goes the way of a real keyboard and mouse. It reaches 127.0.0.1 and no other host.
//! What its console says and what comes of its requests is told by [`Browser::seen`]. Its profile is a folder of its own,
//! gone with this value.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Method;
use reqwest::blocking::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Process, free_port, http, wait};

/// Keys without a character, as WebDriver writes them.
pub mod key {
    /// Goes to the next control.
    pub const TAB: char = '\u{E004}';
    /// Submits, follows, presses.
    pub const ENTER: char = '\u{E007}';
    /// Held with another key.
    pub const CONTROL: char = '\u{E009}';
}

/// What WebDriver calls the id of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Starting a browser and looking for barriers may take long on a busy machine.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(150);

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    /// Address of its session at chromedriver.
    session: String,
    /// Address of each request that has begun, by its id.
    begun: RefCell<HashMap<String, String>>,
    // The process ends before its folder is deleted.
    _driver: Process,
    _folder: TempDir,
}

/// What happened in a browser between two looks.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the console says, whatever its level.
    pub console: Vec<String>,
    /// The address of every request.
    pub requests: Vec<String>,
    /// Requests that came to nothing or to a status of 400 or more, as `<address>: <what>`. One that the page itself gave up
    /// has not failed.
    pub failures: Vec<String>,
}

impl Browser {
    /// Opens one whose user reads English.
    pub fn open() -> Self {
        Self::speaking("en-US")
    }

    /// Opens one whose user reads this language.
    ///
    /// # Panics
    /// When there is no chromedriver, or it cannot start a browser.
    pub fn speaking(language: &str) -> Self {
        let (port, folder) = (free_port(), TempDir::new().unwrap());
        let mut command = Command::new("chromedriver");
        // Its profile is made in the folder for temporary files, and further files in the user's.
        command.env("TMPDIR", folder.path()).env("HOME", folder.path()).arg(format!("--port={port}"));
        let mut driver = Process::start("chromedriver", folder.path(), &mut command);
        let driver_url = format!("http://127.0.0.1:{port}");
        wait::until_true("chromedriver is ready", || {
            driver.assert_alive();
            command_at(&driver_url, Method::GET, "/status", &Value::Null)
                .is_ok_and(|status| status["ready"] == true)
        });
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": [
                "--headless=new",
                // Root, as which continuous integration runs, is given no sandbox; and containers have little shared memory.
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                format!("--accept-lang={language}"),
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ]},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": 120_000},
        }}});
        let session = command_at(&driver_url, Method::POST, "/session", &capabilities)
            .unwrap_or_else(|error| panic!("no browser: {error}\n{}", driver.log()));
        let session = format!("{driver_url}/session/{}", session["sessionId"].as_str().unwrap());
        Self { session, begun: RefCell::default(), _driver: driver, _folder: folder }
    }

    /// Opens a page, and waits until it is loaded.
    ///
    /// # Panics
    /// When there is none.
    pub fn go(&self, url: &str) {
        self.post("/url", &json!({"url": url})).unwrap();
    }

    /// Loads the page anew.
    ///
    /// # Panics
    /// When it cannot.
    pub fn reload(&self) {
        self.post("/refresh", &json!({})).unwrap();
    }

    /// Runs the body of a function in the page, and returns what it returns.
    ///
    /// # Panics
    /// When it throws.
    pub fn run(&self, body: &str, arguments: &[&str]) -> Value {
        let script = json!({"script": body, "args": arguments});
        self.post("/execute/sync", &script).unwrap_or_else(|error| panic!("{body}: {error}"))
    }

    /// Clicks on the middle of the element, as soon as it is there and nothing covers it.
    ///
    /// # Panics
    /// When it never is.
    pub fn click(&self, selector: &str) {
        let mut problem = String::new();
        let clicked = || {
            let element = self.post("/element", &json!({"using": "css selector", "value": selector}))?;
            self.post(&format!("/element/{}/click", element[ELEMENT].as_str().unwrap()), &json!({}))
        };
        wait::until(&format!("{selector} can be clicked"), || {
            clicked().inspect_err(|error| problem.clone_from(error)).ok()
        });
    }

    /// Presses these keys, one after the other.
    ///
    /// # Panics
    /// When it cannot.
    pub fn press(&self, keys: impl Display) {
        let strokes = keys.to_string();
        let strokes = strokes.chars().flat_map(|one| [stroke("keyDown", one), stroke("keyUp", one)]);
        self.strokes(&strokes.collect());
    }

    /// Presses a key while another is held.
    ///
    /// # Panics
    /// When it cannot.
    pub fn press_with(&self, held: char, pressed: char) {
        let strokes = [("keyDown", held), ("keyDown", pressed), ("keyUp", pressed), ("keyUp", held)];
        self.strokes(&strokes.map(|(what, which)| stroke(what, which)).into());
    }

    fn strokes(&self, strokes: &Value) {
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.post("/actions", &json!({"actions": [keyboard]})).unwrap();
    }

    /// Has a window of this size, as a phone has where `phone`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn resize(&self, width: u32, height: u32, phone: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Its user prefers this (`prefers-color-scheme`, `dark`), and nothing that was told before.
    ///
    /// # Panics
    /// When it cannot.
    pub fn prefer(&self, features: &[(&str, &str)]) {
        let features: Vec<_> =
            features.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        self.devtools("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// The cookie of this name as the browser keeps it, also where no script can read it; nothing where there is none.
    pub fn cookie(&self, name: &str) -> Option<Value> {
        command_at(&self.session, Method::GET, &format!("/cookie/{name}"), &Value::Null).ok()
    }

    /// Forgets every cookie of the page.
    ///
    /// # Panics
    /// When it cannot.
    pub fn forget_cookies(&self) {
        command_at(&self.session, Method::DELETE, "/cookie", &Value::Null).unwrap();
    }

    /// What keeps people from using the page as it stands now, by all rules of axe.
    ///
    /// # Panics
    /// When axe is not there, or fails.
    pub fn barriers(&self) -> Vec<String> {
        self.run(axe(), &[]);
        let look = "const done = arguments[0];
            const told = (rule) => `${rule.id}: ${rule.help}: ${rule.nodes.map((node) => node.html).join(' ')}`;
            axe.run().then((found) => done(found.violations.map(told)), (error) => done([String(error)]));";
        let found = self.post("/execute/async", &json!({"script": look, "args": []})).unwrap();
        found.as_array().unwrap().iter().map(|barrier| barrier.as_str().unwrap().to_owned()).collect()
    }

    /// What happened since the last call.
    ///
    /// # Panics
    /// When chromedriver does not say.
    pub fn seen(&self) -> Seen {
        let console = self.log("browser");
        let console = console.iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect();
        let mut seen = Seen { console, ..Seen::default() };
        for entry in self.log("performance") {
            let entry: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            self.note(&mut seen, &entry["message"]);
        }
        seen
    }

    /// Takes a message of the DevTools protocol, if it tells of a request.
    fn note(&self, seen: &mut Seen, message: &Value) {
        let told = &message["params"];
        let Some(id) = told["requestId"].as_str() else { return };
        let address = || self.begun.borrow().get(id).cloned().unwrap_or_default();
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let url = told["request"]["url"].as_str().unwrap().to_owned();
                seen.requests.push(url.clone());
                self.begun.borrow_mut().insert(id.to_owned(), url);
            }
            Some("Network.responseReceived") => {
                let status = told["response"]["status"].as_u64().unwrap();
                if status >= 400 {
                    seen.failures.push(format!("{}: status {status}", address()));
                }
            }
            Some("Network.loadingFailed") if told["canceled"] != true => {
                let why = told["errorText"].as_str().unwrap();
                seen.failures.push(format!("{}: {why} {}", address(), told["blockedReason"]));
            }
            _ => {}
        }
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        self.post("/se/log", &json!({"type": kind})).unwrap().as_array().unwrap().clone()
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters})).unwrap();
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        command_at(&self.session, Method::POST, path, body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends by itself, so that nobody writes into the folder while it is deleted; if not, it is killed.
        let _ = command_at(&self.session, Method::DELETE, "", &Value::Null);
    }
}

fn stroke(what: &str, which: char) -> Value {
    json!({"type": what, "value": which})
}

/// A command of the WebDriver protocol, and the value that it is answered with.
fn command_at(base: &str, method: Method, path: &str, body: &Value) -> Result<Value, String> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let client = CLIENT.get_or_init(|| http::builder().timeout(COMMAND_TIMEOUT).build().unwrap());
    let mut request = client.request(method, format!("{base}{path}"));
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = http::send(request)?;
    let value = answer.json()["value"].take();
    if answer.status == 200 { Ok(value) } else { Err(value["message"].to_string()) }
}

/// The text of axe, which `scripts/test.sh` installs as `tests/browser/package-lock.json` says.
fn axe() -> &'static str {
    static AXE: OnceLock<String> = OnceLock::new();
    AXE.get_or_init(|| {
        let folder = std::env::var_os("TECHSAPO_BROWSER_TOOLS").map_or_else(
            // This test runs from <target>/<profile>/deps.
            || std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("browser"),
            PathBuf::from,
        );
        let file = folder.join("node_modules/axe-core/axe.min.js");
        assert!(file.is_file(), "{} is not there; ./scripts/test.sh rust page installs it", file.display());
        std::fs::read_to_string(file).unwrap()
    })
}
