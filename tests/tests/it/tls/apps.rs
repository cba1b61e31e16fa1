//! App and exporter as each other's clients, each with one certificate for both directions; and their health checks.

use std::path::Path;

use techsapo_tests::{App, Authority, Identity, RedisServer, binaries, http, wait};

use super::site::{MUTUAL, Site};

const APP_UP: &str = "techsapo_exporter_app_up";

fn healthcheck(listen: &str, ca_file: &Path, identity: &Identity) -> (Option<i32>, String) {
    let mut command = binaries::command("techsapo");
    command.arg("healthcheck").env("TECHSAPO_LISTEN", listen).env("TECHSAPO_TLS_LISTEN", "mutual");
    command.env("TECHSAPO_TLS_CA_FILE", ca_file).env("TECHSAPO_TLS_CERT_FILE", &identity.cert);
    let output = command.env("TECHSAPO_TLS_KEY_FILE", &identity.key).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn app_and_exporter_ask_each_other_by_tls() {
    let redis = RedisServer::start();
    let site = Site::new(MUTUAL);
    let (ca, own) = (site.authority.ca_file(), site.authority.issue("app", &["127.0.0.1"]));
    let visitor = site.client(Some(&site.authority.issue("nginx", &[])));
    let app = App::of(&redis).tls(&ca, &own).served_by_tls(&visitor);
    let mut exporter = site.exporter_both_ways(&redis).spawn();
    let app = app.exporter(&exporter.url()).start();
    exporter.wait_ready();

    // The app passes the exporter's page on, and calls it well.
    let page = app.get("/metrics").unwrap();
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("techsapo_exporter_build_info"));

    // The exporter polls the app, with the certificate that its pages are served with.
    let polling =
        site.exporter_both_ways(&redis).app(&app.url()).checkpoints(site.file("second").as_path()).spawn();
    let mut polling = polling;
    wait::until_true("the app is polled", || {
        polling.process.assert_alive();
        polling
            .get("/metrics")
            .is_ok_and(|page| page.text().contains(&format!("{APP_UP}{{url=\"{}\"}} 1", app.url())))
    });

    // Nobody else is let in.
    let stranger = Authority::new("stranger");
    for identity in [None, Some(&stranger.issue("nginx", &[]))] {
        let answer = http::send(site.client(identity).get(format!("{}/health", app.url())));
        assert!(answer.is_err(), "{answer:?}");
    }
    let in_clear = http::get(&format!("{}/health", app.url().replace("https", "http"))).unwrap();
    assert_eq!(in_clear.status, 400);

    let address = app.url().replace("https://", "");
    let (code, said) = healthcheck(&address, &ca, &own);
    assert!(code == Some(0) && said.starts_with(&format!("healthy: https://{address}/health")), "{said}");
    let (code, said) = healthcheck(&address, &stranger.ca_file(), &own);
    assert!(code == Some(1) && said.contains("UnknownIssuer"), "{said}");

    // The app's certificate is renewed by another authority, and shown from then on.
    let next = Authority::new("the next");
    next.issue("app", &["127.0.0.1"]).replace(&own);
    let by_next = http::tls_client(&next, Some(&site.authority.issue("nginx", &[])));
    wait::until_true("the new certificate is shown", || {
        http::send(by_next.get(format!("{}/health", app.url()))).is_ok_and(|answer| answer.status == 200)
    });
}
