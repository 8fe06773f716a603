//! Logins to the dashboard: how often an address may try, and the sessions that result.
//!
//! Neither tokens nor session values are kept, only their digests, and everything that is kept is bounded in number.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

use super::client::KeyDigest;
use super::time::Moment;

/// The prefix of the name of a browser's session cookie.
const SESSION_COOKIE: &str = "qcc_session";
/// How long a session lasts.
pub const SESSION_LIFETIME: Duration = Duration::from_hours(12);
/// How many wrong tokens an address may send within [`PERIOD`].
const MAX_FAILURES: u32 = 10;
/// The time in which wrong tokens are counted.
const PERIOD: Duration = Duration::from_mins(1);
/// The most sessions; beyond this the oldest ends.
const MAX_SESSIONS: usize = 256;
/// The most addresses whose failures are remembered; beyond this the one that tried least recently is forgotten.
const MAX_ADDRESSES: NonZeroUsize = match NonZeroUsize::new(4096) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};

/// The name of the session cookie for this port. Browsers keep cookies by host, whatever the port: with one name for all, a
/// login to one gateway on a host would end the session with another.
pub fn session_cookie(port: Option<u16>) -> String {
    port.map_or_else(|| SESSION_COOKIE.to_owned(), |port| format!("{SESSION_COOKIE}_{port}"))
}

/// Whether a cookie of this name belongs to a gateway, this one or another on its host, and so is nobody else's business.
#[must_use]
pub fn is_session_cookie(name: &[u8]) -> bool {
    match name.strip_prefix(SESSION_COOKIE.as_bytes()) {
        Some([]) => true,
        Some([b'_', port @ ..]) => !port.is_empty() && port.iter().all(u8::is_ascii_digit),
        Some(_) | None => false,
    }
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// The token is not one of those in the settings.
    #[error("the gateway does not know this token")]
    WrongToken,
    /// Too many wrong tokens came from the address.
    #[error("too many wrong tokens came from this address; try again in a minute")]
    TooManyTries {
        /// How long it has to wait.
        wait: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Moment,
    count: u32,
}

#[derive(Clone, Debug)]
struct Session {
    value: KeyDigest,
    /// The token that opened it. The session is worth whatever that token is worth at the time of use.
    token: KeyDigest,
    until: Moment,
}

/// The open sessions and the latest failures.
#[derive(Debug)]
pub struct Logins {
    sessions: Vec<Session>,
    failures: LruCache<IpAddr, Failures>,
}

impl Default for Logins {
    fn default() -> Self {
        Self { sessions: Vec::new(), failures: LruCache::new(MAX_ADDRESSES) }
    }
}

impl Logins {
    /// Opens a session with this value, if the token shown is one of the accepted ones.
    ///
    /// # Errors
    ///
    /// [`LoginRefused`]. A wrong token counts against the address.
    pub fn open(
        &mut self,
        peer: IpAddr,
        shown: KeyDigest,
        accepted: &[KeyDigest],
        value: KeyDigest,
        now: Moment,
    ) -> Result<(), LoginRefused> {
        let peer = network_of(peer);
        let before = self.failures.get(&peer).copied().filter(|failures| now.since(failures.since) < PERIOD);
        let failures = before.unwrap_or(Failures { since: now, count: 0 });
        if failures.count >= MAX_FAILURES {
            let wait = PERIOD.saturating_sub(now.since(failures.since));
            return Err(LoginRefused::TooManyTries { wait });
        }
        // All are compared, so that the time taken reveals nothing.
        if accepted.iter().filter(|token| **token == shown).count() == 0 {
            self.failures.put(peer, Failures { count: failures.count + 1, ..failures });
            return Err(LoginRefused::WrongToken);
        }
        self.failures.pop(&peer);
        self.sessions.retain(|session| now < session.until);
        if self.sessions.len() >= MAX_SESSIONS {
            self.sessions.remove(0);
        }
        self.sessions.push(Session { value, token: shown, until: now + SESSION_LIFETIME });
        Ok(())
    }

    /// The token with which the session of this value was opened.
    #[must_use]
    pub fn token(&self, value: &KeyDigest, now: Moment) -> Option<KeyDigest> {
        let fitting = self.sessions.iter().filter(|session| now < session.until && session.value == *value);
        fitting.map(|session| session.token).next_back()
    }

    /// Ends the session of this value.
    pub fn close(&mut self, value: &KeyDigest) {
        self.sessions.retain(|session| session.value != *value);
    }
}

/// The address or network for which tries are counted. A single household has 2^64 addresses of IPv6 (RFC 6177).
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "10.0.0.1";

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn open(logins: &mut Logins, peer: &str, token: &str, value: &str, seconds: u64) -> Result<(), LoginRefused> {
        let accepted = [KeyDigest::of("admin"), KeyDigest::of("reader")];
        logins.open(peer.parse().unwrap(), KeyDigest::of(token), &accepted, KeyDigest::of(value), at(seconds))
    }

    #[test]
    fn a_session_stands_for_the_token_that_opened_it_until_it_ends() {
        let mut logins = Logins::default();
        assert_eq!(open(&mut logins, PEER, "admin", "one", 0), Ok(()));
        assert_eq!(open(&mut logins, PEER, "reader", "two", 1), Ok(()));
        assert_eq!(logins.token(&KeyDigest::of("one"), at(2)), Some(KeyDigest::of("admin")));
        assert_eq!(logins.token(&KeyDigest::of("two"), at(2)), Some(KeyDigest::of("reader")));
        assert_eq!(logins.token(&KeyDigest::of("three"), at(2)), None);
        assert_eq!(logins.token(&KeyDigest::of("one"), at(12 * 3600)), None, "it lasts for so long");
        logins.close(&KeyDigest::of("two"));
        assert_eq!(logins.token(&KeyDigest::of("two"), at(2)), None);
    }

    #[test]
    fn an_address_has_ten_tries_a_minute_and_others_have_their_own() {
        let mut logins = Logins::default();
        for _ in 0..10 {
            assert_eq!(open(&mut logins, PEER, "guess", "v", 0), Err(LoginRefused::WrongToken));
        }
        let wait = Duration::from_secs(50);
        assert_eq!(open(&mut logins, PEER, "admin", "v", 10), Err(LoginRefused::TooManyTries { wait }));
        assert_eq!(open(&mut logins, "::ffff:10.0.0.1", "admin", "v", 10), Err(LoginRefused::TooManyTries { wait }));
        assert_eq!(open(&mut logins, "10.0.0.2", "admin", "v", 10), Ok(()));
        assert_eq!(open(&mut logins, PEER, "admin", "v", 60), Ok(()));
    }

    #[test]
    fn a_household_has_one_ipv6_network() {
        let mut logins = Logins::default();
        for number in 0..10 {
            open(&mut logins, &format!("2001:db8::{number}"), "guess", "v", 0).unwrap_err();
        }
        let refused = open(&mut logins, "2001:db8::ffff", "admin", "v", 0);
        assert!(matches!(refused, Err(LoginRefused::TooManyTries { .. })));
        assert_eq!(open(&mut logins, "2001:db8:0:1::1", "admin", "v", 0), Ok(()));
    }

    #[test]
    fn memory_stays_bounded() {
        let mut logins = Logins::default();
        for number in 0..5000_u32 {
            let peer = std::net::Ipv4Addr::from_bits(number).to_string();
            open(&mut logins, &peer, "guess", "v", 0).unwrap_err();
        }
        assert_eq!(logins.failures.len(), MAX_ADDRESSES.get());
        for number in 0..300 {
            open(&mut logins, "200.0.0.1", "admin", &number.to_string(), 0).unwrap();
        }
        assert_eq!(logins.sessions.len(), MAX_SESSIONS);
        assert_eq!(logins.token(&KeyDigest::of("0"), at(1)), None, "the oldest has ended");
        assert!(logins.token(&KeyDigest::of("299"), at(1)).is_some());
    }
}
