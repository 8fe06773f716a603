//! An event stream on its way to the client, with its lease.
//!
//! Only whole events go out. A stream that does not reach its own end is either completed, if only the closing event is
//! missing, or ended so that no client takes it for whole: by the protocol's error event, or by a broken connection.

mod facts;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderValue, USER_AGENT};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::Instant;

use super::body::BrokenOff;
use super::connection::{ClientSide, TAKING};
use super::drain::DrainDeadline;
use super::gate::NO_CONTENT;
use super::intake::Held;
use super::settling::{Settling, TakenEffect};
use super::times::{after, deadline};
use crate::domain::classify::Judgement;
use crate::domain::outcome::Outcome;
use crate::domain::outcome_table::Class;
use crate::domain::sse::{Break, Ending, Failure, Format, Progress, Relay, error_event};
use crate::domain::usage::Usage;
use crate::settings::OnBreak;
use crate::upstream::{Content, ContentError};

pub(super) use facts::StreamFacts;

/// How long to wait after the closing event for the end of the framing, so that the connection can be reused.
const LINGER: Duration = Duration::from_secs(1);
/// How long to wait after a complete answer for the closing event, before it is supplied.
const CLOSING: Duration = Duration::from_secs(10);

/// How a client learns that its stream broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakAs {
    /// By the protocol's error event.
    Event,
    /// By a broken connection.
    Abort,
}

impl BreakAs {
    /// What the operator wants for this client. Claude Code streams again after a broken connection, with back-off; after
    /// an event it asks once more without streaming.
    pub(super) fn of(on_break: OnBreak, headers: &HeaderMap) -> Self {
        let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        match on_break {
            OnBreak::Abort => Self::Abort,
            OnBreak::Auto if agent.starts_with(b"claude-cli/") => Self::Abort,
            OnBreak::Auto | OnBreak::Event => Self::Event,
        }
    }
}

/// A stream that has passed the gate.
pub(super) struct PassingEvents {
    pub(super) relay: Box<Relay>,
    /// The share in the buffer budget of what waits in the relay, until that has gone out.
    pub(super) share: Option<Held>,
    pub(super) format: Format,
    pub(super) facts: StreamFacts,
    /// The judgement if it ends well.
    pub(super) judgement: Judgement,
    pub(super) break_as: BreakAs,
    /// The longest silence between two pieces.
    pub(super) idle: Duration,
}

/// What a message to the client's developer says besides what went wrong.
pub(super) struct Signature {
    pub(super) request_id: String,
    pub(super) help: Arc<str>,
}

/// What follows the last bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    End,
    BreakOff,
}

enum State {
    Flowing,
    /// The verdict on the failure is awaited before the last bytes go out, so that whoever has seen the end can rely on
    /// it.
    Judging {
        verdict: TakenEffect,
        last: Option<Bytes>,
        then: Then,
    },
    /// What was passed on is still going out: breaking off now would lose it.
    Breaking(Pin<Box<dyn Future<Output = ()>>>),
    Over,
}

/// The body of an answer that is an event stream.
pub(super) struct EventBody {
    passing: PassingEvents,
    /// The rest of the answer; dropped as soon as no more of it is wanted.
    content: Option<Content>,
    signature: Signature,
    settling: Settling,
    client: ClientSide,
    /// When the next piece, or the end of the framing, is overdue.
    due: Instant,
    drain: DrainDeadline,
    is_waiting: bool,
    /// How far the stream had come when `due` was set.
    awaited_at: Progress,
    /// The usage that was last reported.
    told: Usage,
    /// Whether content has gone out.
    has_content_out: bool,
    state: State,
}

impl fmt::Debug for EventBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBody").field("format", &self.passing.format).finish_non_exhaustive()
    }
}

impl EventBody {
    pub(super) fn new(
        mut passing: PassingEvents,
        content: Content,
        settling: Settling,
        client: ClientSide,
        signature: Signature,
        drain: DrainDeadline,
    ) -> Self {
        if client.speaks_http_10() {
            // To an HTTP/1.0 client a reset alone says nothing.
            passing.break_as = BreakAs::Event;
        }
        let due = deadline(passing.idle);
        let state = State::Flowing;
        let content = Some(content);
        let mut body = Self {
            passing,
            content,
            signature,
            settling,
            client,
            due,
            drain,
            is_waiting: false,
            awaited_at: Progress::default(),
            told: Usage::default(),
            has_content_out: false,
            state,
        };
        body.take_in_progress();
        body
    }

    /// Reports the cost, and settles if the closing event has come: after it nothing can go wrong any more. If it came
    /// without an answer, the stream is broken off.
    fn take_in_progress(&mut self) {
        self.tell_costs();
        if self.passing.relay.has_closed_without_answer() {
            self.break_off(Break::Unfinished, &Judgement::of_fault(Class::Stream, NO_CONTENT));
        } else if self.passing.relay.progress() == Progress::Closed {
            self.settle_whole();
        }
    }

    /// Reports the answer's usage if it has changed, which few events do.
    fn tell_costs(&mut self) {
        let usage = self.passing.relay.usage();
        if usage != self.told {
            self.told = usage;
            self.settling.costs(usage);
        }
    }

    /// Notes, once, when the first piece with content goes out.
    fn content_goes_out(&mut self) {
        if !std::mem::replace(&mut self.has_content_out, true) {
            self.settling.content_goes_out();
        }
    }

    /// Settles the stream as whole. What settles it may have come together with its first content, which then still has
    /// to go out.
    fn settle_whole(&mut self) {
        self.content_goes_out();
        self.settling.whole(&self.passing.judgement);
    }

    /// Waits for the upstream, or goes on to the next state.
    fn poll_flow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(failure) = self.passing.relay.take_failure() {
            self.fail(failure);
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut self.is_waiting, true) {
            // Silence counts from when the upstream is asked: until then the client had not taken what there was. After
            // the end of a complete answer the time runs on, whatever else comes, except for a client's long pauses.
            let now = self.settling.now();
            let taken = self.settling.waits_for_endpoint(now);
            let progress = self.passing.relay.progress();
            if progress < Progress::Complete || progress != self.awaited_at {
                self.awaited_at = progress;
                self.due = after(self.settling.instant(now), patience(progress, self.passing.idle));
            } else if taken > LINGER {
                self.due = after(self.due, taken);
            }
        }
        if self.awaited_at >= Progress::Complete && self.client.alarm().is_overdue(self.due, cx) {
            self.end(Break::Silent, None);
            return Poll::Ready(());
        }
        if self.drain.has_passed() {
            self.stop();
            return Poll::Ready(());
        }
        let Some(content) = &mut self.content else {
            self.state = State::Over;
            return Poll::Ready(());
        };
        match content.poll_next_unpin(cx) {
            Poll::Pending if self.client.poll_drained(&self.drain, cx).is_ready() => self.stop(),
            Poll::Pending if !self.client.alarm().is_overdue(self.due, cx) => return Poll::Pending,
            Poll::Pending => self.end(Break::Silent, None),
            Poll::Ready(next) => {
                self.is_waiting = false;
                self.settling.waits_for_client();
                match next {
                    Some(Ok(piece)) => {
                        self.passing.relay.push(piece);
                        self.take_in_progress();
                    }
                    Some(Err(error)) => self.end(Break::Torn, Some(&error)),
                    None => self.end(Break::Unfinished, None),
                }
            }
        }
        Poll::Ready(())
    }

    /// No more comes. `fault` is what reading has failed by, if it has.
    fn end(&mut self, why: Break, fault: Option<&ContentError>) {
        let in_order = why.is_in_order();
        let note = fault.map_or_else(|| why.note().to_owned(), ToString::to_string);
        // Where the connection's end is the answer's, it may also be the end of the endpoint's patience.
        let may_have_given_up = self.content.take().is_some_and(|content| !in_order || content.ends_with_connection());
        let ending = self.passing.relay.end(in_order);
        self.tell_costs();
        match ending {
            Ending::Whole => {
                self.settle_whole();
                self.state = State::Over;
            }
            Ending::Supplied(last) => {
                self.settle_whole();
                let verdict: TakenEffect = Box::pin(std::future::ready(()));
                self.state = State::Judging { verdict, last: Some(last), then: Then::End };
            }
            Ending::Broken => match self.passing.relay.take_failure() {
                Some(failure) => self.fail(failure),
                None if why != Break::Silent && may_have_given_up => {
                    self.break_off(why, &self.settling.judge_break(Class::Stream, &note));
                }
                None => self.break_off(why, &Judgement::of_fault(Class::Stream, &note)),
            },
        }
    }

    /// Ends the stream because the gateway stops: an incomplete one ends in the protocol's error event, whatever the
    /// client would prefer. This is not the endpoint's fault.
    fn stop(&mut self) {
        self.content = None;
        if self.passing.relay.progress() >= Progress::Complete {
            self.end(Break::Stopping, None);
            return;
        }
        self.passing.break_as = BreakAs::Event;
        self.break_off(Break::Stopping, &Judgement::of_fault(Class::Cancelled, Break::Stopping.note()));
    }

    /// Handles the upstream's own error event, after which nothing comes.
    fn fail(&mut self, failure: Failure) {
        let failure = self.passing.facts.without_key(failure);
        let judgement = self.passing.facts.judge(&failure.error);
        // An event that refuses the gateway's own key or account would tell clients that theirs is refused.
        let isolates_at_once = matches!(judgement.rule(self.passing.facts.path).outcome, Outcome::Fatal(_));
        match failure.event.filter(|_| !isolates_at_once) {
            Some(event) => self.close(&judgement, Some(event)),
            None => self.break_off(Break::Failed, &judgement),
        }
    }

    fn break_off(&mut self, why: Break, judgement: &Judgement) {
        let PassingEvents { relay, format, break_as, .. } = &self.passing;
        let event = match break_as {
            BreakAs::Abort => None,
            // Part of an event has gone out: anything after it would belong to that event.
            BreakAs::Event if relay.is_within_event() => None,
            BreakAs::Event => {
                let message = why.message(&self.signature.request_id, &self.signature.help);
                Some(relay.behind(&error_event(*format, &message, relay.next_number())))
            }
        };
        self.close(judgement, event);
    }

    /// Fails the answer. The event, or without one a broken connection, tells the client; where HTTP can't tell a clean
    /// end from a break, both do.
    fn close(&mut self, judgement: &Judgement, event: Option<Bytes>) {
        self.content = None;
        let verdict = self.settling.failed(judgement);
        let then = match &event {
            Some(_) if !self.client.speaks_http_10() => Then::End,
            Some(_) | None => Then::BreakOff,
        };
        self.state = State::Judging { verdict, last: event, then };
    }
}

impl Stream for EventBody {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(piece) = self.passing.relay.pop() {
                if self.passing.relay.progress() > Progress::Preamble {
                    self.content_goes_out();
                }
                return Poll::Ready(Some(Ok(piece)));
            }
            self.passing.share = None;
            match &mut self.state {
                State::Flowing => {
                    if self.poll_flow(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                State::Judging { verdict, last, then } => {
                    if verdict.poll_unpin(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let (last, then) = (last.take(), *then);
                    self.state = match then {
                        Then::End => State::Over,
                        Then::BreakOff => State::Breaking(Box::pin(self.client.clone().break_off(TAKING))),
                    };
                    if let Some(last) = last {
                        return Poll::Ready(Some(Ok(last)));
                    }
                }
                State::Breaking(breaking) => {
                    if breaking.poll_unpin(cx).is_pending() {
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

/// How long to wait for the next piece of a stream that has come this far.
fn patience(progress: Progress, idle: Duration) -> Duration {
    match progress {
        Progress::Closed => LINGER,
        Progress::Complete => idle.min(CLOSING),
        Progress::Preamble | Progress::Content => idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_long_for_the_closing_event_of_an_answer_that_is_complete() {
        let waits = |progress, idle| patience(progress, Duration::from_secs(idle)).as_secs();
        assert_eq!([Progress::Preamble, Progress::Content].map(|progress| waits(progress, 240)), [240, 240]);
        assert_eq!(
            (waits(Progress::Complete, 240), waits(Progress::Complete, 3), waits(Progress::Closed, 240)),
            (10, 3, 1)
        );
    }
}
