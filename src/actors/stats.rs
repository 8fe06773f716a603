//! The actor that owns the counts and the event log. It tells nobody anything unasked.

mod losses;

use std::sync::Arc;

use actix::{Actor, Context, Handler, MessageResult};
use tokio::sync::broadcast;

pub(super) use losses::Losses;

use super::lifeline::Lifeline;
use super::messages::{
    Drain, EndSubscriptions, EventsAfter, KeepEvents, NoSubscription, Note, SetCatalog, Subscribe, Subscription,
    ViewStats,
};
use crate::clock::Clock;
use crate::domain::events::{Event, EventLog};
use crate::domain::stats::Stats;

/// How many subscriptions there may be at a time.
const SUBSCRIPTIONS: usize = 100;
/// How many events a subscriber may lag behind. One that lags further is cut off; it subscribes again, naming the last
/// event it has seen.
const BEHIND: usize = 256;

/// Counts, and remembers the latest events.
#[derive(Debug)]
pub struct StatsCollector {
    stats: Stats,
    events: EventLog,
    /// The channel to all subscribers; `None` once subscriptions have ended.
    subscribers: Option<broadcast::Sender<Arc<(u64, Event)>>>,
    lifeline: Lifeline,
}

impl StatsCollector {
    /// A collector that keeps the latest `events` events.
    pub fn new(events: usize, lifeline: Lifeline) -> Self {
        let (subscribers, _) = broadcast::channel(BEHIND);
        Self {
            stats: Stats::new(Clock::BEGAN),
            events: EventLog::new(events),
            subscribers: Some(subscribers),
            lifeline,
        }
    }

    /// Remembers an event, and passes it on to the subscribers without waiting for them.
    fn take_in(&mut self, event: Event) {
        match self.subscribers.as_ref().filter(|subscribers| subscribers.receiver_count() > 0) {
            Some(subscribers) => {
                let number = self.events.push(event.clone());
                // It is no fault if the last subscriber has just gone.
                let _ = subscribers.send(Arc::new((number, event)));
            }
            None => {
                self.events.push(event);
            }
        }
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
            Note::Request(record, last) => {
                if let Some(attempt) = last {
                    self.stats.attempt(attempt);
                }
                self.stats.request(record);
            }
            Note::Attempt(record) => self.stats.attempt(record),
            Note::Allowances(record) => self.stats.allowances(record),
            Note::Event(event) => {
                self.stats.event(&event);
                self.take_in(event);
            }
            Note::Verification(record) => self.stats.verification(&record),
            Note::Reload(record) => self.stats.reload(record),
            Note::StateFile(health) => self.stats.state_file = Some(health),
            Note::NoticesLost(lost) => self.stats.losses.notices = lost,
            Note::SpansLost(lost) => self.stats.losses.spans = lost,
        }
    }
}

impl Handler<SetCatalog> for StatsCollector {
    type Result = ();

    fn handle(&mut self, SetCatalog { catalog, endpoints, callers, teams }: SetCatalog, _: &mut Self::Context) {
        self.stats.set_catalog(catalog);
        self.stats.set_teams(teams);
        self.stats.expect(&endpoints, callers);
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
        MessageResult(self.events.missed_since(seq).cloned().collect())
    }
}

impl Handler<KeepEvents> for StatsCollector {
    type Result = ();

    fn handle(&mut self, KeepEvents(capacity): KeepEvents, _: &mut Self::Context) {
        self.events.resize(capacity);
    }
}

impl Handler<Subscribe> for StatsCollector {
    type Result = MessageResult<Subscribe>;

    fn handle(&mut self, Subscribe(last): Subscribe, _: &mut Self::Context) -> Self::Result {
        MessageResult(match &self.subscribers {
            None => Err(NoSubscription::Stopping),
            Some(subscribers) if subscribers.receiver_count() >= SUBSCRIPTIONS => {
                Err(NoSubscription::TooMany(SUBSCRIPTIONS))
            }
            Some(subscribers) => Ok(Subscription {
                missed: self.events.missed_since(last).cloned().collect(),
                coming: subscribers.subscribe(),
            }),
        })
    }
}

impl Handler<EndSubscriptions> for StatsCollector {
    type Result = ();

    fn handle(&mut self, _: EndSubscriptions, _: &mut Self::Context) {
        self.subscribers = None;
    }
}

impl Handler<Drain> for StatsCollector {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.lifeline.release();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::{RecvError, TryRecvError};

    use super::*;
    use crate::domain::events::EventKind;
    use crate::domain::testing::id;
    use crate::domain::time::Moment;

    fn collector() -> actix::Addr<StatsCollector> {
        StatsCollector::new(1000, Lifeline::new("stats collector", Arc::new(|_| ()))).start()
    }

    fn happens(stats: &actix::Addr<StatsCollector>) {
        stats.do_send(Note::Event(Event::new(EventKind::Verified, Moment::START, &id("a"))));
    }

    async fn subscribe(stats: &actix::Addr<StatsCollector>, last: u64) -> Result<Subscription, NoSubscription> {
        stats.send(Subscribe(last)).await.unwrap()
    }

    #[actix_web::test]
    async fn nothing_is_lost_or_told_twice_between_what_was_missed_and_what_comes() {
        let stats = collector();
        (0..3).for_each(|_| happens(&stats));
        let mut subscription = subscribe(&stats, 1).await.unwrap();
        happens(&stats);
        let missed: Vec<u64> = subscription.missed.iter().map(|(number, _)| *number).collect();
        assert_eq!((missed, subscription.coming.recv().await.unwrap().0), (vec![2, 3], 4));
        assert_eq!(subscription.coming.try_recv().unwrap_err(), TryRecvError::Empty);
    }

    #[actix_web::test]
    async fn who_lags_is_told_so_and_holds_up_nobody() {
        let stats = collector();
        let mut slow = subscribe(&stats, 0).await.unwrap();
        let mut quick = subscribe(&stats, 0).await.unwrap();
        for number in 1..=2 * BEHIND as u64 {
            happens(&stats);
            assert_eq!(quick.coming.recv().await.unwrap().0, number);
        }
        assert!(matches!(slow.coming.recv().await, Err(RecvError::Lagged(_))));
        assert_eq!(subscribe(&stats, 1).await.unwrap().missed.len(), 2 * BEHIND - 1, "and finds what it has missed");
    }

    #[actix_web::test]
    async fn there_are_only_so_many_subscriptions_and_one_that_ends_makes_room() {
        let stats = collector();
        let mut open = Vec::new();
        for _ in 0..SUBSCRIPTIONS {
            open.push(subscribe(&stats, 0).await.unwrap());
        }
        assert_eq!(subscribe(&stats, 0).await.unwrap_err(), NoSubscription::TooMany(SUBSCRIPTIONS));
        open.pop();
        assert!(subscribe(&stats, 0).await.is_ok());
    }

    #[actix_web::test]
    async fn the_stop_ends_subscriptions_behind_what_was_to_be_told() {
        let stats = collector();
        let mut subscription = subscribe(&stats, 0).await.unwrap();
        happens(&stats);
        stats.send(EndSubscriptions).await.unwrap();
        assert_eq!(subscription.coming.recv().await.unwrap().0, 1);
        assert_eq!(subscription.coming.recv().await.unwrap_err(), RecvError::Closed);
        assert_eq!(subscribe(&stats, 0).await.unwrap_err(), NoSubscription::Stopping);
    }
}
