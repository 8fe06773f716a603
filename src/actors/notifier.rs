//! The actor that tells a webhook's receiver what happens. It controls nothing: if the receiver hangs or this actor is
//! gone, nobody waits and nothing else suffers.

use std::rc::Rc;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, Response, SpawnHandle, WrapFuture,
};
use bytes::Bytes;
use log::{debug, info, warn};
use tokio::sync::oneshot;

use super::messages::{FinishWithin, Note, Notify, SetWebhook};
use super::stats::Losses;
use crate::clock::Clock;
use crate::domain::notice::{Letterhead, NoticeKind};
use crate::domain::outbox::{Delivery, Fate, MAX_WAITING, Next, Outbox, Parcel, Posted};
use crate::domain::time::Moment;
use crate::domain::webhook::Webhook;
use crate::upstream::{Courier, NoReceipt, Receipt};

/// Posts notices to a receiver, if there is one.
#[derive(Debug)]
pub struct Notifier {
    clock: Clock,
    courier: Rc<Courier>,
    webhook: Option<Rc<Webhook>>,
    outbox: Outbox,
    losses: Losses,
    /// The prefix of this process's notice ids.
    series: String,
    under_way: Option<SpawnHandle>,
    alarm: Option<(Moment, SpawnHandle)>,
    leaving: Option<oneshot::Sender<()>>,
}

impl Notifier {
    /// A notifier that has told nothing yet.
    pub fn new(clock: Clock, courier: Courier, webhook: Option<Webhook>, stats: Recipient<Note>) -> Self {
        Self {
            clock,
            courier: Rc::new(courier),
            webhook: webhook.map(Rc::new),
            outbox: Outbox::default(),
            losses: Losses::new(stats, Note::NoticesLost),
            series: format!("{:016x}", fastrand::u64(..)),
            under_way: None,
            alarm: None,
            leaving: None,
        }
    }

    /// Reports losses, delivers what is due, sets the alarm for what is due next, and leaves if it should and all is
    /// done.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if let Some((_, alarm)) = self.alarm.take() {
            ctx.cancel_future(alarm);
        }
        self.losses.tell(self.outbox.lost_in_all());
        let now = self.clock.now();
        match (self.outbox.next(now), self.webhook.clone()) {
            (Next::Deliver(parcel), Some(webhook)) => self.deliver(&parcel, webhook, ctx),
            (Next::At(due), Some(_)) => {
                let alarm = ctx.run_later(due.since(now), |notifier, ctx| {
                    notifier.alarm = None;
                    notifier.look(ctx);
                });
                self.alarm = Some((due, alarm));
            }
            (Next::Nothing, _) | (_, None) => {}
        }
        if self.outbox.is_empty() {
            self.leave(ctx);
        }
    }

    fn deliver(&mut self, parcel: &Parcel, webhook: Rc<Webhook>, ctx: &mut Context<Self>) {
        let Parcel { number, notice, lost } = parcel;
        let id = format!("{}-{number}", self.series);
        let letterhead = Letterhead { id: &id, at: &self.clock.rfc3339(notice.at()), lost: *lost };
        let body = Bytes::from(notice.body(letterhead));
        let (kind, courier, clock) = (notice.kind(), Rc::clone(&self.courier), self.clock);
        let post = {
            let webhook = Rc::clone(&webhook);
            async move { courier.post(&webhook, body, clock).await }
        };
        let handle = ctx.spawn(post.into_actor(self).map(move |ended, notifier, ctx| {
            notifier.under_way = None;
            notifier.delivered(kind, &webhook, &ended, ctx);
        }));
        self.under_way = Some(handle);
    }

    fn delivered(
        &mut self,
        kind: NoticeKind,
        webhook: &Webhook,
        ended: &Result<Receipt, NoReceipt>,
        ctx: &mut Context<Self>,
    ) {
        let delivery = match ended {
            Ok(Receipt { status, retry_after }) => Delivery::Answered { status: *status, retry_after: *retry_after },
            Err(_) => Delivery::Unanswered,
        };
        let (event, receiver) = (kind.as_str(), &webhook.receiver);
        match self.outbox.ended(delivery, self.clock.now(), fastrand::f64()) {
            Some(Fate::Delivered { after_failures: 0 }) => debug!("webhook {receiver}: {event} is delivered"),
            Some(Fate::Delivered { .. }) => info!("webhook {receiver}: {event} is delivered, it can be reached again"),
            Some(Fate::Again { first: true, .. }) => warn!(
                "webhook {receiver}: {event} can't be delivered: {}; it is tried again for an hour",
                spoken(ended)
            ),
            Some(Fate::Again { pause, first: false }) => {
                debug!("webhook {receiver}: {event} can't be delivered: {}; next={pause:?}", spoken(ended));
            }
            Some(Fate::Refused) => warn!("webhook {receiver}: {event} is refused: {}; see [webhook]", spoken(ended)),
            Some(Fate::GivenUp) => warn!("webhook {receiver}: {event} is given up after: {}", spoken(ended)),
            None => {}
        }
        match ended {
            // While leaving, an unreachable receiver is not waited for any longer.
            Err(_) if self.leaving.is_some() => self.leave(ctx),
            Ok(_) | Err(_) => self.look(ctx),
        }
    }

    /// Stops the actor, if it is leaving.
    fn leave(&mut self, ctx: &mut Context<Self>) {
        let Some(told) = self.leaving.take() else { return };
        if let (false, Some(webhook)) = (self.outbox.is_empty(), &self.webhook) {
            warn!("webhook {}: stopping with {} notice(s) undelivered", webhook.receiver, self.outbox.len());
        }
        let _ = told.send(());
        ctx.stop();
    }
}

/// How a delivery attempt ended, in words.
fn spoken(ended: &Result<Receipt, NoReceipt>) -> String {
    match ended {
        Ok(Receipt { status: status @ 300..=399, .. }) => format!("HTTP {status}, and redirects are not followed"),
        Ok(Receipt { status, .. }) => format!("HTTP {status}"),
        Err(error) => error.to_string(),
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX_CAPACITY);
    }
}

impl Handler<Notify> for Notifier {
    type Result = ();

    fn handle(&mut self, Notify(notice): Notify, ctx: &mut Self::Context) {
        let Some(webhook) = self.webhook.as_ref().filter(|webhook| webhook.events.contains(&notice.kind())) else {
            return;
        };
        match self.outbox.push(notice, self.clock.now()) {
            Posted::Waits | Posted::Overflow => {}
            Posted::FirstOverflow => {
                warn!("webhook {}: more than {MAX_WAITING} notices wait; the oldest are dropped", webhook.receiver);
            }
        }
        self.look(ctx);
    }
}

impl Handler<SetWebhook> for Notifier {
    type Result = ();

    fn handle(&mut self, SetWebhook(webhook): SetWebhook, ctx: &mut Self::Context) {
        let webhook = webhook.map(Rc::new);
        if webhook == self.webhook {
            return;
        }
        if let Some(under_way) = self.under_way.take() {
            ctx.cancel_future(under_way);
        }
        let is_wanted = |kind| webhook.as_ref().is_some_and(|webhook| webhook.events.contains(&kind));
        self.outbox.redirect(is_wanted, self.clock.now());
        self.webhook = webhook;
        self.look(ctx);
    }
}

impl Handler<FinishWithin> for Notifier {
    type Result = Response<()>;

    fn handle(&mut self, FinishWithin(patience): FinishWithin, ctx: &mut Self::Context) -> Self::Result {
        let (done, told) = oneshot::channel();
        self.leaving = Some(done);
        ctx.run_later(patience.min(super::FAREWELL), Self::leave);
        self.outbox.hurry();
        self.look(ctx);
        Response::fut(async move { told.await.unwrap_or_default() })
    }
}
