//! What an attempt's end means for its endpoint.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::conversation::Manner;
use super::throttle::Throttle;

/// The class of a failure that the breaker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// No answer could begin: refused, DNS, TLS, reset before the head, a head that can't be read.
    Connect,
    /// Nothing came within a time-out.
    Timeout,
    /// An answer whose status says that the endpoint, not the request, is at fault.
    UpstreamStatus,
    /// A 2xx whose body is no answer of the protocol, or is incomplete.
    Body,
    /// An event stream that failed, broke off or fell silent.
    Stream,
}

/// Why an endpoint was isolated. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Too many failures of class [`FailureKind::UpstreamStatus`].
    UpstreamStatus,
    /// Too many failures of class [`FailureKind::Connect`].
    Connect,
    /// Too many failures of class [`FailureKind::Timeout`].
    Timeout,
    /// Too many failures of class [`FailureKind::Body`].
    Body,
    /// Too many failures of class [`FailureKind::Stream`].
    Stream,
    /// The endpoint refuses the gateway's credential.
    Credential,
    /// The account behind the credential is used up.
    Account,
    /// Overloaded for too long without one success.
    Overloaded,
    /// An admin isolated it.
    Admin,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::UpstreamStatus,
        Self::Connect,
        Self::Timeout,
        Self::Body,
        Self::Stream,
        Self::Credential,
        Self::Account,
        Self::Overloaded,
        Self::Admin,
    ];

    /// The contract's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamStatus => "upstream_status",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Body => "body",
            Self::Stream => "stream",
            Self::Credential => "credential",
            Self::Account => "account",
            Self::Overloaded => "overloaded",
            Self::Admin => "admin",
        }
    }

    /// How an endpoint that is isolated for this reason, with this error, has to prove itself: if it failed in a stream, only
    /// by a streamed answer. If a stream was asked for and none had begun, a whole answer will do, except in a relapse: that
    /// has just shown that it proves too little.
    #[must_use]
    pub fn manner_of_proof(self, error: Option<&ErrorNote>, relapse: bool) -> Manner {
        let seen_in = error.map(ErrorNote::manner).unwrap_or_default();
        match (self, seen_in) {
            (Self::Stream, _) | (_, Manner::Streamed) => Manner::Streamed,
            (_, Manner::Either) if relapse => Manner::Either,
            (_, Manner::Either | Manner::Whole) => Manner::Whole,
        }
    }

    /// Whether only the gateway's operator can fix it, so that neither waiting nor frequent verification helps.
    #[must_use]
    pub const fn needs_operator(self) -> bool {
        matches!(self, Self::Credential | Self::Account)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<FailureKind> for Reason {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Connect => Self::Connect,
            FailureKind::Timeout => Self::Timeout,
            FailureKind::UpstreamStatus => Self::UpstreamStatus,
            FailureKind::Body => Self::Body,
            FailureKind::Stream => Self::Stream,
        }
    }
}

/// Why an endpoint is isolated by a single answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fatal {
    /// It refuses the gateway's credential.
    Credential,
    /// The account behind the credential is used up.
    Account,
}

impl From<Fatal> for Reason {
    fn from(fatal: Fatal) -> Self {
        match fatal {
            Fatal::Credential => Self::Credential,
            Fatal::Account => Self::Account,
        }
    }
}

/// What an attempt's end means for the endpoint that it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A whole answer: the failures are forgotten.
    Success,
    /// A counted failure: the breaker judges.
    Failure(FailureKind),
    /// An answer that isolates by itself.
    Fatal(Fatal),
    /// An answer that says nothing about the endpoint's health.
    Neutral,
    /// The client went away, or the lease was dropped unsettled.
    Cancelled,
}

/// How an attempt ended, as reported to the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it means for the endpoint.
    pub outcome: Outcome,
    /// What was seen of a failure.
    pub error: Option<ErrorNote>,
    /// For how long the endpoint is to be left alone.
    pub throttle: Option<Throttle>,
    /// A call for a second opinion, with the reason for which the endpoint is isolated should it fail.
    pub opinion: Option<Reason>,
}

impl Report {
    /// A report of just this outcome.
    #[must_use]
    pub const fn of(outcome: Outcome) -> Self {
        Self { outcome, error: None, throttle: None, opinion: None }
    }
}

/// What was seen of an error, fit for logs, events and stats: a status or a fault in our words, and an upstream's words only if
/// the operator asked for them. It serialises as its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorNote {
    text: String,
    manner: Manner,
}

impl ErrorNote {
    /// The longest note that is kept, in bytes.
    pub const MAX_LENGTH: usize = 300;

    /// Makes a note on one line, without control characters, cut to [`Self::MAX_LENGTH`].
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        let mut kept = String::new();
        for c in text.as_ref().chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if kept.len() + c.len_utf8() > Self::MAX_LENGTH {
                kept.push('…');
                break;
            }
            kept.push(c);
        }
        Self { text: kept, manner: Manner::Whole }
    }

    /// Notes that the error was seen in an answer of at least this manner.
    #[must_use]
    pub fn seen_in(self, manner: Manner) -> Self {
        Self { manner: self.manner.max(manner), ..self }
    }

    /// The manner of the answer in which it was seen: in another manner all may go well.
    #[must_use]
    pub const fn manner(&self) -> Manner {
        self.manner
    }

    /// The note as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Serialize for ErrorNote {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl fmt::Display for ErrorNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_one_short_line() {
        assert_eq!(ErrorNote::new("a\r\nb\u{7}").as_str(), "a  b ");
        let long = ErrorNote::new("é".repeat(1000));
        assert!(long.as_str().len() <= ErrorNote::MAX_LENGTH + '…'.len_utf8());
        assert!(long.as_str().ends_with('…'));
    }

    #[test]
    fn what_was_seen_in_a_stream_was_seen_there_whatever_had_been_asked_for() {
        let note = ErrorNote::new("x").seen_in(Manner::Streamed).seen_in(Manner::Either);
        assert_eq!(
            (note.manner(), ErrorNote::new("x").seen_in(Manner::Either).manner()),
            (Manner::Streamed, Manner::Either)
        );
    }

    #[test]
    fn what_has_failed_in_a_stream_proves_itself_by_a_stream() {
        use Manner::{Either, Streamed, Whole};
        let note = |manner| ErrorNote::new("HTTP 500").seen_in(manner);
        for reason in Reason::ALL {
            let or_streamed = |otherwise| if reason == Reason::Stream { Streamed } else { otherwise };
            for relapse in [false, true] {
                assert_eq!(reason.manner_of_proof(Some(&note(Streamed)), relapse), Streamed, "{reason}");
                assert_eq!(reason.manner_of_proof(Some(&note(Whole)), relapse), or_streamed(Whole), "{reason}");
                assert_eq!(reason.manner_of_proof(None, relapse), or_streamed(Whole), "{reason}");
            }
            assert_eq!(reason.manner_of_proof(Some(&note(Either)), false), or_streamed(Whole), "{reason}");
            assert_eq!(reason.manner_of_proof(Some(&note(Either)), true), or_streamed(Either), "{reason}");
        }
    }

    #[test]
    fn a_reason_serialises_as_the_word_it_displays() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
