//! `[server]`: where to listen, and what to take from clients.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::route::OtherPaths;
use crate::settings::reading::{Shown, Table};

/// What `other_paths` must be, for a fault.
const PATHS: &str = "globs over paths, which begin with '/' or a wildcard, such as \"/v1/models\" or \"*\"";

/// Whether a glob can fit a path at all: each path begins with a slash.
fn may_fit_a_path(glob: &str) -> bool {
    glob.starts_with(['/', '*', '?', '[', '{']) || glob.starts_with("\\/")
}

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The address, or a name for it, to listen on.
    pub host: Host,
    /// The TCP port; 0 picks a free one.
    pub port: u16,
    /// How many threads serve requests; 0 means one per CPU.
    pub workers: usize,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long the next piece of a request's body may take.
    pub body_timeout: Duration,
    /// The most connections at a time, in all.
    pub max_connections: usize,
    /// The most bytes held at a time of requests' bodies and heads, and of answers that are not judged yet.
    pub max_buffered: u64,
    /// What is proxied in addition to the LLM paths.
    pub other_paths: OtherPaths,
    /// Whether answers carry the endpoint, the attempts and their trail.
    pub trail_headers: bool,
    /// Appended to the gateway's own error messages; may be empty.
    pub help: String,
    /// A further file of clients.
    pub clients_file: Option<PathBuf>,
    /// The time between `ready` turning 503 and no longer listening.
    pub shutdown_delay: Duration,
    /// How long open requests may go on after that.
    pub shutdown_grace: Duration,
    /// Whether an address other than loopback may be served without client keys.
    pub allow_anonymous: bool,
}

impl Server {
    pub(super) fn read(mut table: Table<'_, '_>) -> Self {
        let (host, port) = Self::read_address(&mut table);
        let server = Self {
            host,
            port,
            workers: table.integer("workers", 0..=1024).unwrap_or_default(),
            max_body: table.size("max_body").unwrap_or_default(),
            header_timeout: table.positive_duration("header_timeout").unwrap_or_default(),
            body_timeout: table.positive_duration("body_timeout").unwrap_or_default(),
            max_connections: table.integer("max_connections", 1..=10_000_000).unwrap_or_default(),
            max_buffered: table.size("max_buffered").unwrap_or_default(),
            other_paths: table
                .globs("other_paths", PATHS, may_fit_a_path, |globs| OtherPaths::new(globs))
                .unwrap_or_default(),
            trail_headers: table.flag("trail_headers").unwrap_or_default(),
            help: table.text("help").unwrap_or_default(),
            clients_file: table.optional_path("clients_file"),
            shutdown_delay: table.duration("shutdown_delay").unwrap_or_default(),
            shutdown_grace: table.duration("shutdown_grace").unwrap_or_default(),
            allow_anonymous: table.flag("allow_anonymous").unwrap_or_default(),
        };
        table.finish();
        server
    }

    pub(in crate::settings) fn read_address(table: &mut Table<'_, '_>) -> (Host, u16) {
        let host =
            table.read("host", Shown::Always, "an IP address or a host name, without port or brackets", |given| {
                Host::parse(given.text()?)
            });
        (host.unwrap_or_default(), table.integer("port", 0..=65_535).unwrap_or_default())
    }
}

/// Where to listen: an IP address or a host name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host(String);

impl Host {
    /// Takes an IP address, without brackets, or a host name (RFC 1123, and underscores, which container networks use).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_label = |label: &str| {
            let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len())
                && label.bytes().all(is_allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A text of digits and dots that is no address is a mistyped address, not a name.
        let is_name = text.len() <= 253
            && text.split('.').all(is_label)
            && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        (text.parse::<IpAddr>().is_ok() || is_name).then(|| Self(text.to_owned()))
    }

    /// The address or name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.0.eq_ignore_ascii_case("localhost"),
        }
    }

    /// The host by which this machine reaches what listens there: loopback if that is every address.
    #[must_use]
    pub fn from_here(&self) -> Self {
        match self.0.parse() {
            Ok(IpAddr::V4(address)) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST).into(),
            Ok(IpAddr::V6(address)) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST).into(),
            Ok(IpAddr::V4(_) | IpAddr::V6(_)) | Err(_) => self.clone(),
        }
    }

    /// The host and port as in a URL: an IPv6 address in brackets.
    #[must_use]
    pub fn with_port(&self, port: u16) -> String {
        if self.0.contains(':') { format!("[{}]:{port}", self.0) } else { format!("{}:{port}", self.0) }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(address.to_string())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for good in ["127.0.0.1", "::1", "0.0.0.0", "localhost", "gateway_1.internal", "a-b.example"] {
            assert!(Host::parse(good).is_some(), "{good}");
        }
        for bad in ["", "1.2.3", "300.1.1.1", "[::1]", "host:80", "http://a", "a b", "-a", "a..b", "ä"] {
            assert!(Host::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_reached_on_loopback() {
        for (listens_on, reached_at) in [
            ("0.0.0.0", "127.0.0.1:1"),
            ("::", "[::1]:1"),
            ("::1", "[::1]:1"),
            ("10.0.0.1", "10.0.0.1:1"),
            ("gateway.example", "gateway.example:1"),
        ] {
            assert_eq!(Host::parse(listens_on).unwrap().from_here().with_port(1), reached_at);
        }
    }

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for (text, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("LocalHost", true),
            ("0.0.0.0", false),
            ("::", false),
            ("10.0.0.1", false),
            ("example.com", false),
        ] {
            assert_eq!(Host::parse(text).unwrap().is_loopback(), expected, "{text}");
        }
    }
}
