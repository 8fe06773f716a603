//! Open files and ports, which are limited: each connection takes one of both.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

/// How often, at most, the operator is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Whether something failed for want of a file descriptor, of the process or of the machine.
pub(super) fn is_want_of(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether no file can be opened now.
pub(super) fn are_used_up() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, None).is_err_and(|error| is_want_of(&error))
}

/// Whether no connection to this address came about for want of a local port. The system reports the same of an address
/// that can't be reached from this machine at all, such as an IPv6 one without IPv6; so it is tried by UDP, which has
/// ports of its own and sends nothing.
pub(super) fn are_ports_used_up(error: &io::Error, address: SocketAddr) -> bool {
    let may_be = Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL);
    may_be
        && Socket::new(Domain::for_address(address), Type::DGRAM, None)
            .is_ok_and(|socket| socket.connect(&address.into()).is_ok())
}

/// Remembers when the operator was last told of a problem that shows in many connections.
#[derive(Debug, Default)]
pub struct Told(Cell<Option<Instant>>);

impl Told {
    /// Whether it is time to tell; if so, it then is not for a while.
    pub fn is_due(&self, now: Instant) -> bool {
        let is_due = self.0.get().is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if is_due {
            self.0.set(Some(now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn what_shows_in_many_connections_is_told_once_in_a_while() {
        let (told, first) = (Told::default(), Instant::from_std(Clock::start().instant(Clock::BEGAN)));
        let after = |wait: Duration| told.is_due(first + wait);
        assert!(after(Duration::ZERO));
        assert!(!after(TOLD_EVERY / 2));
        assert!(after(TOLD_EVERY));
        assert!(!after(TOLD_EVERY + TOLD_EVERY / 2));
    }

    #[test]
    fn an_address_that_no_connection_can_begin_for_at_all_wants_no_port() {
        let want = || io::Error::from(Errno::ADDRNOTAVAIL);
        let here = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(are_ports_used_up(&want(), here));
        assert!(!are_ports_used_up(&io::Error::from(Errno::CONNREFUSED), here));
        // The system refuses a connection to the broadcast address without the option for it.
        let everybody = SocketAddr::from(([255, 255, 255, 255], 9));
        assert!(!are_ports_used_up(&want(), everybody));
    }
}
