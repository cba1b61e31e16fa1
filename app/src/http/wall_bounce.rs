//! `GET /api/v1/wall-bounce/analyze`: the same analysis as `generate`, told as it happens (server-sent events).
//!
//! Parameters: `query` (the prompt), `task_type` (basic unless named), `mode`, `depth`, `models` (separated by commas),
//! `user_id`, `session_id`, `cache`, `synthesis`; `documents` (true or false) and `top_k`, which `generate` has in `context`. What is wrong
//! with them is an ordinary error. Then come, each as an event of its name with a JSON object: `thinking` (who is asked),
//! `provider_response` (each call, as it ends), `synthesis` (the call that merged the answers, if one was to), and at the end `consensus` and
//! `final_answer` (what `generate` answers), or `error` (the one error shape). Of an answer that is given again, the calls that were
//! made then are told, each with `"cached": true`.
//!
//! The header `Cache-Control` has no say here: browsers send `no-cache` with every event stream by themselves. The parameter
//! `cache` has.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::App;
use super::analyse::analyze;
use super::asked::Asked;
use super::error::ApiError;
use super::generate::answer;
use super::limits::Allowance;
use super::live::{event_stream, handed_on};
use super::ready::Ready;
use super::request_id::RequestId;
use super::wire::CallView;
use crate::analysis::{Call, Step};
use crate::guard::caller::Caller;

/// The handler.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    Extension(allowance): Extension<Allowance>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let body = Value::Object(fields(query.as_deref().unwrap_or(""))?).to_string();
    let asked = Asked::parse(body.as_bytes(), &app.settings.limits)?;
    let ready = Ready::check(&app, &caller, allowance, &request_id, asked).await?;
    let open = app.connections.sse.opened();
    let patience = app.settings.limits.write_timeout;

    // A few events for each call: bounded by the number of calls, and gone with a listener who takes none.
    let (tell, told) = unbounded_channel();
    let thinking =
        json!({"type": "thinking", "asked": ready.plan.asked(), "request_id": request_id.as_ref()});
    let _ = tell.send(("thinking", thinking));
    tokio::spawn(async move {
        let watcher = tell.clone();
        let told = ready.told.clone();
        let watch = Box::new(move |step: Step<'_>| {
            let _ = watcher.send(ended(step, CallView::of));
        });
        // Who has gone before anybody was asked gives up its place in the line; an analysis that has begun goes on by itself.
        let analysed = tokio::select! {
            analysed = analyze(&app, ready, watch) => analysed,
            () = tell.closed() => return,
        };
        let answered = analysed.and_then(|answered| {
            let answer = json!(answer(&answered, &told, &request_id)?);
            for step in answered.found().iter().flat_map(|found| found.report.steps()) {
                let (name, mut told) = ended(step, |call| CallView::of(call).unused());
                told["cached"] = json!(true);
                let _ = tell.send((name, told));
            }
            Ok((consensus(&answer), answer))
        });
        match answered {
            Ok((consensus, answer)) => {
                let _ = tell.send(("consensus", consensus));
                let _ = tell.send(("final_answer", json!({"type": "final_answer", "answer": answer})));
            }
            Err(error) => {
                let mut shape = error.shape(&request_id);
                shape["type"] = json!("error");
                let _ = tell.send(("error", shape));
            }
        }
        // Open until everything was told, or nobody listens any more.
        tell.closed().await;
        drop(open);
    });
    Ok(event_stream(handed_on(messages(told), patience)))
}

/// What the parameters say, as the body of `generate` would.
fn fields(query: &str) -> Result<Map<String, Value>, ApiError> {
    let mut fields = Map::from_iter([("task_type".to_owned(), json!("basic"))]);
    let mut context = Map::new();
    // What is no number, or no yes or no, is passed on, to be told so with all the rest.
    let number = |text: &str| text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
    let flag = |text: &str| text.parse::<bool>().map_or_else(|_| json!(text), |flag| json!(flag));
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = match name.as_ref() {
            "models" => value.split(',').map(str::trim).filter(|model| !model.is_empty()).collect(),
            "depth" => number(&value),
            "synthesis" => flag(&value),
            "documents" => {
                context.insert("documents".to_owned(), flag(&value));
                continue;
            }
            "top_k" => {
                context.insert("top_k".to_owned(), number(&value));
                continue;
            }
            "prompt" | "context" => {
                let here = if name == "prompt" { "query" } else { "documents" };
                let field = if name == "prompt" { "prompt" } else { "context" };
                return Err(ApiError::invalid_request(&[(field, format!("is named {here} here"))]));
            }
            _ => json!(value),
        };
        let name = if name == "query" { "prompt" } else { name.as_ref() };
        fields.insert(name.to_owned(), value);
    }
    if !fields.contains_key("prompt") {
        return Err(ApiError::invalid_request(&[("query", "is missing".to_owned())]));
    }
    fields.insert("context".to_owned(), Value::Object(context));
    Ok(fields)
}

/// A call that has ended, with what was answered.
fn ended<'a>(step: Step<'a>, view: impl Fn(&'a Call) -> CallView<'a>) -> (&'static str, Value) {
    let (name, call) = match step {
        Step::Answer(call) => ("provider_response", call),
        Step::Synthesis(call) => ("synthesis", call),
    };
    let text = call.result.as_ref().ok().map(|completion| completion.text.as_str());
    (name, json!({"type": name, "call": view(call), "response": text}))
}

/// What the answers say together: the answer without its text.
fn consensus(answer: &Value) -> Value {
    json!({
        "type": "consensus",
        "confidence": answer["confidence"],
        "wall_bounce_analysis": answer["wall_bounce_analysis"],
    })
}

fn messages(
    told: UnboundedReceiver<(&'static str, Value)>,
) -> impl stream::Stream<Item = Result<Event, Infallible>> + Send {
    stream::unfold((told, false), async |(mut told, over)| {
        if over {
            return None;
        }
        let (name, data) = told.recv().await?;
        let over = matches!(name, "final_answer" | "error");
        Some((Ok(Event::default().event(name).data(data.to_string())), (told, over)))
    })
}
