//! Redis' replies as bytes, whole, in pieces and broken: an entry that Redis sends comes out as it stood in the stream
//! however the network cuts the reply, and no bytes make the reader panic, wait for more than the reply has, or take
//! memory that was merely announced.
#![allow(clippy::unwrap_used)] // What goes wrong here fails the test, and that is what a panic does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use techsapo_exporter::reader::connection::{Connection, ConnectionError, Timeouts};
use techsapo_exporter::reader::entries::{Entries, summary};
use techsapo_exporter::reader::resp::{Element, Elements, Frame, ProtocolError, command, element};
use techsapo_shared::wire::EntryId;

/// Longest wait for what comes at once.
const PATIENCE: Duration = Duration::from_secs(60);

type Entry = ((u64, u64), Vec<(Vec<u8>, Vec<u8>)>);

fn bulk(text: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

/// What Redis replies to `XREAD` of one stream.
fn reply(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = b"*1\r\n*2\r\n$15\r\ntechsapo:events\r\n".to_vec();
    bytes.extend(format!("*{}\r\n", entries.len()).bytes());
    for ((ms, seq), fields) in entries {
        bytes.extend(b"*2\r\n");
        bytes.extend(bulk(format!("{ms}-{seq}").as_bytes()));
        bytes.extend(format!("*{}\r\n", fields.len() * 2).bytes());
        fields.iter().for_each(|(name, value)| bytes.extend([bulk(name), bulk(value)].concat()));
    }
    bytes
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let text = || vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'$')], 0..40);
    vec((any::<(u64, u64)>(), vec((text(), text()), 0..6)), 1..6)
}

/// The entries as the pipeline takes them.
fn taken(reply: &[u8]) -> Vec<Entry> {
    let (mut entries, mut fields, mut all) = (Entries::of(reply), Vec::new(), Vec::new());
    while let Some(id) = entries.next(&mut fields) {
        let fields = fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        all.push(((id.ms, id.seq), fields));
    }
    all
}

/// Gives the bytes to a frame piece by piece. Says how many bytes had come when the reply was whole.
fn whole_after(bytes: &[u8], cuts: &[usize]) -> Result<Option<usize>, ProtocolError> {
    let mut frame = Frame::default();
    for &cut in cuts {
        if frame.is_whole(&bytes[..cut])? {
            return Ok(Some(cut));
        }
    }
    Ok(None)
}

proptest! {
    #[test]
    fn entries_come_out_as_they_stood(entries in entries()) {
        let reply = reply(&entries);
        let summary = summary(&reply).unwrap().unwrap();
        let &((ms, seq), _) = entries.last().unwrap();
        prop_assert_eq!((summary.entries, summary.last), (entries.len() as u64, EntryId { ms, seq }));
        prop_assert_eq!(taken(&reply), entries);
    }

    #[test]
    fn a_reply_is_whole_with_its_last_byte_wherever_it_is_cut(entries in entries(), cuts in vec(any::<Index>(), 0..9)) {
        let reply = reply(&entries);
        let every: Vec<usize> = (0..=reply.len()).collect();
        prop_assert_eq!(whole_after(&reply, &every), Ok(Some(reply.len())));
        let mut some: Vec<usize> = cuts.iter().map(|cut| cut.index(reply.len())).collect();
        some.push(reply.len());
        some.sort_unstable();
        prop_assert_eq!(whole_after(&reply, &some), Ok(Some(reply.len())));
        prop_assert_eq!(whole_after(&[&reply[..], b"+"].concat(), &[reply.len() + 1]), Err(ProtocolError::Surplus));
    }

    #[test]
    fn what_is_broken_is_told_the_same_way_wherever_it_is_cut(
        entries in entries(),
        changes in vec((any::<Index>(), prop_oneof![any::<u8>(), prop::sample::select(b"$*:+-0189\r\n".to_vec())]), 1..6),
    ) {
        let mut reply = reply(&entries);
        for (at, byte) in changes {
            let at = at.index(reply.len());
            reply[at] = byte;
        }
        let at_once = whole_after(&reply, &[reply.len()]);
        let every: Vec<usize> = (0..=reply.len()).collect();
        let in_pieces = whole_after(&reply, &every);
        match (at_once, in_pieces) {
            // Cut exactly behind the reply, nobody can know that more is to come.
            (Err(ProtocolError::Surplus), Ok(Some(end))) => prop_assert!(end < reply.len()),
            (at_once, in_pieces) => prop_assert_eq!(at_once, in_pieces),
        }
        if at_once == Ok(Some(reply.len())) {
            match summary(&reply) {
                Ok(Some(summary)) => prop_assert_eq!(taken(&reply).len() as u64, summary.entries),
                Ok(None) => prop_assert!(taken(&reply).is_empty()),
                Err(error) => prop_assert_eq!(error, ProtocolError::Form("XREAD")),
            }
        }
    }

    #[test]
    fn any_bytes_are_taken(bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(b"$*:+-019\r\n".to_vec())], 0..200)) {
        let _ = Frame::default().is_whole(&bytes);
        let _ = summary(&bytes);
        taken(&bytes);
    }

    #[test]
    fn a_command_reads_as_what_it_was_made_of(arguments in vec(vec(any::<u8>(), 0..30), 1..6)) {
        let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let bytes = command(&slices);
        prop_assert_eq!(Frame::default().is_whole(&bytes), Ok(true));
        let mut elements = Elements::of(&bytes);
        prop_assert_eq!(elements.array(), Some(arguments.len() as u64));
        for argument in &slices {
            prop_assert_eq!(elements.text(), Some(*argument));
        }
    }
}

#[test]
fn elements_are_those_of_resp_2() {
    let read = |bytes: &'static [u8]| element(bytes).map(|found| found.map(|(element, _)| element));
    assert_eq!(read(b"+OK\r\n"), Ok(Some(Element::Status(b"OK"))));
    assert_eq!(read(b"-MOVED 1 host:1\r\n"), Ok(Some(Element::Error(b"MOVED 1 host:1"))));
    assert_eq!(read(b":-9223372036854775808\r\n"), Ok(Some(Element::Integer(i64::MIN))));
    assert_eq!(read(b":9223372036854775807\r\n"), Ok(Some(Element::Integer(i64::MAX))));
    assert_eq!(read(b"$-1\r\n"), Ok(Some(Element::Null)));
    assert_eq!(read(b"*-1\r\n"), Ok(Some(Element::Null)));
    assert_eq!(read(b"$0\r\n\r\n"), Ok(Some(Element::Bulk(b""))));
    assert_eq!(read(b"$3\r\na\r\n\r\n"), Ok(Some(Element::Bulk(b"a\r\n"))));
    assert_eq!(read(b"$3\r\nab"), Ok(None));

    assert_eq!(read(b"HTTP/1.1 400 Bad Request"), Err(ProtocolError::Kind(b'H')));
    assert_eq!(read(b"%1\r\n"), Err(ProtocolError::Kind(b'%')), "RESP 3 was not asked for");
    assert_eq!(read(b":9223372036854775808\r\n"), Err(ProtocolError::Number));
    assert_eq!(read(b":\r\n"), Err(ProtocolError::Number));
    assert_eq!(read(b":000000000000000000000"), Err(ProtocolError::Number));
    assert_eq!(read(b"*-2\r\n"), Err(ProtocolError::Number));
    assert_eq!(read(b":1\rX"), Err(ProtocolError::End));
    assert_eq!(read(b"$1\r\nabc"), Err(ProtocolError::End));
    assert_eq!(read(b"$536870913\r\n"), Err(ProtocolError::TooLong));
    let endless = [b"-".as_slice(), &vec![b'x'; 1 << 17]].concat();
    assert_eq!(element(&endless), Err(ProtocolError::TooLong));
}

#[test]
fn an_announced_length_is_waited_for_and_not_believed() {
    assert_eq!(Frame::default().is_whole(b"*9223372036854775807\r\n"), Ok(false));
    let nested = b"*9223372036854775807\r\n".repeat(3);
    assert_eq!(Frame::default().is_whole(&nested), Err(ProtocolError::Number));
    // Deeper than any stack.
    let deep = b"*1\r\n".repeat(1_000_000);
    assert_eq!(Frame::default().is_whole(&deep), Ok(false));
}

#[test]
fn a_reply_of_another_form_is_refused_as_a_whole() {
    assert_eq!(summary(b"*-1\r\n"), Ok(None));
    assert_eq!(summary(b"*0\r\n"), Ok(None));
    let whole = reply(&[((1, 2), vec![(b"v".to_vec(), b"1".to_vec())])]);
    let replaced =
        |from: &str, to: &str| String::from_utf8(whole.clone()).unwrap().replacen(from, to, 1).into_bytes();
    for broken in [
        b"+OK\r\n".to_vec(),
        b":1\r\n".to_vec(),
        b"*1\r\n*2\r\n$1\r\ns\r\n*0\r\n".to_vec(),
        replaced("*1\r\n*2", "*2\r\n*2"),
        replaced("$3\r\n1-2", "$3\r\n1:2"),
        replaced("*2\r\n$1\r\nv\r\n$1\r\n1\r\n", "*1\r\n$1\r\nv\r\n"),
        replaced("$1\r\nv\r\n", "$-1\r\n"),
        replaced("*2\r\n$1\r\nv\r\n$1\r\n1\r\n", "*-1\r\n"),
        [&whole[..], b":1\r\n"].concat(),
    ] {
        let shown = String::from_utf8_lossy(&broken);
        assert_eq!(summary(&broken), Err(ProtocolError::Form("XREAD")), "{shown:?}");
    }
}

/// A server that takes one connection and answers each command with the next of `replies`, byte by byte; then it
/// hangs up. Gives a client of it, and what it was sent.
fn server(url: &str, replies: &[&str]) -> (redis::Client, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let replies: Vec<String> = replies.iter().map(|&reply| reply.to_owned()).collect();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        for reply in replies {
            read_command(&mut stream, &mut asked);
            stream.set_nodelay(true).unwrap();
            reply.bytes().for_each(|byte| stream.write_all(&[byte]).unwrap_or_default());
        }
        asked
    });
    (redis::Client::open(url.replace("HOST", &address)).unwrap(), asked)
}

fn read_command(stream: &mut TcpStream, asked: &mut Vec<u8>) {
    let begin = asked.len();
    let mut byte = [0];
    while !Frame::default().is_whole(&asked[begin..]).unwrap() {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "the client hung up");
        asked.push(byte[0]);
    }
}

fn open(client: &redis::Client) -> Result<Connection, ConnectionError> {
    let timeouts = Timeouts { connect: PATIENCE, read: PATIENCE, write: PATIENCE };
    Connection::open(client.get_connection_info(), None, timeouts)
}

fn refusal(result: Result<impl Sized, ConnectionError>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn user_password_and_database_are_those_of_the_address() {
    let (client, asked) = server("redis://anna:s3cret@HOST/7", &["+OK\r\n", "+OK\r\n", "+PONG\r\n"]);
    let reply = open(&client).unwrap().ask("PING", &[b"PING"]).unwrap();
    assert_eq!(reply.bytes(), b"+PONG\r\n");
    let expected =
        [command(&[b"AUTH", b"anna", b"s3cret"]), command(&[b"SELECT", b"7"]), command(&[b"PING"])];
    assert_eq!(asked.join().unwrap(), expected.concat());

    let (client, asked) = server("redis://:s3cret@HOST", &["+OK\r\n"]);
    open(&client).unwrap();
    assert_eq!(asked.join().unwrap(), command(&[b"AUTH", b"s3cret"]));
}

#[test]
fn errors_say_what_was_refused_and_no_secret() {
    let (client, _asked) =
        server("redis://:s3cret@HOST", &["-ERR unknown command 'AUTH', with args: 's3cret'\r\n"]);
    assert_eq!(refusal(open(&client)), "Redis refuses AUTH: ERR");

    let moved = "-MOVED 3999 127.0.0.1:6381\r\n";
    let (client, _asked) = server("redis://HOST", &[moved]);
    let refused = refusal(open(&client).unwrap().ask("XREAD", &[b"XREAD"]));
    assert_eq!(refused, "Redis refuses XREAD: MOVED 3999 127.0.0.1:6381");

    let (client, _asked) = server("redis://HOST", &["$5\r\nab"]);
    let refused = refusal(open(&client).unwrap().ask("XREAD", &[b"XREAD"]));
    assert!(refused.starts_with("no reply to XREAD: "), "{refused}");

    let (client, _asked) = server("redis://HOST", &["HTTP/1.1 400 Bad Request\r\n"]);
    let refused = refusal(open(&client).unwrap().ask("XREAD", &[b"XREAD"]));
    assert!(refused.contains("is it a Redis server?"), "{refused}");
}

#[test]
fn silence_is_waited_for_no_longer_than_agreed() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = redis::Client::open(format!("redis://{}", silent.local_addr().unwrap())).unwrap();
    let timeouts = Timeouts { connect: PATIENCE, read: Duration::from_millis(50), write: PATIENCE };
    let mut connection = Connection::open(client.get_connection_info(), None, timeouts).unwrap();
    assert_eq!(refusal(connection.ask("XREAD", &[b"XREAD"])), "no reply to XREAD: timed out");
}

#[test]
fn a_buffer_is_used_again_and_holds_nothing_of_the_last_reply() {
    let long = format!("$3000000\r\n{}\r\n", "x".repeat(3_000_000));
    let (client, _asked) = server("redis://HOST", &["+first\r\n", &long, "$1\r\ny\r\n"]);
    let mut connection = open(&client).unwrap();
    let first = connection.ask("GET", &[b"GET"]).unwrap();
    let second = connection.ask("GET", &[b"GET"]).unwrap();
    assert_eq!(first.bytes(), b"+first\r\n", "a reply that is held is not written over");
    assert_eq!(second.bytes(), long.as_bytes());
    let place = second.bytes().as_ptr();
    drop(second);
    let third = connection.ask("GET", &[b"GET"]).unwrap();
    assert_eq!((third.bytes(), third.bytes().as_ptr()), (&b"$1\r\ny\r\n"[..], place));
}
