//! Providers over the network, against servers on this machine that speak as the vendors do: what is asked, what is read from
//! every documented answer and refusal, what is tried again, what it costs; and the app with all four,
//! each behind its breaker.

#![allow(clippy::unwrap_used)] // A test that meets the unexpected has failed.

mod answers;
mod attempts;
mod breakers;
mod budget;
mod running;
#[allow(dead_code)] // Other tests use the rest of it.
#[path = "../support/mod.rs"]
mod support;
mod vendors;

use std::time::{Duration, Instant};

use techsapo_app::providers::key::Key;
use techsapo_app::providers::prices::Price;
use techsapo_app::providers::remote::{Remote, RemoteSettings};
use techsapo_app::providers::vendors::VENDORS;
use techsapo_app::providers::{Before, Completion, CompletionRequest, Provider, ProviderError, Tokens};
use techsapo_shared::labels::TaskType;
use vendors::{Reply, Shape, VendorServer};

const KEY: &str = "sk-secret-0123456789";
/// What [`vendors::openrouter`]'s answers state as their charge.
const CHARGED_NANOUSD: u64 = 123_457;

/// Settings for a server at `url`: no second attempt, and a price for the shape's model.
fn settings(shape: &Shape, url: &str) -> RemoteSettings {
    RemoteSettings {
        base_url: url.to_owned(),
        models: vec![shape.model.to_owned()],
        stream: false,
        timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(10),
        attempts: 1,
        concurrency: 16,
        max_output_tokens: 1_000,
        prices: vec![price(shape.model, 1)],
    }
}

/// A price that is `times` 1.25, 0.125, 3.75 and 10 USD.
fn price(model: &str, times: u64) -> Price {
    Price {
        model: model.to_owned(),
        from_ms: 0,
        over_input_tokens: 0,
        input_nanousd: times * 1_250_000_000,
        cached_input_nanousd: times * 125_000_000,
        cache_write_nanousd: times * 3_750_000_000,
        output_nanousd: times * 10_000_000_000,
    }
}

/// What tokens cost at that price, worked out anew.
fn cost_nanousd(tokens: Tokens) -> u64 {
    let fresh = tokens.input - tokens.cached_input - tokens.cache_write;
    fresh * 1_250 + tokens.cached_input * 125 + tokens.cache_write * 3_750 + tokens.output * 10_000
}

/// What an answer in this shape costs: OpenRouter states it.
fn answer_cost_nanousd(shape: &Shape) -> u64 {
    if shape.section == "openrouter" { CHARGED_NANOUSD } else { cost_nanousd(shape.tokens) }
}

fn remote(shape: &Shape, settings: RemoteSettings) -> Remote {
    let vendor = VENDORS.iter().find(|vendor| vendor.section == shape.section).unwrap();
    Remote::new(vendor, settings, Key::new(KEY).unwrap()).unwrap()
}

fn request(time: Duration) -> CompletionRequest<'static> {
    CompletionRequest {
        prompt: "Why is the sky blue?",
        task_type: TaskType::Basic,
        model: None,
        material: None,
        before: Before::Nothing,
        deadline: Instant::now() + time,
        patience: time,
    }
}

/// Asks once, with half a minute of time.
#[tokio::main(flavor = "current_thread")]
async fn ask(remote: &Remote) -> Result<Completion, ProviderError> {
    remote.complete(request(Duration::from_secs(30))).await
}

/// Asks a server that gives these replies, with these changes of the settings.
fn ask_server(
    shape: &Shape,
    replies: impl IntoIterator<Item = Reply>,
    change: impl Fn(&mut RemoteSettings),
) -> (Result<Completion, ProviderError>, VendorServer) {
    let server = VendorServer::start(replies);
    let mut settings = settings(shape, server.url());
    change(&mut settings);
    (ask(&remote(shape, settings)), server)
}
