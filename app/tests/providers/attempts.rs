//! What is tried again and what is not, deadlines, and broken connections.

use std::time::{Duration, Instant, SystemTime};

use techsapo_app::providers::{CompletionRequest, ErrorKind, Provider};

use super::vendors::{Reply, SHAPES, Shape, VendorServer};
use super::{answer_cost_nanousd, ask, ask_server, remote, request, settings};

const LONG: Duration = Duration::from_secs(60);

fn good(shape: &Shape) -> Reply {
    Reply::json(&(shape.answer)(shape.model, "Yes."))
}

#[test]
fn what_may_succeed_is_tried_again_and_the_rest_is_not() {
    for shape in &SHAPES {
        for (status, body, kind) in shape.refusals {
            let replies = [Reply::new(*status, &[("retry-after", "0")], body), good(shape)];
            let (answer, server) = ask_server(shape, replies, |settings| settings.attempts = 2);
            if kind.retryable() {
                let answer = answer.unwrap_or_else(|error| panic!("{} {status}: {error}", shape.section));
                assert_eq!((answer.attempts, server.seen().len()), (2, 2));
            } else {
                assert_eq!(answer.unwrap_err().kind, *kind);
                assert_eq!(server.seen().len(), 1, "{} {status} {body}", shape.section);
            }
        }
    }
}

#[test]
fn attempts_end_and_their_costs_add_up() {
    for shape in &SHAPES {
        // Failed after it was billed, in those formats that have such a thing; else simply refused.
        let billed = (shape.no_answers)().into_iter().find(|(_, kind)| kind.retryable());
        let Some((body, kind)) = billed else { continue };
        let (answer, server) = ask_server(shape, [Reply::json(&body)], |settings| settings.attempts = 2);
        let error = answer.unwrap_err();
        assert_eq!((error.kind, error.attempts, server.seen().len()), (kind, 2, 2));
        assert_eq!(error.spent.cost_nanousd, 2 * answer_cost_nanousd(shape));

        let (answer, _) =
            ask_server(shape, [Reply::json(&body), good(shape)], |settings| settings.attempts = 2);
        let answer = answer.unwrap();
        assert_eq!(answer.spent.cost_nanousd, 2 * answer_cost_nanousd(shape), "both attempts were billed");
        assert_eq!(answer.spent.tokens.input, 2 * shape.tokens.input);
    }
}

#[test]
fn retry_after_is_waited_for_as_seconds_and_as_date() {
    let shape = &SHAPES[2];
    // A date has whole seconds: this one is two to three away.
    let date = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    for (value, least) in [("1".to_owned(), 1_000), (date(), 0)] {
        let limited = Reply::new(429, &[("retry-after", &value)], shape.refusals[7].1);
        let (began, now) = (Instant::now(), SystemTime::now());
        let (answer, _) = ask_server(shape, [limited, good(shape)], |settings| settings.attempts = 2);
        assert_eq!(answer.unwrap().attempts, 2);
        // Never earlier; how much later is the machine's.
        assert!(began.elapsed() >= Duration::from_millis(least), "{value}: {:?}", began.elapsed());
        let due = httpdate::parse_http_date(&value).unwrap_or(now);
        assert!(SystemTime::now() >= due, "{value}");
    }
}

#[test]
fn a_wait_beyond_the_deadline_is_not_begun() {
    for shape in &SHAPES {
        let limited = Reply::new(503, &[("retry-after", "3600")], "");
        let began = Instant::now();
        let (answer, server) = ask_server(shape, [limited], |settings| settings.attempts = 5);
        let error = answer.unwrap_err();
        assert_eq!(error.retry_after, Some(Duration::from_secs(3_600)));
        assert_eq!(server.seen().len(), 1);
        assert!(began.elapsed() < Duration::from_secs(20), "it was told at once");
    }
}

#[test]
fn google_tells_the_wait_in_the_body() {
    let shape = &SHAPES[0];
    let (_, body, _) = shape.refusals.iter().find(|(.., kind)| *kind == ErrorKind::RateLimited).unwrap();
    let (answer, _) = ask_server(shape, [Reply::new(429, &[], body)], |_| ());
    assert_eq!(answer.unwrap_err().retry_after, Some(Duration::from_millis(500)));
}

#[test]
fn silence_ends_at_the_deadline_and_what_was_billed_until_then_is_told() {
    for shape in &SHAPES {
        let hang = VendorServer::start([Reply::hang()]);
        let provider = remote(shape, settings(shape, hang.url()));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let error = runtime.block_on(provider.complete(request(Duration::from_millis(300)))).unwrap_err();
        assert_eq!((error.kind, error.attempts), (ErrorKind::Timeout, 1), "{}", shape.section);

        let (events, _, tokens) = (shape.broken_streams)().pop().unwrap();
        let silent = Reply::silent_events(&events);
        for (timeout, idle) in [(1, 10), (20, 1)] {
            let (answer, server) = ask_server(shape, [silent.clone(), good(shape)], |settings| {
                settings.stream = true;
                settings.attempts = 2;
                settings.timeout = Duration::from_secs(timeout);
                settings.idle_timeout = Duration::from_secs(idle);
            });
            let error = answer.unwrap_err();
            assert_eq!(
                (error.kind, error.spent.tokens),
                (ErrorKind::Timeout, tokens),
                "{} {error}",
                shape.section
            );
            assert_eq!(server.seen().len(), 1, "nor is it asked, and paid, a second time");
        }
    }
}

#[test]
fn connections_that_break_are_told_and_tried_again() {
    for shape in &SHAPES {
        let (events, ..) = (shape.broken_streams)().pop().unwrap();
        let broken = [
            (false, good(shape).cut()),
            (true, Reply::broken_events(&events)),
            (true, Reply::broken_events(&[])),
        ];
        for (streamed, reply) in broken {
            let (answer, server) = ask_server(shape, [reply.clone()], |settings| settings.stream = streamed);
            let error = answer.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Network, "{} {streamed}: {error}", shape.section);
            assert_eq!(server.seen().len(), 1);
            let (answer, _) = ask_server(shape, [reply, good(shape)], |settings| {
                settings.stream = streamed;
                settings.attempts = 2;
            });
            assert_eq!(answer.unwrap().attempts, 2);
        }
    }
}

#[test]
fn nobody_there_is_told_without_the_address() {
    let shape = &SHAPES[1];
    let error = ask(&remote(shape, settings(shape, "http://127.0.0.1:1"))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Network);
    assert!(error.to_string().contains("refused") && !error.to_string().contains("http"), "{error}");
}

#[test]
fn a_slow_body_is_waited_for_within_the_deadline() {
    for shape in &SHAPES {
        let slow = good(shape).slow(Duration::from_millis(700));
        let (answer, _) = ask_server(shape, [slow.clone()], |_| ());
        assert_eq!(answer.unwrap().text, "Yes.");
        let (answer, _) = ask_server(shape, [slow], |settings| settings.timeout = Duration::from_millis(100));
        assert_eq!(answer.unwrap_err().kind, ErrorKind::Timeout);
    }
}

#[test]
fn a_model_that_is_gone_is_remembered_and_the_next_one_asked() {
    for shape in &SHAPES {
        let (status, body) = shape.gone;
        let next = Reply::json(&(shape.answer)("next-model", "Yes."));
        let server = VendorServer::start([Reply::new(status, &[], body), next]);
        let mut changed = settings(shape, server.url());
        changed.models.push("next-model".to_owned());
        let provider = remote(shape, changed);
        let first = ask(&provider).unwrap_or_else(|error| panic!("{}: {error}", shape.section));
        assert_eq!((first.attempts, server.seen().len()), (2, 2));
        assert_eq!(ask(&provider).unwrap().attempts, 1, "the first is not asked again");

        // Who asks for that model and no other is told.
        server.now([Reply::new(status, &[], body)]);
        let only = CompletionRequest { model: Some(shape.model), ..request(Duration::from_secs(30)) };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let error = runtime.block_on(provider.complete(only)).unwrap_err();
        assert_eq!((error.kind, error.attempts), (ErrorKind::ModelGone, 1));
        // With nothing left, all are asked again rather than none.
        assert_eq!(ask(&provider).unwrap_err().kind, ErrorKind::ModelGone);
        let asked = server.seen().len();
        assert_eq!(ask(&provider).unwrap_err().attempts, 2);
        assert_eq!(server.seen().len(), asked + 2);
    }
}

#[test]
fn a_call_without_a_place_is_rejected_and_never_made() {
    let shape = &SHAPES[1];
    let server = VendorServer::start([Reply::hang()]);
    let provider = remote(shape, {
        let mut settings = settings(shape, server.url());
        settings.concurrency = 1;
        settings
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (first, second) = runtime.block_on(async {
        tokio::join!(
            provider.complete(request(Duration::from_secs(2))),
            provider.complete(request(Duration::from_millis(300))),
        )
    });
    assert_eq!(first.unwrap_err().kind, ErrorKind::Timeout);
    let second = second.unwrap_err();
    assert_eq!((second.kind, second.attempts), (ErrorKind::Saturated, 0));
    assert!(second.kind.rejected());
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_call_that_pauses_holds_no_place() {
    let shape = &SHAPES[1];
    let limited = Reply::new(429, &[("retry-after", "20")], shape.refusals[7].1);
    let server = VendorServer::start([limited, good(shape)]);
    let provider = remote(shape, {
        let mut settings = settings(shape, server.url());
        (settings.concurrency, settings.attempts) = (1, 2);
        settings
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let second = runtime.block_on(async {
        let first = provider.complete(request(Duration::from_secs(60)));
        let second = async {
            while server.seen().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            provider.complete(request(Duration::from_secs(15))).await
        };
        tokio::select! {
            biased;
            second = second => second,
            first = first => panic!("its pause is longer: {first:?}"),
        }
    });
    assert!(second.is_ok(), "{second:?}");
}

/// What it had less time for than a call may take says nothing of the provider.
#[test]
fn a_timeout_tells_whether_the_call_had_its_time() {
    let shape = &SHAPES[1];
    let short = Duration::from_secs(2);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (deadline, patience, timeout, hurried) in
        [(short, short, LONG, false), (short, LONG, LONG, true), (LONG, LONG, short, false)]
    {
        let server = VendorServer::start([Reply::hang()]);
        let provider = remote(shape, {
            let mut settings = settings(shape, server.url());
            settings.timeout = timeout;
            settings
        });
        let request = CompletionRequest { patience, ..request(deadline) };
        let error = runtime.block_on(provider.complete(request)).unwrap_err();
        assert_eq!(
            (error.kind, error.hurried),
            (ErrorKind::Timeout, hurried),
            "{deadline:?} {patience:?} {timeout:?}"
        );
    }
    // A stream that falls silent while there is time does so of itself, however much less time it was given.
    let (events, ..) = (shape.broken_streams)().pop().unwrap();
    let server = VendorServer::start([Reply::silent_events(&events)]);
    let mut settings = settings(shape, server.url());
    (settings.stream, settings.timeout, settings.idle_timeout) = (true, LONG, Duration::from_millis(100));
    let request = CompletionRequest { patience: LONG, ..request(LONG / 2) };
    let error = runtime.block_on(remote(shape, settings).complete(request)).unwrap_err();
    assert_eq!((error.kind, error.hurried), (ErrorKind::Timeout, false), "{error}");
}
