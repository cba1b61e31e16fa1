//! The apps that are polled, and the address to serve on.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use reqwest::StatusCode;
use techsapo_shared::event::RuntimeSample;
use techsapo_tls::ClientTls;

use super::finding::Finding;
use crate::flags::ListenArgs;
use crate::pipeline::chain;
use crate::samplers::status::{Asker, StatusError};
use crate::tools::{human, own_pages};

/// How long whoever listens on our address may take to say who it is.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What our landing page says.
const OURS: &str = "<title>TechSapo Exporter</title>";

/// Asks an app for its status.
pub(super) async fn app(asker: &Asker, url: &str) -> Finding {
    let about = format!("app {url}");
    match asker.ask(url).await {
        Ok(sample) => Finding::ok(about, described(&sample)),
        // Without apps there is no status, and all events are counted.
        Err(StatusError::Asking(error)) => {
            let advice = "start it, or give its address with --app.url (none: poll nothing)";
            Finding::warning(about, format_args!("it does not answer: {}", chain(&error)), advice)
        }
        Err(StatusError::Status(status)) => {
            let advice = "see whether --app.url leads to the app, and its log";
            Finding::warning(about, format_args!("it answered {status}"), advice)
        }
        // These say what to do.
        Err(error @ (StatusError::KeyFile { .. } | StatusError::NoKey(_) | StatusError::Refused(_))) => {
            Finding::failed(about, error, "")
        }
        Err(error) => Finding::failed(about, error, "give an app's address with --app.url"),
    }
}

fn described(sample: &RuntimeSample<'_>) -> String {
    let mut text = format!("{} answers", sample.app_instance);
    if let Some(journal) = &sample.journal {
        let (used, all) = (human::bytes(journal.used_bytes), human::bytes(journal.capacity_bytes));
        text.push_str(&format!("; {used} of its journal's {all} wait to be counted"));
        if journal.dropped > 0 {
            text.push_str(&format!(", {} events were dropped", journal.dropped));
        }
    }
    text
}

/// Whether an exporter could serve there.
pub(super) async fn address(listen: &ListenArgs, tls: &ClientTls) -> Finding {
    let about = format!("web.listen-address {}", listen.address);
    match TcpListener::bind(listen.address) {
        Ok(_) => Finding::ok(about, "it is free"),
        Err(error) if error.kind() == ErrorKind::AddrInUse => match who_serves(listen, tls).await {
            Some(ready) => {
                Finding::ok(about, format_args!("a running techsapo-exporter serves there: {ready}"))
            }
            None => Finding::failed(
                about,
                "another program listens there",
                "stop it, or choose another address with --web.listen-address",
            ),
        },
        Err(error) => Finding::failed(
            about,
            format_args!("nothing can listen there: {error}"),
            "choose an address of this host, and a port that this user may use, with --web.listen-address",
        ),
    }
}

/// What the exporter that serves there says of itself; nothing if it is none.
async fn who_serves(listen: &ListenArgs, tls: &ClientTls) -> Option<String> {
    let (client, base) = own_pages::client(listen, tls, TIMEOUT).ok()?;
    let mut landing = client.get(&base).send().await.ok()?;
    // With users, the page that tells an exporter wants a password.
    if landing.status() == StatusCode::UNAUTHORIZED && listen.web_config.is_some() {
        return Some("it wants a password".to_owned());
    }
    // A page of ours is small; what another program sends may be endless.
    let mut page = Vec::new();
    while let Some(chunk) = landing.chunk().await.ok()? {
        page.extend_from_slice(&chunk);
        if page.len() > 16 * 1024 {
            return None;
        }
    }
    if !String::from_utf8_lossy(&page).contains(OURS) {
        return None;
    }
    let ready = client.get(format!("{base}/-/ready")).send().await.ok()?.text().await.ok()?;
    Some(ready.trim_end().to_owned())
}
