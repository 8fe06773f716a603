//! The words of a script: what an upstream does with one request.

use std::rc::Rc;

use bytes::Bytes;

/// What an upstream does with one request, from beginning to end. Steps can be joined: `hold("g").then(status(500))`.
/// The connection is kept for the next request unless the step ends it.
#[derive(Clone, Debug)]
pub(crate) struct Step(Vec<Move>);

/// One thing that an upstream does.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    /// Waits at a gate.
    Hold(Rc<str>),
    /// Answers in the protocol's form, whole or streamed as the request asks.
    Answer(Text),
    /// Answers with the protocol's error; without a type and message, the status's own.
    Error { status: u16, of: Option<(String, String)>, headers: Vec<(String, String)> },
    /// Answers with this body.
    Whole { status: u16, headers: Vec<(String, String)>, body: Bytes },
    /// Announces more of a body than it sends.
    Truncate,
    /// Sends these bytes.
    Raw(Bytes),
    /// Sends the head and first events of a stream whose answer has so many pieces; the head calls it this.
    OpenStream { label: Option<Rc<str>>, pieces: usize },
    /// Sends the next so many pieces.
    Pieces(usize),
    /// Sends what lies between the last content and the closing event.
    FinishStream,
    /// Sends the closing event.
    CloseStream,
    /// Sends pieces of so many bytes again and again, and passes a gate before each, so that they can be counted.
    Flood { gate: Rc<str>, pieces: usize, bytes: usize },
    /// Sends these bytes again and again.
    Repeat { bytes: Bytes, times: usize },
    /// Sends an error of this type as an event.
    StreamError(String),
    /// Sends bytes as one chunk of the stream's body.
    Chunk(Bytes),
    /// Sends the last chunk.
    LastChunk,
    /// Closes the connection in order.
    Close,
    /// Closes the connection before any request is read, where the script reaches it by then.
    CloseAtAccept,
    /// Resets the connection.
    Reset,
    /// Does nothing more, with the connection open.
    Stall,
}

/// What an answer says.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    /// The code to a verification, else which upstream this is.
    Honest,
    /// A code, but not the right one.
    WrongCode,
    /// The question.
    Echo,
    /// This.
    Fixed(String),
}

impl Step {
    fn of(only: Move) -> Self {
        Self(vec![only])
    }

    /// This step, and then the other.
    #[must_use]
    pub(crate) fn then(mut self, next: Self) -> Self {
        self.0.extend(next.0);
        self
    }

    pub(super) fn moves(&self) -> &[Move] {
        &self.0
    }

    pub(super) fn closes_at_accept(&self) -> bool {
        matches!(self.0.first(), Some(Move::CloseAtAccept))
    }
}

/// An honest answer in the protocol's form: whole, or streamed where the request asks for a stream. A verification gets
/// its code, and a request with another key than the required one a 401.
pub(crate) fn ok() -> Step {
    Step::of(Move::Answer(Text::Honest))
}

/// As [`ok`], but with this text.
pub(crate) fn says(text: &str) -> Step {
    Step::of(Move::Answer(Text::Fixed(text.to_owned())))
}

/// As [`ok`], but a verification gets a code that is not the right one.
pub(crate) fn wrong_code() -> Step {
    Step::of(Move::Answer(Text::WrongCode))
}

/// As [`ok`], but the text of the answer is the question's.
pub(crate) fn echo() -> Step {
    Step::of(Move::Answer(Text::Echo))
}

/// Waits at a gate; what comes then is joined with [`Step::then`].
pub(crate) fn hold(gate: &str) -> Step {
    Step::of(Move::Hold(Rc::from(gate)))
}

/// This status with the protocol's error body.
pub(crate) fn status(status: u16) -> Step {
    Step::of(Move::Error { status, of: None, headers: Vec::new() })
}

/// As [`status`], with headers such as `retry-after`.
pub(crate) fn status_and(status: u16, headers: &[(&str, &str)]) -> Step {
    Step::of(Move::Error { status, of: None, headers: owned(headers) })
}

/// This status with the protocol's error body, of this type and with this message.
pub(crate) fn error(status: u16, kind: &str, message: &str) -> Step {
    Step::of(Move::Error { status, of: Some((kind.to_owned(), message.to_owned())), headers: Vec::new() })
}

/// This status, these headers (`content-length` is added) and this body.
pub(crate) fn status_with(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Step {
    Step::of(Move::Whole { status, headers: owned(headers), body: body.into() })
}

/// A page with status 200, as portals and relays send it.
pub(crate) fn html() -> Step {
    status_with(200, &[("content-type", "text/html")], "<!doctype html><title>Welcome</title><p>Please log in.")
}

/// Status 200 and an empty body.
pub(crate) fn empty() -> Step {
    status_with(200, &[], "")
}

/// These bytes as they are; then the connection is kept, unless [`close`], [`reset`] or [`never_answer`] follows.
pub(crate) fn raw(bytes: impl Into<Bytes>) -> Step {
    Step::of(Move::Raw(bytes.into()))
}

/// These bytes so many times over, as they are: without end, as far as anybody cares to listen.
pub(crate) fn repeat(bytes: impl Into<Bytes>, times: usize) -> Step {
    Step::of(Move::Repeat { bytes: bytes.into(), times })
}

/// A head that announces more than the body which follows; then the connection is closed.
pub(crate) fn truncate() -> Step {
    Step::of(Move::Truncate)
}

/// Closes the connection in order; alone: without an answer.
pub(crate) fn close() -> Step {
    Step::of(Move::Close)
}

/// Resets the connection; alone: before the head of the answer.
pub(crate) fn reset() -> Step {
    Step::of(Move::Reset)
}

/// Nothing more is sent, and the connection stays open until the peer leaves.
pub(crate) fn never_answer() -> Step {
    Step::of(Move::Stall)
}

/// A new connection is accepted and closed at once, with nothing recorded. Where the script reaches this on a connection
/// that is kept, it is [`close`].
pub(crate) fn accept_and_close() -> Step {
    Step::of(Move::CloseAtAccept)
}

/// An event stream whatever the request asked for, with so many pieces of content, of the honest answer's text. With 0
/// only what comes before the content.
pub(crate) fn sse(pieces: usize) -> OpenStream {
    sse_called(Some("text/event-stream; charset=utf-8"), pieces)
}

/// As [`sse`], with this content type, or with none.
pub(crate) fn sse_called(content_type: Option<&str>, pieces: usize) -> OpenStream {
    let label = content_type.map(Rc::from);
    OpenStream { moves: vec![Move::OpenStream { label, pieces }, Move::Pieces(pieces)] }
}

/// A stream of which the end is still to be said.
#[derive(Clone, Debug)]
pub(crate) struct OpenStream {
    moves: Vec<Move>,
}

impl OpenStream {
    fn and(mut self, more: impl IntoIterator<Item = Move>) -> Self {
        self.moves.extend(more);
        self
    }

    fn ends(self, how: impl IntoIterator<Item = Move>) -> Step {
        Step(self.and(how).moves)
    }

    /// Waits at a gate.
    #[must_use]
    pub(crate) fn hold(self, gate: &str) -> Self {
        self.and([Move::Hold(Rc::from(gate))])
    }

    /// So many pieces more, of nothing but a space each.
    #[must_use]
    pub(crate) fn more(self, pieces: usize) -> Self {
        self.and([Move::Pieces(pieces)])
    }

    /// So many pieces of so many bytes, each behind this gate: once it is open, its arrivals count what was sent.
    #[must_use]
    pub(crate) fn flood(self, gate: &str, pieces: usize, bytes: usize) -> Self {
        self.and([Move::Flood { gate: Rc::from(gate), pieces, bytes }])
    }

    /// Bytes that need not be an event, such as a comment or half of one.
    #[must_use]
    pub(crate) fn bytes(self, bytes: impl Into<Bytes>) -> Self {
        self.and([Move::Chunk(bytes.into())])
    }

    /// What lies between the last content and the closing event: a `stop_reason`, a `finish_reason`.
    #[must_use]
    pub(crate) fn finished(self) -> Self {
        self.and([Move::FinishStream])
    }

    /// All that belongs to a whole stream: the finish, the closing event, the last chunk.
    pub(crate) fn then_end(self) -> Step {
        self.ends([Move::FinishStream, Move::CloseStream, Move::LastChunk])
    }

    /// The last chunk, but no closing event.
    pub(crate) fn then_cut(self) -> Step {
        self.ends([Move::LastChunk])
    }

    /// An error of this type as an event, and the last chunk.
    pub(crate) fn then_error(self, kind: &str) -> Step {
        self.ends([Move::StreamError(kind.to_owned()), Move::LastChunk])
    }

    /// The connection is closed in order, without the last chunk.
    pub(crate) fn then_close(self) -> Step {
        self.ends([Move::Close])
    }

    /// The connection is reset.
    pub(crate) fn then_reset(self) -> Step {
        self.ends([Move::Reset])
    }

    /// Nothing more comes.
    pub(crate) fn then_stall(self) -> Step {
        self.ends([Move::Stall])
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What an upstream does when no script says otherwise: one step for verifications and one for everything else.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    pub(super) traffic: Step,
    pub(super) verifications: Step,
}

impl Behaviour {
    /// Answers everything as it should.
    pub(crate) fn honest() -> Self {
        Self::always(ok())
    }

    /// The same step for everything.
    pub(crate) fn always(step: Step) -> Self {
        Self { traffic: step.clone(), verifications: step }
    }

    /// This step for everything but verifications.
    #[must_use]
    pub(crate) fn traffic(self, step: Step) -> Self {
        Self { traffic: step, ..self }
    }

    /// This step for verifications.
    #[must_use]
    pub(crate) fn verifications(self, step: Step) -> Self {
        Self { verifications: step, ..self }
    }
}
