//! Whose address a request came from, and how little of it is told.
//!
//! Behind a proxy the connection is the proxy's, and the header `X-Forwarded-For` says who is behind it: each proxy
//! appends the address that it saw. Anybody can send the header, so that only what trusted proxies appended is believed,
//! read from the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: the addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`; an address by itself is a network of one.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/').map_or((text, None), |(base, bits)| (base, Some(bits)));
        let base: IpAddr = base.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
        Some(Self { base: masked(base, bits, bits), bits })
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.base.is_ipv4() == address.is_ipv4() && masked(address, self.bits, self.bits) == self.base
    }
}

/// The first bits of an address, as many as are said for its kind; the rest zero.
fn masked(address: IpAddr, v4_bits: u8, v6_bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4_bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6_bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    address: IpAddr,
    /// It came from this machine, and through nobody's hands.
    pub is_local: bool,
}

impl Client {
    /// Finds out who sent a request: `peer` is the other end of the connection, `forwarded` what stands in
    /// `X-Forwarded-For`, in order, and `has_forwarded` whether any header says that a proxy was involved.
    pub fn find<'a>(
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
        has_forwarded: bool,
        trusted: &[Network],
    ) -> Self {
        let peer = peer.to_canonical();
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        if !is_trusted(peer) {
            // A proxy on this machine that nobody declared: its clients are not local.
            return Self { address: peer, is_local: peer.is_loopback() && !has_forwarded };
        }
        // A proxy on this machine whose client is not known: it may be anybody.
        let (mut address, mut is_known) = (peer, !has_forwarded);
        for hop in forwarded.rev() {
            // What cannot be read was not written by a trusted proxy: its sender is as far as is known.
            let Some(hop) = read_hop(hop) else { break };
            (address, is_known) = (hop, true);
            if !is_trusted(hop) {
                break;
            }
        }
        Self { address, is_local: address.is_loopback() && is_known }
    }

    /// What limits count a caller by: an address of IPv4; a /64 of IPv6, which is what one subscriber has.
    pub fn subscriber(&self) -> IpAddr {
        masked(self.address, 32, 64)
    }

    /// The network that it is in, as far as it is told to anybody: /24 of IPv4, /48 of IPv6.
    pub fn network(&self) -> String {
        let bits = if self.address.is_ipv4() { 24 } else { 48 };
        format!("{}/{bits}", masked(self.address, 24, 48))
    }
}

/// An address as proxies write it, some with a port.
fn read_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.split(']').next()).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address =
        address.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn client(peer: &str, forwarded: &str, trusted: &[&str]) -> (IpAddr, bool) {
        let trusted: Vec<_> = trusted.iter().map(|network| Network::parse(network).unwrap()).collect();
        let hops = forwarded.split(',').filter(|hop| !hop.is_empty());
        let client = Client::find(ip(peer), hops, !forwarded.is_empty(), &trusted);
        (client.address, client.is_local)
    }

    #[test]
    fn networks_are_read_and_hold_their_addresses() {
        let ten = Network::parse("10.1.2.3/8").unwrap();
        assert!(
            ten.contains(ip("10.255.0.1")) && !ten.contains(ip("11.0.0.1")) && !ten.contains(ip("::a00:1"))
        );
        let documentation = Network::parse("2001:db8::/32").unwrap();
        assert!(documentation.contains(ip("2001:db8:1::1")) && !documentation.contains(ip("2001:db9::")));
        assert!(Network::parse("0.0.0.0/0").unwrap().contains(ip("203.0.113.9")));
        assert!(Network::parse("::/0").unwrap().contains(ip("2001:db8::1")));
        assert!(!Network::parse("192.0.2.1").unwrap().contains(ip("192.0.2.2")));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "host/8"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed_from_the_end() {
        let proxies = ["10.0.0.0/8", "127.0.0.1"];
        for (peer, forwarded, trusted, address, is_local) in [
            ("203.0.113.5", "", &[][..], "203.0.113.5", false),
            ("127.0.0.1", "", &[], "127.0.0.1", true),
            ("::1", "", &[], "::1", true),
            ("::ffff:127.0.0.1", "", &[], "127.0.0.1", true),
            // Nobody said that there is a proxy.
            ("203.0.113.5", "127.0.0.1", &[], "203.0.113.5", false),
            ("127.0.0.1", "127.0.0.1", &[], "127.0.0.1", false),
            ("203.0.113.5", "127.0.0.1", &proxies, "203.0.113.5", false),
            ("10.0.0.1", "198.51.100.7", &proxies, "198.51.100.7", false),
            ("10.0.0.1", "192.0.2.1, 198.51.100.7, 10.2.2.2", &proxies, "198.51.100.7", false),
            ("10.0.0.1", "198.51.100.7:4711", &proxies, "198.51.100.7", false),
            ("10.0.0.1", "[2001:db8::7]:4711", &proxies, "2001:db8::7", false),
            ("10.0.0.1", "127.0.0.1, nonsense", &proxies, "10.0.0.1", false),
            ("127.0.0.1", "", &proxies, "127.0.0.1", true),
            ("127.0.0.1", "203.0.113.5", &proxies, "203.0.113.5", false),
            // The proxy on this machine does not say whose the request is.
            ("127.0.0.1", "unix:", &proxies, "127.0.0.1", false),
            ("127.0.0.1", "203.0.113.5, unix:", &proxies, "127.0.0.1", false),
        ] {
            assert_eq!(
                client(peer, forwarded, trusted),
                (ip(address), is_local),
                "{peer} {forwarded} {trusted:?}"
            );
        }
    }

    #[test]
    fn what_is_told_is_masked() {
        let told = |address: &str| {
            let client = Client { address: ip(address), is_local: false };
            (client.network(), client.subscriber().to_string())
        };
        assert_eq!(told("203.0.113.77"), ("203.0.113.0/24".to_owned(), "203.0.113.77".to_owned()));
        let v6 = told("2001:db8:1:2:3:4:5:6");
        assert_eq!(v6, ("2001:db8:1::/48".to_owned(), "2001:db8:1:2::".to_owned()));
    }
}
