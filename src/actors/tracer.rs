//! The actor that sends spans to a collector. It exists only if a collector is configured; if it is gone, no traces are
//! sent and nothing else suffers.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Recipient, ResponseFuture, WrapFuture};
use actix_rt::Arbiter;
use tokio::sync::oneshot;

use super::messages::{Flush, Note, Spanned};
use super::stats::Losses;
use crate::clock::Clock;
use crate::domain::time::Moment;
use crate::domain::tracing::{Backlog, Collector, Service, Span, export};
use crate::upstream::{Client, Exporter, Taken};

/// How long a span waits at most for others to fill a batch.
const PERIOD: Duration = Duration::from_secs(5);
/// How often, at most, the log says that the collector refuses spans.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);
/// How long sending the last spans may take when the gateway stops.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// Sends spans to a collector, batch by batch.
#[derive(Debug)]
pub struct Tracer {
    backlog: Backlog,
    exporter: Exporter,
    service: Service,
    clock: Clock,
    losses: Losses,
    /// Whether a batch is under way; there is never more than one.
    is_posting: bool,
    /// Those waiting until nothing is left, or the collector takes no more.
    flushing: Vec<oneshot::Sender<()>>,
    complained: Option<Moment>,
}

impl Tracer {
    /// A tracer with nothing to send yet.
    pub fn new(exporter: Exporter, service: Service, clock: Clock, stats: Recipient<Note>) -> Self {
        let (backlog, flushing, losses) = (Backlog::default(), Vec::new(), Losses::new(stats, Note::SpansLost));
        Self { backlog, exporter, service, clock, losses, is_posting: false, flushing, complained: None }
    }

    /// Reports losses: not for each span, as there may be thousands a second.
    fn tell(&mut self) {
        self.losses.tell(self.backlog.lost());
    }

    fn post(&mut self, ctx: &mut Context<Self>) {
        if self.is_posting {
            return;
        }
        let batch = self.backlog.take_batch();
        if batch.is_empty() {
            self.flushed();
            return;
        }
        let Ok(body) = export(&self.service, &batch, self.clock.almanac().zero) else {
            self.backlog.lose(&batch);
            self.flushed();
            return;
        };
        self.is_posting = true;
        let exporter = self.exporter.clone();
        let posting = async move { exporter.post(body).await };
        ctx.spawn(posting.into_actor(self).map(|taken, tracer, ctx| tracer.posted(batch, taken, ctx)));
    }

    fn posted(&mut self, batch: Vec<Span>, taken: Taken, ctx: &mut Context<Self>) {
        self.is_posting = false;
        match taken {
            Taken::Yes => {
                if self.complained.take().is_some() {
                    log::info!("traces: the collector takes them again, {} span(s) lost so far", self.backlog.lost());
                }
                if self.backlog.has_a_batch() || !self.flushing.is_empty() {
                    self.post(ctx);
                }
            }
            Taken::NotNow(why) => {
                self.backlog.give_back(batch);
                self.complain(&why);
                self.flushed();
            }
            Taken::Never(why) => {
                self.backlog.lose(&batch);
                self.complain(&why);
                self.flushed();
            }
        }
        self.tell();
    }

    /// Releases everyone that waits for a flush.
    fn flushed(&mut self) {
        for waiting in self.flushing.drain(..) {
            // The waiter may have left.
            let _ = waiting.send(());
        }
    }

    fn complain(&mut self, why: &str) {
        let now = self.clock.now();
        if self.complained.is_some_and(|last| now.since(last) < COMPLAINT_EVERY) {
            return;
        }
        self.complained = Some(now);
        let (collector, lost) = (self.exporter.collector(), self.backlog.lost());
        log::warn!("traces: the collector at {collector} does not take them: {why}; {lost} span(s) lost so far");
    }
}

impl Actor for Tracer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX_CAPACITY);
        ctx.run_interval(PERIOD, |tracer, ctx| {
            tracer.post(ctx);
            tracer.tell();
        });
    }
}

impl Handler<Spanned> for Tracer {
    type Result = ();

    fn handle(&mut self, Spanned(span): Spanned, ctx: &mut Self::Context) {
        self.backlog.push(span);
        // While the collector takes nothing, the interval tries again.
        if self.backlog.has_a_batch() && self.complained.is_none() {
            self.post(ctx);
        }
    }
}

impl Handler<Flush> for Tracer {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) -> Self::Result {
        let (flushed, done) = oneshot::channel();
        self.flushing.push(flushed);
        self.post(ctx);
        Box::pin(async move {
            let _ = done.await;
        })
    }
}

/// A tracer on a thread of its own, so that a collector's TLS delays nobody.
#[derive(Debug)]
pub struct TracerThread {
    tracer: Addr<Tracer>,
    thread: Arbiter,
}

impl TracerThread {
    /// Starts the tracer. `client` is called on its thread, as the client can't leave it.
    pub fn start(
        collector: Collector,
        service: Service,
        clock: Clock,
        stats: Recipient<Note>,
        client: impl FnOnce() -> Client + Send + 'static,
    ) -> Self {
        let thread = Arbiter::new();
        let tracer = Tracer::start_in_arbiter(&thread.handle(), move |_| {
            Tracer::new(Exporter::new(client(), collector), service, clock, stats)
        });
        Self { tracer, thread }
    }

    /// The tracer's address, which spans are sent to.
    pub fn address(&self) -> &Addr<Tracer> {
        &self.tracer
    }

    /// Sends what is left, if that does not take long, and ends the thread.
    pub async fn stop(self) {
        if tokio::time::timeout(LAST_FLUSH, self.tracer.send(Flush)).await.is_err() {
            log::warn!("traces: the collector did not take the last ones in time");
        }
        // Not joined: it may be resolving the collector's name, which can't be interrupted.
        self.thread.stop();
    }
}
