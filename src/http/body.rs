//! An answer's body on its way from the upstream to the client, with its lease.
//!
//! Its first byte is the point of no return: from then on there is no second endpoint, only a complete end or a
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

/// The client's connection is broken off because the upstream's answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream's answer broke off")]
pub(super) struct BrokenOff;

/// The kind of body, which decides how long it may take and what a break counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// An event stream: it may last forever, but not stay silent forever.
    EventStream {
        /// The longest silence between two pieces.
        idle: Duration,
    },
    /// Anything else that is passed on as it comes: it has to end in time.
    Plain,
}

/// An answer that is passed on as it comes.
pub(super) enum Passing {
    /// An event stream of an LLM path, which is inspected.
    Events(PassingEvents),
    /// Anything else, as it is.
    Bytes(PassingBytes),
}

/// An answer that is passed on unchanged, and what it counts as.
pub(super) struct PassingBytes {
    /// Pieces that were read already.
    pub(super) held: Pieces,
    /// Their share of the buffer budget.
    pub(super) share: Option<Held>,
    pub(super) kind: BodyKind,
    /// The judgement if it ends well.
    pub(super) judgement: Judgement,
    /// The time left until the first piece of a stream, or until the end of anything else.
    pub(super) time_left: Duration,
    /// Whose patience ends when `time_left` is up.
    pub(super) whose: Patience,
    /// The tail of a model's answer so far, which tells its usage.
    pub(super) end: Option<AnswerEnd>,
    /// How far its JSON has come, if nothing else proves it whole.
    pub(super) proof: Option<JsonEnd>,
}

/// Where an answer is passed on to, and the scopes that account for it.
pub(super) struct Recipient {
    pub(super) attempt: AttemptScope,
    pub(super) request: RequestScope,
    /// What the registry is sent if the answer breaks.
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

    /// The body of the answer to the client; with `head_only` none is sent.
    pub(super) fn into_body(self, content: Content, recipient: Recipient, head_only: Option<HeadOnly>) -> BoxBody {
        let Recipient { attempt, request, doubt, core, client, help, drain } = recipient;
        let request_id = request.described.id.clone();
        let settling = Settling::new(attempt, request, doubt, core);
        match (self, head_only) {
            // Such a stream may end up shorter or longer than the upstream announced.
            (Self::Events(events), _) => {
                let signature = Signature { request_id, help };
                BodyStream::new(EventBody::new(events, content, settling, client, signature, drain)).boxed()
            }
            // Dropping it settles the lease with what its head was judged to be.
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

/// The body of an answer held whole. Its share of the buffer budget is released once it has gone out.
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
    /// Before the client is cut off, two things are awaited: the verdict on the failure, so that whoever sees the end can
    /// rely on it, and that everything passed on before has gone out, as an error discards the rest.
    Breaking(Pin<Box<dyn Future<Output = ()>>>),
    Over,
}

/// A body that settles its lease when it ends, when it breaks, or when the client leaves.
pub(super) struct LeasedBody {
    held: Pieces,
    /// The share of `held` in the buffer budget, until that has gone out.
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
    /// Whose patience ends at `due`.
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

    /// Settles the answer as whole.
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

    /// Ends an answer that did not end in time.
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

    /// What a break counts as. Only streams of other paths come here, and there neither class counts.
    fn class_of_break(&self) -> Class {
        match self.kind {
            BodyKind::EventStream { .. } => Class::Stream,
            BodyKind::Plain => Class::Body,
        }
    }

    /// What silence counts as: before the first piece a timeout like any other, afterwards a stream that has died.
    fn class_of_silence(&self) -> Class {
        match self.kind {
            BodyKind::EventStream { .. } if self.has_begun => Class::Stream,
            BodyKind::EventStream { .. } | BodyKind::Plain => Class::Timeout,
        }
    }

    /// Notes that the upstream is asked for more. A stream that has begun gets a new idle limit; otherwise the time that
    /// the client took is not charged to the endpoint.
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
                // Settled as soon as the last piece is at hand, before it goes out: whoever has the whole answer can rely
                // on the stats.
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
