//! The gate: a stream is held back until its first content, so that a failure before then can be retried on another
//! endpoint without the client seeing anything of it.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use super::alarm::{Alarm, Overdue};
use super::scope::AttemptScope;
use super::times::deadline;
use crate::domain::refusal::Refusal;
use crate::domain::sse::{Break, Expected, Failure, Progress, Relay};
use crate::upstream::{BodyError, Content, ContentError};

/// The most that is held back of one stream, in bytes. A longer one is passed on as it is.
const HELD_AT_MOST: usize = 1 << 20;

/// The note on a stream that ended in an orderly way, but with nothing except its preamble.
pub(super) const NO_CONTENT: &str = "the stream ended before its first content";

/// How long a stream may keep the gate shut.
#[derive(Clone, Copy, Debug)]
pub(super) struct GateTimes {
    /// When its first event is overdue.
    pub(super) first_event: Instant,
    /// From that event to the first content.
    pub(super) first_content: Duration,
}

/// What became of a stream at the gate.
pub(super) enum AtGate {
    /// It may be passed on: what has come is in the relay.
    Open(Box<Relay>),
    /// It has ended with an error of its own.
    Failed(Failure),
    /// It has ended or broken off with nothing but its preamble. The text is for logs.
    Broken(String),
    /// Its first event did not come in time.
    TooSlow,
}

/// Reads a stream as far as is needed to see that it has content. What `hold` refuses to hold back is passed on as it is.
pub(super) async fn wait_at_gate(
    content: &mut Content,
    expected: Expected,
    times: GateTimes,
    scope: &AttemptScope,
    alarm: &Alarm,
    mut hold: impl FnMut(usize) -> Result<(), Refusal>,
) -> AtGate {
    let mut relay = Box::new(Relay::new(expected));
    let mut due = times.first_event;
    loop {
        let fault = match alarm.within(due, pin!(content.next())).await {
            Err(Overdue) if relay.has_seen_event() => return AtGate::Open(relay),
            Err(Overdue) => return AtGate::TooSlow,
            Ok(Some(Ok(piece))) => {
                scope.waits_for_endpoint(scope.now());
                let had_seen_event = relay.has_seen_event();
                relay.push(piece);
                if relay.has_closed_without_answer() {
                    return AtGate::Broken(NO_CONTENT.to_owned());
                }
                if is_open(&relay) {
                    return AtGate::Open(relay);
                }
                if let Some(failure) = relay.take_failure() {
                    return AtGate::Failed(failure);
                }
                if hold(relay.held()).is_err() {
                    return AtGate::Open(relay);
                }
                if relay.has_seen_event() && !had_seen_event {
                    due = deadline(times.first_content);
                }
                continue;
            }
            Ok(None) => None,
            Ok(Some(Err(fault))) => Some(fault),
        };
        // The last event may lack nothing but its blank line.
        relay.end(fault.is_none());
        if relay.has_closed_without_answer() {
            return AtGate::Broken(NO_CONTENT.to_owned());
        }
        if is_open(&relay) {
            return AtGate::Open(relay);
        }
        return match (relay.take_failure(), fault) {
            (Some(failure), _) => AtGate::Failed(failure),
            (None, None | Some(ContentError::Body(BodyError::Unclosed))) => AtGate::Broken(NO_CONTENT.to_owned()),
            (None, Some(fault)) => AtGate::Broken(format!("{} before its first content: {fault}", Break::Torn.note())),
        };
    }
}

/// Whether a stream may be passed on. One with content is, even if an error follows it: how the bytes were cut must not
/// matter.
fn is_open(relay: &Relay) -> bool {
    relay.progress() > Progress::Preamble || relay.held() > HELD_AT_MOST
}
