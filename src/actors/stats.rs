//! The actor that owns the counts and the event log. It tells nobody anything unasked.

use actix::{Actor, Context, Handler, MessageResult};

use super::lifeline::Lifeline;
use super::messages::{Drain, EventsAfter, KeepEvents, Note, SetCatalog, ViewStats};
use crate::clock::Clock;
use crate::domain::events::EventLog;
use crate::domain::stats::Stats;

/// Counts, and remembers the latest events.
#[derive(Debug)]
pub struct StatsCollector {
    stats: Stats,
    events: EventLog,
    lifeline: Lifeline,
}

impl StatsCollector {
    /// A collector that keeps the latest `events` events.
    pub fn new(events: usize, lifeline: Lifeline) -> Self {
        Self { stats: Stats::new(Clock::BEGAN), events: EventLog::new(events), lifeline }
    }
}

impl Actor for StatsCollector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX_CAPACITY);
    }
}

impl Handler<Note> for StatsCollector {
    type Result = ();

    fn handle(&mut self, note: Note, _: &mut Self::Context) {
        match note {
            Note::Request(record) => self.stats.request(record),
            Note::Attempt(record) => self.stats.attempt(record),
            Note::Allowances(record) => self.stats.allowances(record),
            Note::Event(event) => {
                self.stats.event(&event);
                self.events.push(event);
            }
            Note::Verification(record) => self.stats.verification(&record),
            Note::Reload(record) => self.stats.reload(record),
        }
    }
}

impl Handler<SetCatalog> for StatsCollector {
    type Result = ();

    fn handle(&mut self, SetCatalog(catalog): SetCatalog, _: &mut Self::Context) {
        self.stats.set_catalog(catalog);
    }
}

impl Handler<ViewStats> for StatsCollector {
    type Result = MessageResult<ViewStats>;

    fn handle(&mut self, _: ViewStats, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.stats.clone())
    }
}

impl Handler<EventsAfter> for StatsCollector {
    type Result = MessageResult<EventsAfter>;

    fn handle(&mut self, EventsAfter(seq): EventsAfter, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.events.after(seq).cloned().collect())
    }
}

impl Handler<KeepEvents> for StatsCollector {
    type Result = ();

    fn handle(&mut self, KeepEvents(capacity): KeepEvents, _: &mut Self::Context) {
        self.events.resize(capacity);
    }
}

impl Handler<Drain> for StatsCollector {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.lifeline.release();
    }
}
