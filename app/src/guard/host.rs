//! By which name an app is asked for: what a request says in `Host`, and which names are its own.
//!
//! A page in a browser may send requests to whatever its own name leads to, and whoever owns that name may let it lead
//! to this machine (DNS rebinding). Then the browser sees one site, and only `Host` tells that the name is a stranger's.

use std::net::IpAddr;

/// A name or an address, without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address: of IPv4 also if it was written as one of IPv6.
    Address(IpAddr),
    /// A name in lower case, without a dot at its end.
    Name(String),
}

impl Host {
    /// Reads a name or an address by itself.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        (!name.is_empty() && name.chars().all(allowed)).then_some(Self::Name(name))
    }

    /// Reads what a request says: with a port or without, an address of IPv6 in brackets.
    pub fn of_request(text: &str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(text) => {
                let (address, rest) = text.split_once(']')?;
                (Self::Address(address.parse::<IpAddr>().ok()?.to_canonical()), rest)
            }
            None => {
                let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Self::parse(host)?, rest)
            }
        };
        let port = rest.strip_prefix(':').unwrap_or(rest);
        port.bytes().all(|byte| byte.is_ascii_digit()).then_some(host)
    }

    /// Whether it is this machine wherever it is looked up (RFC 6761 gives `localhost` and what is under it to nobody).
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_s_host_is_read_with_and_without_its_port() {
        let name = |text: &str| Some(Host::Name(text.to_owned()));
        let address = |text: &str| Some(Host::Address(text.parse().unwrap()));
        for (text, host) in [
            ("app", name("app")),
            ("App.Example.COM:4000", name("app.example.com")),
            ("localhost.:", name("localhost")),
            ("techsapo_backend", name("techsapo_backend")),
            ("127.0.0.1:4000", address("127.0.0.1")),
            ("[::1]:4000", address("::1")),
            ("[::ffff:127.0.0.1]", address("127.0.0.1")),
            ("", None),
            (".", None),
            (":4000", None),
            ("::1", None),
            ("[::1", None),
            ("[app]", None),
            ("app:http", None),
            ("user@app", None),
            ("a pp", None),
            ("aпп", None),
        ] {
            assert_eq!(Host::of_request(text), host, "{text}");
        }
        assert_eq!(Host::parse("::1"), address("::1"));
        assert_eq!(Host::parse("app:4000"), None);
    }

    #[test]
    fn only_what_can_lead_nowhere_else_is_this_machine() {
        let is_loopback = |text: &str| Host::of_request(text).unwrap().is_loopback();
        for own in ["localhost:4000", "LOCALHOST", "app.localhost", "127.0.0.1", "127.9.9.9:1", "[::1]:4000"]
        {
            assert!(is_loopback(own), "{own}");
        }
        for other in
            ["localhost.example.com", "notlocalhost", "127.0.0.1.example.com", "0.0.0.0", "[::]", "10.0.0.1"]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
