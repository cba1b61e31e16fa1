//! Redis' protocol (RESP 2) as bytes: where a reply ends, what stands in it, and how a command is written.
//!
//! Pure. In come bytes from the network, whatever they are: nothing panics, nothing is allocated for a length that was
//! merely announced, and what is no RESP 2 is refused with the first byte that shows it. Elements borrow from the reply.

use memchr::memchr;

/// Longest string that Redis sends (`proto-max-bulk-len` as it comes).
const MAX_BULK_BYTES: u64 = 512 << 20;
/// Longest line: only errors and statuses are not mere numbers.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Longest number with its sign.
const MAX_NUMBER_BYTES: usize = 20;

/// What is no reply in RESP 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The byte that says what follows is none of RESP 2.
    #[error("byte {0:#04x} begins no element of RESP 2; is it a Redis server?")]
    Kind(u8),
    /// A number or a length cannot be read.
    #[error("a number or length cannot be read")]
    Number,
    /// A string is announced, or a line goes on, beyond what Redis sends.
    #[error("a string or line is longer than Redis sends any")]
    TooLong,
    /// A string or line does not end with CR LF where it must.
    #[error("an element does not end with CR LF")]
    End,
    /// More bytes came than the reply has.
    #[error("bytes follow the reply that nothing asked for")]
    Surplus,
    /// The reply's elements are not those of the command's reply.
    #[error("the reply does not have the form of a reply to {0}")]
    Form(&'static str),
}

/// One element of a reply; an array's items follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element<'a> {
    /// A status, such as `OK`.
    Status(&'a [u8]),
    /// An error: a code word, then what it is about.
    Error(&'a [u8]),
    /// A whole number.
    Integer(i64),
    /// A string of any bytes.
    Bulk(&'a [u8]),
    /// No string, or no array.
    Null,
    /// So many items follow.
    Array(u64),
}

/// The element that `bytes` begin with and its length; nothing while it is not all there.
///
/// # Errors
/// The bytes are not RESP 2.
#[inline]
pub fn element(bytes: &[u8]) -> Result<Option<(Element<'_>, usize)>, ProtocolError> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
    match kind {
        b'$' => bulk(rest),
        b'*' => {
            Ok(length(rest)?.map(|(items, size)| (items.map_or(Element::Null, Element::Array), 1 + size)))
        }
        b':' => Ok(number(rest)?.map(|(number, size)| (Element::Integer(number), 1 + size))),
        b'+' => Ok(line(rest)?.map(|(text, size)| (Element::Status(text), 1 + size))),
        b'-' => Ok(line(rest)?.map(|(text, size)| (Element::Error(text), 1 + size))),
        other => Err(ProtocolError::Kind(other)),
    }
}

#[inline]
fn bulk(rest: &[u8]) -> Result<Option<(Element<'_>, usize)>, ProtocolError> {
    let Some((length, begin)) = length(rest)? else { return Ok(None) };
    let Some(length) = length else { return Ok(Some((Element::Null, 1 + begin))) };
    if length > MAX_BULK_BYTES {
        return Err(ProtocolError::TooLong);
    }
    let end = begin + length as usize;
    match rest.get(end..end + 2) {
        Some(b"\r\n") => Ok(Some((Element::Bulk(&rest[begin..end]), 1 + end + 2))),
        Some(_) => Err(ProtocolError::End),
        None => Ok(None),
    }
}

/// A length (nothing for -1, the length of what is not there) and the bytes that it takes.
#[inline]
fn length(rest: &[u8]) -> Result<Option<(Option<u64>, usize)>, ProtocolError> {
    match number(rest)? {
        None => Ok(None),
        Some((-1, size)) => Ok(Some((None, size))),
        Some((number, size)) => {
            let length = u64::try_from(number).map_err(|_| ProtocolError::Number)?;
            Ok(Some((Some(length), size)))
        }
    }
}

/// A whole number and the bytes that it takes with its CR LF.
#[inline]
fn number(rest: &[u8]) -> Result<Option<(i64, usize)>, ProtocolError> {
    let sign = usize::from(rest.first() == Some(&b'-'));
    let mut number = 0i64;
    let mut at = sign;
    loop {
        match rest.get(at) {
            Some(digit @ b'0'..=b'9') if at < MAX_NUMBER_BYTES => {
                let digit = i64::from(digit - b'0');
                let next = number.checked_mul(10).and_then(|tens| tens.checked_sub(digit));
                number = next.ok_or(ProtocolError::Number)?;
                at += 1;
            }
            Some(b'\r') if at > sign => break,
            Some(_) => return Err(ProtocolError::Number),
            None => return Ok(None),
        }
    }
    // Gathered below zero, where there is one number more.
    let number = if sign == 1 { number } else { number.checked_neg().ok_or(ProtocolError::Number)? };
    match rest.get(at + 1) {
        Some(b'\n') => Ok(Some((number, at + 2))),
        Some(_) => Err(ProtocolError::End),
        None => Ok(None),
    }
}

/// A line and the bytes that it takes with its CR LF.
fn line(rest: &[u8]) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    let within = &rest[..rest.len().min(MAX_LINE_BYTES)];
    match memchr(b'\r', within) {
        Some(end) => match rest.get(end + 1) {
            Some(b'\n') => Ok(Some((&rest[..end], end + 2))),
            Some(_) => Err(ProtocolError::End),
            None => Ok(None),
        },
        None if within.len() == MAX_LINE_BYTES => Err(ProtocolError::TooLong),
        None => Ok(None),
    }
}

/// Finds the end of a reply while it comes in. Each element is looked at once, however many pieces the reply comes in
/// and however deep its arrays are.
#[derive(Debug)]
pub struct Frame {
    /// Where the next element begins.
    at: usize,
    /// Elements that must still come.
    open: u64,
}

impl Default for Frame {
    fn default() -> Self {
        Self { at: 0, open: 1 }
    }
}

impl Frame {
    /// Goes on with all that came so far: `bytes` begin where the reply does. Says whether they are the whole reply.
    ///
    /// # Errors
    /// The bytes are not one reply in RESP 2.
    pub fn is_whole(&mut self, bytes: &[u8]) -> Result<bool, ProtocolError> {
        while self.open > 0 {
            let Some((element, size)) = element(&bytes[self.at..])? else { return Ok(false) };
            self.at += size;
            self.open -= 1;
            if let Element::Array(items) = element {
                self.open = self.open.checked_add(items).ok_or(ProtocolError::Number)?;
            }
        }
        if self.at < bytes.len() { Err(ProtocolError::Surplus) } else { Ok(true) }
    }
}

/// The elements of a whole reply, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// Those of `reply`.
    pub fn of(reply: &'a [u8]) -> Self {
        Self(reply)
    }

    /// The next one; nothing behind the last.
    #[inline]
    pub fn take(&mut self) -> Option<Element<'a>> {
        let (element, size) = element(self.0).ok()??;
        self.0 = &self.0[size..];
        Some(element)
    }

    /// The next one, if it is a string.
    #[inline]
    pub fn text(&mut self) -> Option<&'a [u8]> {
        match self.take()? {
            Element::Bulk(text) | Element::Status(text) => Some(text),
            _ => None,
        }
    }

    /// The number of items, if the next one is an array.
    #[inline]
    pub fn array(&mut self) -> Option<u64> {
        match self.take()? {
            Element::Array(items) => Some(items),
            _ => None,
        }
    }
}

/// A command as Redis reads it.
pub fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
