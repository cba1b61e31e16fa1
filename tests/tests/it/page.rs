//! The live page in a real browser, on the real app: what its users do, see and hear.
//!
//! Whatever a test is about, at its end the page must have been silent on the console, must have asked nobody but its own
//! app, and every request must have come to something, unless the test itself took the app away or was refused.

mod asking;
mod key;
mod visitors;
mod watching;

use serde_json::Value;
use techsapo_tests::browser::key::{CONTROL, ENTER};
use techsapo_tests::{App, AppSetup, Browser, Exporter, RedisServer, wait};

/// An app whose figures an exporter keeps.
struct World {
    app: App,
    exporter: Exporter,
    _redis: RedisServer,
}

impl World {
    fn start() -> Self {
        Self::with(|setup| setup)
    }

    fn with(change: impl FnOnce(AppSetup) -> AppSetup) -> Self {
        let redis = RedisServer::start();
        let exporter = Exporter::of(&redis).start();
        let setup = App::of(&redis).exporter(&exporter.url()).set("TECHSAPO_LIVE_INTERVAL", "200ms");
        Self { app: change(setup).start(), exporter, _redis: redis }
    }
}

/// The page, open in a browser.
struct Page {
    browser: Browser,
    /// `http://127.0.0.1:<port>` of its app.
    origin: String,
}

impl Page {
    /// Opens it, and waits until it is connected.
    fn open(app: &App) -> Self {
        let page = Self::load(app, Browser::open());
        page.wait_live();
        page
    }

    /// Opens it in this browser, and waits for nothing.
    fn load(app: &App, browser: Browser) -> Self {
        let page = Self { browser, origin: app.url() };
        page.browser.go(&page.origin);
        page
    }

    /// What the first element with this selector says, as people see it; nothing where none is to be seen.
    fn text(&self, selector: &str) -> String {
        let text = "const one = document.querySelector(arguments[0]);
            return one?.checkVisibility() ? one.innerText : '';";
        self.browser.run(text, &[selector]).as_str().unwrap().to_owned()
    }

    /// The same of all elements.
    fn texts(&self, selector: &str) -> Vec<String> {
        let texts = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText);";
        let texts = self.browser.run(texts, &[selector]);
        texts.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    /// Whether this is true in the page: an expression of JavaScript.
    fn is(&self, expression: &str) -> bool {
        self.browser.run(&format!("return {expression};"), &[]) == true
    }

    /// The id of the element that has the focus.
    fn focus(&self) -> Value {
        self.browser.run("return document.activeElement.id;", &[])
    }

    fn wait_text(&self, selector: &str, part: &str) {
        wait::until_true(&format!("{selector} says {part:?}"), || self.text(selector).contains(part));
    }

    fn wait_live(&self) {
        wait::until_true("the page is connected", || self.text("#connection") == "live");
    }

    /// The value of the key figure with this name.
    fn figure(&self, name: &str) -> String {
        let value = "const of = (one) => one.querySelector('dt').textContent;
            const tile = [...document.querySelectorAll('#figures .tile')].find((one) => of(one) === arguments[0]);
            return tile?.querySelector('.value').textContent ?? '';";
        self.browser.run(value, &[name]).as_str().unwrap().to_owned()
    }

    /// Types a question in place of what stood there and asks it, from the keyboard.
    fn ask(&self, question: &str) {
        self.browser.click("#question");
        self.browser.press_with(CONTROL, 'a');
        self.browser.press(question);
        self.browser.press_with(CONTROL, ENTER);
    }

    /// Asks, and waits for the answer.
    fn ask_through(&self, question: &str) {
        self.ask(question);
        self.wait_text("#progress", "Done.");
    }

    /// Marks the page as it is loaded, to know it from one that was loaded anew.
    fn mark(&self) {
        self.browser.run("window.marked = true;", &[]);
    }

    fn is_marked(&self) -> bool {
        self.is("window.marked === true")
    }

    /// Nothing went wrong since the last look.
    fn assert_well(&self) {
        self.assert_well_but(&[]);
    }

    /// Nothing went wrong since the last look but what names one of these.
    fn assert_well_but(&self, expected: &[&str]) {
        let seen = self.browser.seen();
        let foreign = seen.requests.iter().filter(|url| !url.starts_with(&format!("{}/", self.origin)));
        let troubles = seen.console.iter().chain(&seen.failures);
        let unexpected = troubles.filter(|text| !expected.iter().any(|part| text.contains(part)));
        let wrong: Vec<_> = foreign.chain(unexpected).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
