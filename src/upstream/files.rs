//! Open files, of which the system gives a process only so many: each connection takes one.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

/// The operator is told no more often than this.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Whether it was for want of a file that something failed, be it the process's or the machine's last.
pub(super) fn is_want_of(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether none can be opened now.
pub(super) fn are_used_up() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, None).is_err_and(|error| is_want_of(&error))
}

/// Remembers when the operator was told last.
#[derive(Debug, Default)]
pub(super) struct Told(Cell<Option<Instant>>);

impl Told {
    /// Tells the operator: it shows in many requests, and those log nothing graver than INFO.
    pub(super) fn tell(&self, now: Instant) {
        if self.0.get().is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY) {
            self.0.set(Some(now));
            log::error!("no connection to an endpoint can be opened: the process has too few file descriptors");
        }
    }
}
