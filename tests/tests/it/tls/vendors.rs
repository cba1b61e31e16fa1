//! The app and the vendors: known by the certificates that the system trusts, and asked nothing where they are not.

use std::fs;
use std::time::Duration;

use serde_json::json;
use techsapo_tests::vendors::{VENDORS, Vendors};
use techsapo_tests::{App, Authority, RedisServer, http};
use tempfile::TempDir;

#[test]
fn a_vendor_is_asked_by_https_and_one_that_nobody_vouches_for_is_not_told_a_key() {
    let (authority, stranger) = (Authority::new("of the vendors"), Authority::new("of somebody else"));
    let identity = authority.issue("localhost", &["127.0.0.1"]);
    let vendors = Vendors::start_with_tls("Widen it step by step.", Duration::ZERO, &identity);
    let (redis, folder) = (RedisServer::start(), TempDir::new().unwrap());
    let providers = folder.path().join("providers.toml");
    fs::write(&providers, vendors.providers_toml(&VENDORS, "")).unwrap();
    // What the system trusts is a file for these two.
    let asked = |trusted: &Authority| {
        let app = VENDORS.iter().fold(App::of(&redis), |app, vendor| app.set(vendor.key_variable, "a-key"));
        let app = app
            .set("TECHSAPO_PROVIDERS_FILE", &providers.to_string_lossy())
            .set("SSL_CERT_FILE", &trusted.ca_file().to_string_lossy())
            .start();
        let body = json!({"prompt": "How do I roll it out?", "task_type": "basic"});
        let answer =
            http::send(http::client().post(format!("{}/api/v1/generate", app.url())).json(&body)).unwrap();
        (answer.status, answer.json())
    };

    let (status, refused) = asked(&stranger);
    assert_eq!((status, vendors.requests()), (502, 0), "{refused}");
    for call in refused["error"]["details"]["calls"].as_array().unwrap() {
        let error = &call["error"];
        assert_eq!(error["kind"], "network", "{refused}");
        assert!(error["message"].as_str().unwrap().contains("certificate"), "{refused}");
    }
    let (status, answered) = asked(&authority);
    assert_eq!((status, vendors.requests()), (200, 2), "{answered}");
    assert_eq!(answered["response"], "Widen it step by step.");
}
