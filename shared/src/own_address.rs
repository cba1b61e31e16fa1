//! Where a process is reached from its own host: for health checks, which ask by the address that it listens on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address to ask at, of a process that listens on `listen`: "every address" (0.0.0.0, ::) is one to listen on and
/// none to connect to, hence loopback.
pub fn own_address(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_at_loopback_and_any_other_where_it_is() {
        for (listen, asked) in [
            ("0.0.0.0:4000", "127.0.0.1:4000"),
            ("[::]:4000", "[::1]:4000"),
            ("127.0.0.1:10040", "127.0.0.1:10040"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            assert_eq!(own_address(listen.parse().unwrap()), asked.parse().unwrap(), "{listen}");
        }
    }
}
