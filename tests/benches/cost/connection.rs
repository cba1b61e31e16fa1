//! A client's connection that is kept for many requests, and costs as little as it can.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// A request that carries JSON, ready to be sent.
pub(crate) fn post(address: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{headers}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A connection.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    line: String,
    answer: Vec<u8>,
}

impl Connection {
    /// To `host:port`.
    pub(crate) fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream), line: String::new(), answer: Vec::new() }
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, request: &[u8]) {
        self.reader.get_mut().write_all(request).unwrap();
    }

    /// Reads an answer to its end, which must be one of status 200.
    pub(crate) fn receive(&mut self) {
        let (mut ok, mut length, mut chunked) = (false, 0, false);
        loop {
            self.read_line();
            ok |= self.line.starts_with("HTTP/1.1 200 ");
            match self.line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().unwrap();
                }
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => chunked = true,
                None if self.line == "\r\n" => break,
                _ => {}
            }
        }
        self.answer.clear();
        self.read_bytes(length);
        while chunked {
            self.read_line();
            let length = usize::from_str_radix(self.line.trim_end(), 16).unwrap();
            self.read_bytes(length);
            self.read_line();
            chunked = length > 0;
        }
        assert!(ok, "{}", String::from_utf8_lossy(&self.answer));
    }

    fn read_line(&mut self) {
        self.line.clear();
        assert!(self.reader.read_line(&mut self.line).unwrap() > 0, "the server ended the connection");
    }

    fn read_bytes(&mut self, count: usize) {
        let begin = self.answer.len();
        self.answer.resize(begin + count, 0);
        self.reader.read_exact(&mut self.answer[begin..]).unwrap();
    }
}
