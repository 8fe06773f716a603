//! An answer's body on its way from the upstream to the client, with the lease that it is drawn on.
//!
//! The first byte of it is the point of no return: from here on there is no second endpoint, only an end that is whole or a
//! connection that is visibly broken.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody, SizedStream};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::Instant;

use super::connection::{ClientSide, TAKING};
use super::drain::DrainDeadline;
use super::event_body::{EventBody, PassingEvents, Signature};
use super::intake::Held;
use super::reply::HeadOnly;
use super::scope::{AttemptScope, RequestScope};
use super::settling::Settling;
use super::times::{Patience, after, deadline};
use crate::actors::Core;
use crate::actors::messages::Doubt;
use crate::domain::classify::Judgement;
use crate::domain::json_end::JsonEnd;
use crate::domain::outcome_table::Class;
use crate::domain::pieces::Pieces;
use crate::domain::usage::AnswerEnd;
use crate::upstream::{BodyError, Content, ContentError};

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

/// An answer that is passed on as it comes.
pub(super) enum Passing {
    /// An event stream of an LLM path, looked into.
    Events(PassingEvents),
    /// Anything else, as it is.
    Bytes(PassingBytes),
}

/// What is passed on as it is, and as what.
pub(super) struct PassingBytes {
    /// Pieces that were read already.
    pub(super) held: Pieces,
    /// Their share of what may be buffered.
    pub(super) share: Option<Held>,
    pub(super) kind: BodyKind,
    /// What it is if it ends well.
    pub(super) judgement: Judgement,
    /// From now to the first piece of a stream, or to the end of anything else.
    pub(super) time_left: Duration,
    /// Whose patience ends then.
    pub(super) whose: Patience,
    /// The end of a model's answer so far, which says what it has cost.
    pub(super) end: Option<AnswerEnd>,
    /// How far its JSON has come, where nothing else proves it whole.
    pub(super) proof: Option<JsonEnd>,
}

/// To whom an answer is passed on, and in whose books it stands.
pub(super) struct Recipient {
    pub(super) attempt: AttemptScope,
    pub(super) request: RequestScope,
    /// What the registry is told should the answer break.
    pub(super) doubt: Option<Doubt>,
    pub(super) core: Arc<Core>,
    pub(super) client: ClientSide,
    /// The operator's help for developers.
    pub(super) help: Arc<str>,
    pub(super) drain: DrainDeadline,
}

impl Passing {
    /// What it is if it ends well.
    pub(super) fn judgement(&self) -> &Judgement {
        match self {
            Self::Events(events) => &events.judgement,
            Self::Bytes(bytes) => &bytes.judgement,
        }
    }

    pub(super) fn is_event_stream(&self) -> bool {
        match self {
            Self::Events(_) => true,
            Self::Bytes(bytes) => matches!(bytes.kind, BodyKind::EventStream { .. }),
        }
    }

    /// The body of the answer to the client; `head_only` where none is sent.
    pub(super) fn into_body(self, content: Content, recipient: Recipient, head_only: Option<HeadOnly>) -> BoxBody {
        let Recipient { attempt, request, doubt, core, client, help, drain } = recipient;
        let request_id = request.described.id.clone();
        let settling = Settling::new(attempt, request, doubt, core);
        match (self, head_only) {
            // What ends such a stream may be shorter or longer than what the upstream announced.
            (Self::Events(events), _) => {
                let signature = Signature { request_id, help };
                BodyStream::new(EventBody::new(events, content, settling, client, signature, drain)).boxed()
            }
            // Dropped, it settles as what its head was found to be.
            (Self::Bytes(bytes), Some(head_only)) => {
                drop(LeasedBody::new(bytes, content, settling, client));
                head_only.boxed()
            }
            (Self::Bytes(bytes), None) => {
                let held = bytes.held.length();
                let length = content.remaining_length();
                let body = LeasedBody::new(bytes, content, settling, client);
                match length.map(|rest| rest.saturating_add(u64::try_from(held).unwrap_or(u64::MAX))) {
                    Some(length) => SizedStream::new(length, body).boxed(),
                    None => BodyStream::new(body).boxed(),
                }
            }
        }
    }
}

/// The body of an answer that is there whole. Its share of what may be buffered is given back when it has gone out.
pub(super) fn whole_body(bytes: Bytes, share: Option<Held>) -> BoxBody {
    match share {
        Some(share) => HeldBody { bytes, _share: share }.boxed(),
        None => bytes.boxed(),
    }
}

struct HeldBody {
    bytes: Bytes,
    _share: Held,
}

impl MessageBody for HeldBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.bytes.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let bytes = mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
    }
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
    held: Pieces,
    /// What `held` has of what may be buffered, until that has gone out.
    share: Option<Held>,
    content: Content,
    kind: BodyKind,
    judgement: Judgement,
    end: Option<AnswerEnd>,
    proof: Option<JsonEnd>,
    settling: Settling,
    client: ClientSide,
    /// When the first piece of a stream, its next one, or the end of anything else is overdue.
    due: Instant,
    /// Whose patience ends then.
    whose: Patience,
    has_begun: bool,
    is_waiting: bool,
    state: State,
}

impl fmt::Debug for LeasedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedBody").field("kind", &self.kind).field("content", &self.content).finish_non_exhaustive()
    }
}

impl LeasedBody {
    fn new(passing: PassingBytes, content: Content, settling: Settling, client: ClientSide) -> Self {
        let PassingBytes { held, share, kind, judgement, time_left, whose, end, proof } = passing;
        let mut leased = Self {
            has_begun: !held.is_empty(),
            is_waiting: false,
            held,
            share,
            content,
            kind,
            judgement,
            end,
            proof,
            settling,
            client,
            due: deadline(time_left),
            whose,
            state: State::Flowing,
        };
        if leased.content.is_finished() {
            leased.settle();
        }
        leased
    }

    /// The answer is whole.
    fn settle(&mut self) {
        if let Some(end) = self.end.take() {
            self.settling.costs(end.usage());
        }
        self.settling.whole(&self.judgement);
    }

    fn break_off(&mut self, judgement: &Judgement) {
        let verdict = self.settling.failed(judgement);
        let client = self.client.clone();
        self.state = State::Breaking(Box::pin(async move {
            verdict.await;
            client.break_off(TAKING).await;
        }));
    }

    /// It has not come whole in time.
    fn run_out_of_time(&mut self) {
        match self.whose {
            Patience::Gateway => {
                self.break_off(&Judgement::of_fault(self.class_of_silence(), "the upstream fell silent"));
            }
            Patience::Client => {
                self.settling.client_is_out_of_time();
                self.state = State::Breaking(Box::pin(self.client.clone().break_off(TAKING)));
            }
        }
    }

    /// What its breaking counts as. On other paths, where alone streams come here, neither of them counts.
    fn class_of_break(&self) -> Class {
        match self.kind {
            BodyKind::EventStream { .. } => Class::Stream,
            BodyKind::Plain => Class::Body,
        }
    }

    /// Silence before the first piece is a time-out like any other; afterwards it is the stream that has died.
    fn class_of_silence(&self) -> Class {
        match self.kind {
            BodyKind::EventStream { .. } if self.has_begun => Class::Stream,
            BodyKind::EventStream { .. } | BodyKind::Plain => Class::Timeout,
        }
    }

    /// The upstream is asked for more. A stream that has spoken may be silent for a while anew.
    /// The time that the client took is not the endpoint's.
    fn begin_to_wait(&mut self) {
        if mem::replace(&mut self.is_waiting, true) {
            return;
        }
        let now = self.settling.now();
        let taken = self.settling.waits_for_endpoint(now);
        match self.kind {
            BodyKind::EventStream { idle } if self.has_begun => {
                (self.due, self.whose) = (after(self.settling.instant(now), idle), Patience::Gateway);
            }
            BodyKind::EventStream { .. } | BodyKind::Plain => {
                self.due = self.due.checked_add(taken).unwrap_or(self.due);
            }
        }
    }

    fn poll_flow(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.held.pop() {
            self.settling.piece_goes_out();
            return Poll::Ready(Some(piece));
        }
        self.share = None;
        self.begin_to_wait();
        let next = match self.content.poll_next_unpin(cx) {
            Poll::Pending if self.client.alarm().is_overdue(self.due, cx) => {
                self.run_out_of_time();
                return Poll::Ready(None);
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(next) => next,
        };
        self.is_waiting = false;
        self.settling.waits_for_client();
        match next {
            Some(Ok(piece)) => {
                self.has_begun = true;
                self.settling.piece_goes_out();
                // As soon as the last piece is at hand, before it goes out: whoever has the whole answer can rely on the stats.
                if let Some(end) = &mut self.end {
                    end.push(&piece);
                }
                if let Some(proof) = &mut self.proof {
                    proof.push(&piece);
                }
                if self.content.is_finished() {
                    self.settle();
                }
                Poll::Ready(Some(piece))
            }
            Some(Err(ContentError::Body(BodyError::Unclosed))) if self.proof.is_some_and(|proof| proof.is_whole()) => {
                self.settle();
                self.state = State::Over;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.break_off(&self.settling.judge_break(self.class_of_break(), &error.to_string()));
                Poll::Ready(None)
            }
            None if self.proof.is_some_and(|proof| !proof.is_whole()) => {
                self.break_off(&self.settling.judge_break(self.class_of_break(), &BodyError::Truncated.to_string()));
                Poll::Ready(None)
            }
            None => {
                self.settle();
                self.state = State::Over;
                Poll::Ready(None)
            }
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
