//! Pieces of content that tell when they were sent.

use rustix::time::{ClockId, clock_gettime};

/// What stands before a stamp in the text of a piece.
pub const STAMP_MARK: &str = "\" t=";
/// Digits of a stamp.
pub const STAMP_DIGITS: usize = 16;

/// A piece of content that tells when it was sent, as long as without that.
pub fn stamped(delta: &str, micros: u64) -> String {
    let stamp = format!(" t={micros:0width$}", width = STAMP_DIGITS);
    delta.replace(" over the lazy dogs", &stamp)
}

/// A clock that all processes of this machine share, in microseconds.
pub fn now_micros() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Api;

    #[test]
    fn a_stamp_changes_no_length() {
        for delta in [Api::Messages, Api::Chat].map(|api| api.script().delta) {
            assert_eq!(stamped(delta, 123).len(), delta.len());
            assert!(stamped(delta, 123).contains("\" t=0000000000000123\""));
        }
    }
}
