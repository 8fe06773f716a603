//! The accounts of an answer that is being passed on: closed once, when it ends, when it breaks, or when the client
//! leaves.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::scope::{AttemptScope, RequestScope};
use crate::actors::Core;
use crate::actors::messages::{Doubt, Judged};
use crate::clock::Clock;
use crate::domain::classify::Judgement;
use crate::domain::opinions::FailedAttempt;
use crate::domain::outcome_table::Class;
use crate::domain::time::Moment;
use crate::domain::usage::Usage;

/// If a client takes nothing for this long, its endpoint may give up writing.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// How long what the endpoint wrote before it gave up may still come once the client takes something again.
const BACKLOG: Duration = Duration::from_secs(10);

/// Ready when what a failure brings about has taken effect: whoever sees the end after that can rely on it.
pub(super) type TakenEffect = Pin<Box<dyn Future<Output = ()>>>;

/// The attempt and the request to which an answer belongs, until they are over.
#[derive(Debug)]
pub(super) struct Settling {
    open: Option<(AttemptScope, RequestScope)>,
    /// Dropped after the attempt, whose end is told first.
    doubts: Doubts<Arc<Core>>,
    /// Whether anything of an answer has gone out.
    has_begun: bool,
    clock: Clock,
    /// Since when the client has been waited for.
    handed_out: Option<Moment>,
    /// When the client ended a long pause, as long as what comes may still date from before then.
    resumed: Option<Moment>,
}

impl Settling {
    /// The accounts of a new answer. `doubt` is what the registry is told of the request and its earlier failures if this
    /// answer fails too.
    pub(super) fn new(attempt: AttemptScope, request: RequestScope, doubt: Option<Doubt>, core: Arc<Core>) -> Self {
        let clock = attempt.clock();
        let handed_out = Some(clock.now());
        Self {
            open: Some((attempt, request)),
            doubts: Doubts { core, held: doubt },
            has_begun: false,
            clock,
            handed_out,
            resumed: None,
        }
    }

    /// The present moment.
    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// A moment on the timers' clock.
    pub(super) fn instant(&self, moment: Moment) -> Instant {
        self.clock.instant(moment).into()
    }

    /// Notes that a piece goes out that counts as the beginning of the answer; the first one counts.
    pub(super) fn piece_goes_out(&mut self) {
        self.has_begun = true;
        if let Some((_, request)) = &mut self.open {
            request.piece();
        }
    }

    /// Notes that a piece of a stream with content goes out; the first one counts.
    pub(super) fn content_goes_out(&mut self) {
        self.has_begun = true;
        if let Some((attempt, request)) = &mut self.open {
            attempt.content();
            request.piece();
        }
    }

    /// Notes the answer's usage, as far as it has said so.
    pub(super) fn costs(&mut self, usage: Usage) {
        if let Some((attempt, request)) = &mut self.open {
            attempt.costs(usage);
            request.costs(usage);
        }
    }

    /// Notes that the endpoint is waited for from now on. Returns how long the client took until then.
    pub(super) fn waits_for_endpoint(&mut self, now: Moment) -> Duration {
        let Some((attempt, _)) = &self.open else { return Duration::ZERO };
        attempt.waits_for_endpoint(now);
        let taken = self.handed_out.take().map(|since| now.since(since)).unwrap_or_default();
        if taken >= LONG_PAUSE {
            self.resumed = Some(now);
        }
        taken
    }

    /// Notes that the endpoint has sent something.
    pub(super) fn waits_for_client(&mut self) {
        if let Some((attempt, _)) = &self.open {
            let now = self.clock.now();
            // An endpoint that speaks after a long silence had not given up.
            let may_be_backlog = attempt.waits_for_client(now) < LONG_PAUSE;
            self.handed_out = Some(now);
            self.resumed = self.resumed.filter(|resumed| may_be_backlog && now.since(*resumed) < BACKLOG);
        }
    }

    /// Judges a broken connection. An endpoint that can write nothing for long gives up, and then the client has brought
    /// it about, whose faults are its own. That does not excuse falling silent once the client reads on, nor ending in
    /// order without an end, nor breaking off long after.
    pub(super) fn judge_break(&self, class: Class, note: &str) -> Judgement {
        let class = if self.resumed.is_some() { Class::Cancelled } else { class };
        Judgement::of_fault(class, note)
    }

    /// Settles the answer as whole. Called before its end goes out, so that whoever has the whole answer can rely on the
    /// stats.
    pub(super) fn whole(&mut self, judgement: &Judgement) {
        if let Some((attempt, request)) = self.open.take() {
            if judgement.class == Class::Success {
                self.doubts.held = None;
            }
            let now = request.now();
            let last = attempt.settled(judgement, now);
            request.end_whole(judgement.class, Some(last), now);
            self.doubts.tell();
        }
    }

    /// Ends an answer whose client would be gone before more could come, which says nothing about the endpoint.
    pub(super) fn client_is_out_of_time(&mut self) {
        if let Some((attempt, mut request)) = self.open.take() {
            let now = request.now();
            // Settled as cancelled by its drop.
            drop(attempt);
            request.cuts_short(now);
            request.end_broken(now);
            // The request's earlier failures may be its own all the same.
            self.doubts.tell();
        }
    }

    /// Settles an answer that has failed midway.
    pub(super) fn failed(&mut self, judgement: &Judgement) -> TakenEffect {
        let Some((attempt, mut request)) = self.open.take() else { return Box::pin(std::future::ready(())) };
        let judgement = &judgement.clone().seen_in(attempt.manner());
        let ticket = attempt.lease().ticket().clone();
        let mut doubts = Doubts { core: Arc::clone(&self.doubts.core), held: self.doubts.held.take() };
        if let Some(doubt) = &mut doubts.held {
            // The request has failed for good, and this was its last failure.
            doubt.failures.extend(FailedAttempt::of(&ticket, judgement, attempt.path()));
        }
        let now = request.now();
        request.tried(judgement, attempt.elapsed(now));
        attempt.end(judgement, now);
        request.end_broken(now);
        // Told after the verdict, or as soon as the client no longer waits for it.
        Box::pin(async move {
            let core = &doubts.core;
            // If the registry is gone, the process is ending anyway.
            let _ = core.registry.send(Judged(ticket.serial)).await;
            drop(doubts);
        })
    }
}

impl Drop for Settling {
    /// If it is not over, the client has left. If the answer had begun, the request's earlier failures are not its own
    /// fault: it would have succeeded here.
    fn drop(&mut self) {
        if self.has_begun {
            self.doubts.held = None;
        }
    }
}

/// The doubt about a request's failures so far. It is told when the request ends without a success, before its answer or
/// the end of that, or when its client leaves before an answer has begun.
#[derive(Debug)]
pub(super) struct Doubts<C: Deref<Target = Core>> {
    pub(super) core: C,
    pub(super) held: Option<Doubt>,
}

impl<C: Deref<Target = Core>> Doubts<C> {
    /// Tells the registry, if there is anything in doubt.
    fn tell(&mut self) {
        if let Some(doubt) = self.held.take().filter(|doubt| !doubt.failures.is_empty()) {
            self.core.registry.do_send(doubt);
        }
    }
}

impl<C: Deref<Target = Core>> Drop for Doubts<C> {
    fn drop(&mut self) {
        self.tell();
    }
}
