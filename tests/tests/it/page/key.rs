//! The page of an app that asks for keys.

use std::path::{Path, PathBuf};

use techsapo_tests::browser::key::{ENTER, TAB};
use techsapo_tests::{App, Browser, binaries, wait};

use super::{Page, World};

const COOKIE: &str = "techsapo_session";
/// What the browser's console says of a request that was refused for want of a key.
const REFUSED: [&str; 2] = ["401 (Unauthorized)", "status 401"];

/// `techsapo keys …` on this file.
fn keys(file: &Path, arguments: &[&str]) -> String {
    let mut command = binaries::command("techsapo");
    command.arg("keys").args(arguments).env("TECHSAPO_KEYS_FILE", file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn key_file(app: &App) -> PathBuf {
    app.journal().parent().unwrap().join("keys.toml")
}

/// An app with a key, and that key.
fn locked() -> (World, String) {
    let world = World::with(|setup| setup.set("TECHSAPO_KEYS_FILE", "keys.toml"));
    let key = keys(&key_file(&world.app), &["create", "--name", "page", "--tier", "premium"]);
    wait::until_true("the key is needed", || {
        world.app.generate("?", "basic").is_err_and(|error| error.contains("unauthorized"))
    });
    (world, key)
}

/// Gives a key, by keyboard.
fn give(page: &Page, key: &str) {
    page.browser.click("#key");
    page.browser.press(key);
    page.browser.press(TAB);
    page.browser.press(ENTER);
}

#[test]
fn it_asks_for_a_key_and_keeps_no_more_than_a_session() {
    let (mut world, key) = locked();
    let page = Page::load(&world.app, Browser::open());
    page.wait_text("#sign-in", "This instance asks for a key");
    page.wait_text("#connection", "key needed");
    assert_eq!(page.browser.barriers(), [""; 0]);
    give(&page, "tsk_wrong");
    page.wait_text("#key-error", "This key opens nothing here.");
    assert_eq!(page.browser.barriers(), [""; 0]);
    for (typed, why) in [("ん", "the hand was still at Japanese"), ("tsk two", "a space slipped in")] {
        page.browser.run("document.getElementById('key').value = '';", &[]);
        page.browser.run("document.getElementById('key-error').textContent = '';", &[]);
        give(&page, typed);
        wait::until_true(why, || page.text("#key-error") == "This key opens nothing here.");
    }
    page.browser.run("document.getElementById('key').value = '';", &[]);
    page.assert_well_but(&REFUSED);

    give(&page, &key);
    page.wait_live();
    assert!(page.text("#sign-in").is_empty());
    page.browser.run("document.getElementById('tier').value = 'critical';", &[]);
    page.ask("What is beyond this plan?");
    page.wait_text("#ask-error", "critical");
    page.assert_well_but(&["status of 403", "status 403"]);
    page.browser.run("document.getElementById('tier').value = 'premium';", &[]);
    page.ask_through("What does a lease protect?");
    let cookie = page.browser.cookie(COOKIE).expect("a session");
    assert_eq!((&cookie["httpOnly"], &cookie["sameSite"]), (&true.into(), &"Strict".into()));
    let kept =
        page.browser.run("return JSON.stringify([localStorage, sessionStorage, document.cookie]);", &[]);
    assert!(!kept.as_str().unwrap().contains("tsk_") && !kept.as_str().unwrap().contains(COOKIE), "{kept}");

    // The session outlives the page.
    page.browser.reload();
    page.wait_live();
    assert!(page.text("#sign-in").is_empty());
    page.ask_through("What does a lease protect?");
    page.assert_well();

    // And the app, unless that lets none last so long any more: then the key is asked for again. Given, it is shown anew before the
    // session ends.
    world.app.restart();
    page.wait_live();
    world.app.restart_with("TECHSAPO_KEYS_SESSION", "20s");
    page.wait_text("#connection", "key needed");
    give(&page, &key);
    page.wait_live();
    let first = page.browser.cookie(COOKIE).expect("a session");
    wait::until_true("the session is renewed", || {
        page.browser.cookie(COOKIE).is_some_and(|cookie| cookie["value"] != first["value"])
    });
    page.ask_through("And after that?");
    page.assert_well_but(&[REFUSED[0], REFUSED[1], "net::ERR_"]);

    // Revoked, the key opens nothing any more, and the page asks for another one.
    keys(&key_file(&world.app), &["revoke", "page"]);
    keys(&key_file(&world.app), &["create", "--name", "another", "--tier", "premium"]);
    page.wait_text("#sign-in", "This instance asks for a key");
    page.assert_well_but(&REFUSED);
}
