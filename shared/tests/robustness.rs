//! What holds for any input: a batch that a producer encodes decodes to the same facts, and no bytes, however wrong,
//! make the decoder panic (the exporter reads what anybody may have written to the stream).

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use techsapo_shared::audit::{AuditCall, AuditNote};
use techsapo_shared::event::*;
use techsapo_shared::labels::ClosedLabel;
use techsapo_shared::wire::{Batch, EntryId, LOST_LINE, Line, Origin, StreamKeys, decode_line};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn label<L: ClosedLabel + std::fmt::Debug>() -> impl Strategy<Value = L> {
    select(L::ALL)
}

/// Open label values, with all that JSON must escape.
fn text() -> impl Strategy<Value = Cow<'static, str>> {
    prop_oneof!["[a-z0-9./:{}-]{1,40}", "\\PC{1,40}", "[\"\\\\\n\r\t\u{0}é接😀]{1,20}"].prop_map(Cow::Owned)
}

fn t() -> impl Strategy<Value = u64> {
    0..=MAX_T_MS
}

fn duration() -> impl Strategy<Value = u64> {
    0..=MAX_DURATION_US
}

fn bytes() -> impl Strategy<Value = u64> {
    0..=MAX_BYTES
}

fn ppm() -> impl Strategy<Value = u32> {
    0..=WHOLE_PPM
}

fn analysis() -> impl Strategy<Value = Event<'static>> {
    let agreement = (label(), label(), ppm()).prop_map(|(a, b, score_ppm)| Agreement { a, b, score_ppm });
    let whose = (label(), label(), label(), any::<bool>());
    let scores = (option::of(ppm()), option::of(ppm()), vec(agreement, 0..6));
    (t(), whose, duration(), scores).prop_map(|(t, whose, duration_us, scores)| {
        let ((task_type, provider, status, cached), (confidence_ppm, consensus_ppm, agreements)) =
            (whose, scores);
        Event::Analysis(Analysis {
            t,
            task_type,
            provider,
            status,
            duration_us,
            cached,
            confidence_ppm,
            consensus_ppm,
            agreements,
            audit: None,
        })
    })
}

fn audit_note() -> impl Strategy<Value = AuditNote> {
    let string = || text().prop_map(Cow::into_owned);
    let call =
        ((label(), string(), label()), (duration(), 0..=MAX_TOKENS, 0..=MAX_TOKENS), option::of(string()))
            .prop_map(|((provider, model, status), (duration_us, input_tokens, output_tokens), error)| {
                AuditCall {
                    provider,
                    model,
                    status,
                    duration_us,
                    input_tokens,
                    output_tokens,
                    cost_nanousd: output_tokens,
                    error,
                }
            });
    let who = (string(), string(), option::of(string()), string());
    (who, (text(), bytes(), string(), bytes()), vec(call, 0..4)).prop_map(
        |((request_id, caller, user, session_id), (mode, prompt_bytes, prompt_hash, cost_nanousd), calls)| {
            AuditNote {
                request_id,
                caller,
                user,
                session_id,
                mode,
                prompt_bytes,
                prompt_hash,
                cost_nanousd,
                calls,
            }
        },
    )
}

fn llm_request() -> impl Strategy<Value = Event<'static>> {
    let who = (label(), text(), label(), label());
    (t(), who, duration(), 0..=MAX_TOKENS, 0..=MAX_TOKENS, 0..=MAX_COST_NANOUSD).prop_map(
        |(
            t,
            (provider, model, task_type, status),
            duration_us,
            input_tokens,
            output_tokens,
            cost_nanousd,
        )| {
            Event::LlmRequest(LlmRequest {
                t,
                provider,
                model,
                task_type,
                status,
                duration_us,
                input_tokens,
                output_tokens,
                cost_nanousd,
            })
        },
    )
}

fn http_request() -> impl Strategy<Value = Event<'static>> {
    (t(), (label(), text(), label(), 100..=599u16), duration(), bytes(), bytes()).prop_map(
        |(t, (method, route, route_kind, status_code), duration_us, request_bytes, response_bytes)| {
            Event::HttpRequest(HttpRequest {
                t,
                method,
                route,
                route_kind,
                status_code,
                duration_us,
                request_bytes,
                response_bytes,
            })
        },
    )
}

fn runtime_sample() -> impl Strategy<Value = Event<'static>> {
    let connection =
        (label(), bytes()).prop_map(|(connection_type, open)| ConnectionCount { connection_type, open });
    let queue = (label(), bytes()).prop_map(|(queue_name, length)| QueueLength { queue_name, length });
    let breaker = (label(), label()).prop_map(|(service, state)| BreakerSample { service, state });
    let journal = (bytes(), bytes(), bytes()).prop_map(|(used_bytes, capacity_bytes, dropped)| {
        JournalSample { used_bytes, capacity_bytes, dropped }
    });
    let memory = (bytes(), bytes(), bytes(), option::of(bytes()));
    let redis = (option::of(bytes()), option::of(bytes()));
    let lists = (vec(connection, 0..4), vec(queue, 0..4), vec(breaker, 0..4), option::of(journal));
    (t(), text(), memory, redis, lists).prop_map(|(t, app_instance, memory, redis, lists)| {
        let (resident_bytes, heap_total_bytes, heap_used_bytes, mysql_memory_bytes) = memory;
        let (redis_pool_connections, redis_consecutive_failures) = redis;
        let (connections, queues, breakers, journal) = lists;
        Event::RuntimeSample(Box::new(RuntimeSample {
            t,
            app_instance,
            resident_bytes,
            heap_total_bytes,
            heap_used_bytes,
            connections,
            redis_pool_connections,
            redis_consecutive_failures,
            mysql_memory_bytes,
            queues,
            breakers,
            journal,
        }))
    })
}

fn configuration() -> impl Strategy<Value = Event<'static>> {
    let provider =
        (label(), vec(text(), 0..4)).prop_map(|(provider, models)| ConfiguredProvider { provider, models });
    prop_oneof![
        (t(), label()).prop_map(|(t, component)| Event::ConfigChanged(ConfigChanged { t, component })),
        (t(), text(), vec(provider, 0..4)).prop_map(|(t, app_instance, providers)| {
            Event::ProvidersConfigured(ProvidersConfigured { t, app_instance, providers })
        }),
        (t(), 0..=MAX_COST_NANOUSD, 0..=MAX_COST_NANOUSD, text()).prop_map(
            |(t, daily_nanousd, monthly_nanousd, time_zone)| {
                Event::BudgetLimits(BudgetLimits { t, daily_nanousd, monthly_nanousd, time_zone })
            }
        ),
    ]
}

fn small_events() -> impl Strategy<Value = Event<'static>> {
    prop_oneof![
        (t(), label(), label()).prop_map(|(t, operation, status)| {
            Event::RedisOperation(RedisOperationEvent { t, operation, status })
        }),
        (t(), label(), label()).prop_map(|(t, query_type, status)| Event::MysqlQuery(MysqlQuery {
            t,
            query_type,
            status
        })),
        (t(), label(), any::<bool>()).prop_map(|(t, cache_type, hit)| Event::CacheLookup(CacheLookup {
            t,
            cache_type,
            hit
        })),
        (t(), text(), label(), label()).prop_map(|(t, error_type, severity, service)| {
            Event::Error(ErrorEvent { t, error_type, severity, service })
        }),
        (t(), text(), label(), label()).prop_map(|(t, app_instance, service, state)| {
            Event::CircuitBreaker(CircuitBreaker { t, app_instance, service, state })
        }),
        (t(), label(), label(), option::of(label())).prop_map(|(t, status, method, reason)| {
            Event::AuthAttempt(AuthAttempt { t, status, method, reason })
        }),
        (t(), text(), text()).prop_map(|(t, endpoint, client_ip)| {
            Event::RateLimitHit(RateLimitHit { t, endpoint, client_ip })
        }),
        (t(), label(), any::<bool>()).prop_map(|(t, kind, blocked)| {
            Event::InputSanitization(InputSanitization { t, kind, blocked })
        }),
        (t(), label()).prop_map(|(t, kind)| Event::Anomaly(Anomaly { t, kind })),
        (t(), text(), duration()).prop_map(|(t, app_instance, lag_us)| {
            Event::EventLoopLag(EventLoopLag { t, app_instance, lag_us })
        }),
        (t(), text(), duration()).prop_map(|(t, app_instance, duration_us)| {
            Event::GcPause(GcPause { t, app_instance, duration_us })
        }),
    ]
}

fn event() -> impl Strategy<Value = Event<'static>> {
    prop_oneof![analysis(), llm_request(), http_request(), runtime_sample(), configuration(), small_events()]
}

/// A record of the journal: an event, or one that went bad.
fn record() -> impl Strategy<Value = Option<Event<'static>>> {
    option::weighted(0.9, event())
}

fn origin() -> impl Strategy<Value = Option<(String, u64, u64, u64)>> {
    let seqs = (1..=u64::MAX / 2).prop_flat_map(|first| (Just(first), 1..=first));
    option::of(("[A-Za-z0-9._:-]{1,64}", seqs, any::<u64>()).prop_map(|(p, (s, h), x)| (p, s, h, x)))
}

fn line_of(record: Option<&Event<'_>>) -> Vec<u8> {
    record.map_or(LOST_LINE.to_vec(), |event| serde_json::to_vec(event).expect("an event is JSON"))
}

fn decode(fields: &Fields) -> Option<Batch<'_>> {
    Batch::decode(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))).ok()
}

/// Reads whatever `fields` hold, as the exporter would.
fn read(fields: &Fields) -> usize {
    decode(fields).map_or(0, |batch| batch.lines().filter(|line| decode_line(line).is_ok()).count())
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same_facts(
        records in vec(record(), 1..20),
        origin in origin(),
        last_newline in any::<bool>(),
    ) {
        let mut data = records.iter().map(|record| line_of(record.as_ref())).collect::<Vec<_>>().join(&b'\n');
        if last_newline {
            data.push(b'\n');
        }
        let origin = origin.as_ref().map(|(producer, first_seq, oldest_seq, dropped)| {
            Origin { producer, first_seq: *first_seq, oldest_seq: *oldest_seq, dropped: *dropped }
        });
        let batch = Batch { origin, count: records.len() as u64, data: &data };
        let fields: Fields = batch.encode().into_iter().map(|(name, value)| (name.into(), value.into_owned())).collect();
        prop_assert_eq!(decode(&fields), Some(batch));
        let decoded: Vec<_> = batch.lines().map(decode_line).collect();
        let expected: Vec<_> = records.into_iter().map(|record| Ok(record.map_or(Line::Lost, Line::Event))).collect();
        prop_assert_eq!(decoded, expected);
    }

    #[test]
    fn an_event_is_written_as_serde_writes_it(event in event(), note in option::of(audit_note())) {
        let mut event = event;
        if let Event::Analysis(analysis) = &mut event {
            analysis.audit = note.map(Box::new);
        }
        let mut line = b"before ".to_vec();
        techsapo_shared::encode(&event, &mut line).unwrap();
        let expected = [b"before ".to_vec(), line_of(Some(&event))].concat();
        prop_assert_eq!(String::from_utf8_lossy(&line), String::from_utf8_lossy(&expected));
    }

    #[test]
    fn entry_ids_round_trip_in_order(a in any::<(u64, u64)>(), b in any::<(u64, u64)>()) {
        let [a, b] = [a, b].map(|(ms, seq)| EntryId { ms, seq });
        prop_assert_eq!(EntryId::parse(a.to_string().as_bytes()), Some(a));
        prop_assert_eq!(a.cmp(&b), (a.ms, a.seq).cmp(&(b.ms, b.seq)));
    }

    #[test]
    fn keys_beside_a_stream_never_collide(stream in "(techsapo:events)?[a-z:{}0-9]{0,20}") {
        let keys = StreamKeys::of(&stream);
        let mut all = [&keys.stream, &keys.acks, &keys.cursors, &keys.owner, &keys.quarantine];
        all.sort();
        prop_assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    }

    #[test]
    fn no_bytes_make_a_line_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode_line(&bytes);
        let _ = EntryId::parse(&bytes);
    }

    #[test]
    fn no_fields_make_an_entry_panic(
        fields in vec((prop_oneof!["[vpsnhxd]", "\\PC{0,3}"], vec(any::<u8>(), 0..40)), 0..9),
    ) {
        read(&fields.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect());
    }

    #[test]
    fn no_damage_to_a_good_line_makes_it_panic(
        event in event(),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in option::of(any::<Index>()),
    ) {
        let mut line = line_of(Some(&event));
        for (place, byte) in damage {
            let place = place.index(line.len());
            line[place] = byte;
        }
        if let Some(cut) = cut {
            line.truncate(cut.index(line.len()));
        }
        // What still decodes after all is within the contract's bounds.
        if let Ok(Line::Event(event)) = decode_line(&line) {
            prop_assert_eq!(event.check(), Ok(()));
        }
    }

    #[test]
    fn a_line_is_what_serde_says_it_is(
        event in event(),
        sorted in any::<bool>(),
        changes in vec((any::<Index>(), select(br#"",:{}[]\ 0123456789.eE+-atnsul_"#.to_vec()), any::<bool>()), 0..4),
        repeated in option::weighted(0.2, (any::<Index>(), any::<Index>())),
    ) {
        let mut line = if sorted {
            serde_json::to_value(&event).expect("an event is JSON").to_string().into_bytes()
        } else {
            line_of(Some(&event))
        };
        for (place, byte, insert) in changes {
            let place = place.index(line.len());
            if insert { line.insert(place, byte) } else { line[place] = byte }
        }
        // A field, or whatever stands between two commas, once more.
        let commas: Vec<usize> = (0..line.len()).filter(|&at| line[at] == b',').collect();
        if let Some((from, to)) = repeated && commas.len() > 1 {
            let from = from.index(commas.len() - 1);
            let piece = line[commas[from]..commas[from + 1]].to_vec();
            let to = commas[to.index(commas.len())];
            line.splice(to..to, piece);
        }
        match serde_json::from_slice::<Event<'_>>(&line) {
            Ok(event) if event.check().is_ok() => prop_assert_eq!(decode_line(&line), Ok(Line::Event(event))),
            _ => prop_assert!(decode_line(&line).is_err(), "{}", String::from_utf8_lossy(&line)),
        }
    }

    #[test]
    fn no_damage_to_a_good_entry_makes_it_panic(
        records in vec(record(), 1..5),
        field in any::<Index>(),
        value in prop_oneof![vec(any::<u8>(), 0..30), "[0-9]{0,22}".prop_map(String::into_bytes)],
        missing in any::<bool>(),
    ) {
        let data = records.iter().map(|record| line_of(record.as_ref())).collect::<Vec<_>>().join(&b'\n');
        let origin = Some(Origin { producer: "p", first_seq: 7, oldest_seq: 3, dropped: 0 });
        let batch = Batch { origin, count: records.len() as u64, data: &data };
        let mut fields: Fields = batch.encode().into_iter().map(|(name, value)| (name.into(), value.into_owned())).collect();
        let place = field.index(fields.len());
        if missing {
            fields.remove(place);
        } else {
            fields[place].1 = value;
        }
        read(&fields);
    }
}
