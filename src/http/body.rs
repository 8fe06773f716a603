//! An answer's body on its way from the upstream to the client, with the lease that it is drawn on.
//!
//! The first byte of it is the point of no return: from here on there is no second endpoint, only an end that is whole or a
//! connection that is visibly broken.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::Sleep;

use super::connection::ClientSide;
use super::scope::{AttemptScope, RequestScope};
use super::times::deadline;
use crate::actors::messages::Judged;
use crate::actors::registry::Registry;
use crate::domain::classify::Judgement;
use crate::domain::outcome_table::{Class, PathKind};
use crate::domain::sse::{Progress, StreamWatch};
use crate::upstream::{self, BodyError};

/// How long a client has to take what was passed on before its connection is broken off.
const TAKING: Duration = Duration::from_secs(30);

/// The client's connection is to be broken off, because the upstream's answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's answer broke off")]
pub(super) struct BrokenOff;

/// What a body is, which decides how long it may take and what its breaking counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// An event stream: it may last for ever, but not be silent for ever.
    EventStream {
        /// The longest silence between two pieces.
        idle: Duration,
    },
    /// Anything else that is passed on as it comes: it has to end in time.
    Plain,
}

enum State {
    Flowing,
    /// The verdict on the failure is awaited before the client is cut off: whoever has seen the end can rely on it. And so is
    /// that what was passed on before has gone out: an error loses what is not.
    Breaking(Pin<Box<dyn Future<Output = ()>>>),
    Over,
}

/// A body that settles its lease at its end, at its breaking, or when the client leaves.
pub(super) struct LeasedBody {
    held: VecDeque<Bytes>,
    body: upstream::Body,
    kind: BodyKind,
    path: PathKind,
    judgement: Judgement,
    scopes: Option<(AttemptScope, RequestScope)>,
    registry: Addr<Registry>,
    client: ClientSide,
    /// When the first piece of a stream, its next one, or the end of anything else is overdue.
    overdue: Pin<Box<Sleep>>,
    has_begun: bool,
    watch: StreamWatch,
    state: State,
}

impl fmt::Debug for LeasedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedBody").field("kind", &self.kind).field("body", &self.body).finish_non_exhaustive()
    }
}

/// What is passed on, and as what.
pub(super) struct Passing {
    /// Pieces that were read already.
    pub(super) held: VecDeque<Bytes>,
    /// The rest.
    pub(super) body: upstream::Body,
    pub(super) kind: BodyKind,
    pub(super) path: PathKind,
    /// What it is if it ends well.
    pub(super) judgement: Judgement,
    /// From now to the first piece of a stream, or to the end of anything else.
    pub(super) time_left: Duration,
}

impl LeasedBody {
    pub(super) fn new(
        passing: Passing,
        attempt: AttemptScope,
        request: RequestScope,
        registry: Addr<Registry>,
        client: ClientSide,
    ) -> Self {
        let Passing { held, body, kind, path, judgement, time_left } = passing;
        let mut leased = Self {
            has_begun: !held.is_empty(),
            held,
            body,
            kind,
            path,
            judgement,
            scopes: Some((attempt, request)),
            registry,
            client,
            overdue: Box::pin(tokio::time::sleep(time_left)),
            watch: StreamWatch::default(),
            state: State::Flowing,
        };
        if leased.body.is_finished() && leased.is_whole() {
            leased.end_whole();
        }
        leased
    }

    /// Whether what has come so far is a whole answer, if nothing more comes. A model's stream is one only with its
    /// closing event, or where it lacks nothing but that.
    fn is_whole(&self) -> bool {
        match (self.kind, self.path) {
            (BodyKind::EventStream { .. }, PathKind::Llm | PathKind::CountTokens) => {
                self.watch.progress() >= Progress::Complete
            }
            (BodyKind::EventStream { .. }, PathKind::Other) | (BodyKind::Plain, _) => true,
        }
    }

    /// Settles as soon as the last piece is at hand, before it goes out: whoever has the whole answer can rely on the stats.
    fn end_whole(&mut self) {
        if let Some((attempt, request)) = self.scopes.take() {
            attempt.end(&self.judgement, self.path);
            request.end_whole();
        }
    }

    fn break_off(&mut self, class: Class, error: &str) {
        let Some((attempt, mut request)) = self.scopes.take() else {
            self.state = State::Over;
            return;
        };
        let judgement = Judgement::of_fault(class, error);
        let serial = attempt.lease().map(crate::actors::lease::Lease::serial);
        request.tried(&judgement, attempt.elapsed());
        attempt.end(&judgement, self.path);
        request.end_broken();
        let (registry, client) = (self.registry.clone(), self.client.clone());
        self.state = State::Breaking(Box::pin(async move {
            if let Some(serial) = serial {
                // Should the registry be gone, the process is ending anyway.
                let _ = registry.send(Judged(serial)).await;
            }
            client.break_off(TAKING).await;
        }));
    }

    fn class_of_break(&self) -> Class {
        match self.kind {
            BodyKind::EventStream { .. } => Class::Stream,
            BodyKind::Plain => Class::Body,
        }
    }

    /// A stream that has spoken may be silent for a while anew.
    fn wait_anew(&mut self) {
        if let BodyKind::EventStream { idle } = self.kind {
            self.overdue.as_mut().reset(deadline(idle));
        }
    }

    /// Silence before the first piece is a time-out like any other; afterwards it is the stream that has died.
    fn class_of_silence(&self) -> Class {
        match self.kind {
            BodyKind::EventStream { .. } if self.has_begun => Class::Stream,
            BodyKind::EventStream { .. } | BodyKind::Plain => Class::Timeout,
        }
    }

    fn poll_flow(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.held.pop_front() {
            self.passed_on();
            return Poll::Ready(Some(piece));
        }
        match self.body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                self.has_begun = true;
                self.wait_anew();
                self.passed_on();
                if matches!(self.kind, BodyKind::EventStream { .. }) {
                    self.watch.push(&piece);
                }
                if self.body.is_finished() && self.is_whole() {
                    self.end_whole();
                }
                Poll::Ready(Some(piece))
            }
            // That it is whole is proved by its closing event, where TLS was not closed as it should be.
            Poll::Ready(Some(Err(BodyError::Unclosed))) if self.has_closed() => self.end(),
            Poll::Ready(Some(Err(error))) => {
                self.break_off(self.class_of_break(), &error.to_string());
                Poll::Ready(None)
            }
            Poll::Ready(None) if self.is_whole() => self.end(),
            Poll::Ready(None) => {
                self.break_off(self.class_of_break(), "the stream ended without its closing event");
                Poll::Ready(None)
            }
            Poll::Pending if self.overdue.poll_unpin(cx).is_ready() => {
                self.break_off(self.class_of_silence(), "the upstream fell silent");
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn end(&mut self) -> Poll<Option<Bytes>> {
        self.end_whole();
        self.state = State::Over;
        Poll::Ready(None)
    }

    fn has_closed(&self) -> bool {
        matches!(self.kind, BodyKind::EventStream { .. }) && self.watch.progress() == Progress::Closed
    }

    fn passed_on(&mut self) {
        if let Some((_, request)) = &mut self.scopes {
            request.piece();
        }
    }
}

impl Drop for LeasedBody {
    /// A client that leaves once it has seen the closing event has had its whole answer; some do not wait for what frames it.
    fn drop(&mut self) {
        if self.has_closed() {
            self.end_whole();
        }
    }
}

impl Stream for LeasedBody {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                State::Flowing => match self.poll_flow(cx) {
                    Poll::Ready(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                    Poll::Ready(None) => {}
                    Poll::Pending => return Poll::Pending,
                },
                State::Breaking(verdict) => {
                    if verdict.poll_unpin(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.state = State::Over;
                    return Poll::Ready(Some(Err(BrokenOff)));
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}
