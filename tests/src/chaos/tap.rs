//! What the apps say to Redis, listened to on the way: every batch that was ever sent, by producer and number.
//!
//! A journal lets nothing go before it was counted, so by the end of a run every fact came past here at least once. It
//! is the list of what must have been counted, made without any code of the app or the exporter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What stands in a batch for a record that went bad.
pub(super) const LOST: &str = "null";

/// All that was heard.
#[derive(Debug, Default)]
pub(super) struct Tap {
    /// Producer → number → the event's line.
    pub(super) lines: BTreeMap<String, BTreeMap<u64, String>>,
    /// Numbers that were used for two different events, and batches that are none.
    pub(super) nonsense: Vec<String>,
}

impl Tap {
    /// Notes every whole command of a connection, for a proxy to call.
    pub(super) fn ear(tap: &Arc<Mutex<Self>>) -> impl Fn(&mut Vec<u8>) + Send + Sync + 'static {
        let tap = Arc::clone(tap);
        move |sent| {
            while let Some(words) = take_command(sent) {
                tap.lock().unwrap().hear(&words);
            }
        }
    }

    /// Takes in one command.
    fn hear(&mut self, words: &[Vec<u8>]) {
        let text: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        // XADD key id field value …
        if text.len() < 5 || text[0] != "XADD" {
            return;
        }
        let field = |name: &str| text[3..].chunks(2).find(|pair| pair[0] == name).map(|pair| &*pair[1]);
        let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok());
        let (Some(producer), Some(first), Some(count), Some(data)) =
            (field("p"), number("s"), number("n"), field("d"))
        else {
            return self.nonsense.push(format!("a batch without p, s, n or d: {}", text[3..].join(" ")));
        };
        if data.lines().count() as u64 != count {
            self.nonsense.push(format!("a batch of {count} events with {} lines", data.lines().count()));
        }
        let known = self.lines.entry(producer.to_owned()).or_default();
        for (seq, line) in (first..).zip(data.lines()) {
            let before = known.entry(seq).or_insert_with(|| line.to_owned());
            // After a power loss a record may have gone bad that was heard when it was whole.
            if before != line && before != LOST && line != LOST {
                self.nonsense.push(format!("number {seq} of {producer} was {before}, and then {line}"));
            }
        }
    }
}

/// Takes the first whole command (an array of bulk strings) from what a client has sent, if there is one.
fn take_command(sent: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let mut at = 0;
    let count = take_number(sent, &mut at, b'*')?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let length = take_number(sent, &mut at, b'$')?;
        words.push(sent.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    if at > sent.len() {
        return None;
    }
    sent.drain(..at);
    Some(words)
}

/// Reads `<mark><number>\r\n` and moves behind it.
fn take_number(sent: &[u8], at: &mut usize, mark: u8) -> Option<usize> {
    let rest = sent.get(*at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(rest[0], mark, "clients send arrays of bulk strings");
    *at += end + 2;
    std::str::from_utf8(&rest[1..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_whole_and_in_order() {
        let whole = b"*2\r\n$4\r\nPING\r\n$2\r\n\r\n\r\n*1\r\n$1\r\nx\r\n";
        for cut in 0..whole.len() {
            let mut sent = whole[..cut].to_vec();
            let taken = std::iter::from_fn(|| take_command(&mut sent)).count();
            assert_eq!(taken, usize::from(cut >= 22), "cut at {cut}");
        }
        let mut sent = whole.to_vec();
        assert_eq!(take_command(&mut sent), Some(vec![b"PING".to_vec(), b"\r\n".to_vec()]));
        assert_eq!(take_command(&mut sent), Some(vec![b"x".to_vec()]));
        assert!(sent.is_empty() && take_command(&mut sent).is_none());
    }

    #[test]
    fn one_number_means_one_event() {
        let mut tap = Tap::default();
        let batch = |first: &str, data: &str| -> Vec<Vec<u8>> {
            let count = data.lines().count().to_string();
            let words = ["XADD", "key", "*", "v", "1", "p", "a", "s", first, "n", &count, "d", data];
            words.iter().map(|word| word.as_bytes().to_vec()).collect()
        };
        tap.hear(&batch("1", "one\ntwo\n"));
        tap.hear(&batch("2", "two\nthree\n"));
        tap.hear(&batch("3", "null\n"));
        assert_eq!(tap.lines["a"].len(), 3);
        assert!(tap.nonsense.is_empty(), "{:?}", tap.nonsense);
        tap.hear(&batch("1", "other\n"));
        assert_eq!(tap.nonsense.len(), 1);
    }
}
