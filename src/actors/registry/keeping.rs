//! What the registry asks of the keeper, and the replies that wait for it.

use std::time::Duration;

use actix::{Handler, Recipient, Response};
use tokio::sync::oneshot;

use super::super::messages::{AwaitKept, IsKept, KeepImage, Note};
use super::Registry;
use crate::domain::memory::Image;
use crate::domain::registry::Keep;
use crate::domain::stats::StateFileHealth;
use crate::domain::time::Moment;

/// How long to wait for the disk, checked once a second. A move holds in this process at once; the wait only ensures that
/// the next process knows it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A reply that waits for an image to be on the disk.
#[derive(Debug)]
struct AwaitsDisk {
    number: u64,
    since: Moment,
    reply: oneshot::Sender<()>,
}

/// The state of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// It answers.
    Sound,
    /// Somebody has waited for it in vain; until it answers again, nobody else waits.
    Hangs,
}

/// When changes that are not under way to the disk have to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Nothing,
    AtTheTick,
    Now,
}

/// The registry's side of keeping. One image is under way at a time.
#[derive(Debug)]
pub(super) struct Keeping {
    keeper: Recipient<KeepImage>,
    stats: Recipient<Note>,
    /// The number of the latest image that was sent.
    sent: u64,
    /// The number of the latest image that holds a move; it may still have to be sent.
    awaited: u64,
    /// The number of the latest image that is on the disk.
    kept: u64,
    due: Due,
    disk: Disk,
    waiting: Vec<AwaitsDisk>,
}

impl Keeping {
    pub(super) fn new(keeper: Recipient<KeepImage>, stats: Recipient<Note>) -> Self {
        Self { keeper, stats, sent: 0, awaited: 0, kept: 0, due: Due::Nothing, disk: Disk::Sound, waiting: Vec::new() }
    }

    /// Takes in a change.
    pub(super) fn changed(&mut self, keep: Keep, image: &dyn Fn() -> Image) {
        match keep {
            Keep::Soon => self.due = self.due.max(Due::AtTheTick),
            Keep::Now => {
                self.due = Due::Now;
                self.awaited = self.sent + 1;
                self.send(image);
            }
        }
    }

    /// Sends the changes that could wait until now.
    pub(super) fn catch_up(&mut self, image: &dyn Fn() -> Image) {
        if self.due != Due::Nothing {
            self.send(image);
        }
    }

    /// Sends the outstanding changes even if an image is under way: there will be no next time.
    pub(super) fn finish(&mut self, image: &dyn Fn() -> Image) {
        if self.due != Due::Nothing {
            self.send_behind(image);
        }
    }

    fn send(&mut self, image: &dyn Fn() -> Image) {
        // While one is under way, changes go with the next.
        if self.sent == self.kept {
            self.send_behind(image);
        }
    }

    /// Sends an image, even if one is still under way.
    fn send_behind(&mut self, image: &dyn Fn() -> Image) {
        self.due = Due::Nothing;
        self.sent += 1;
        self.keeper.do_send(KeepImage { number: self.sent, image: Box::new(image()) });
    }

    /// Has `reply` wait until the latest move is on the disk. Gives it back if there is nothing to wait for, or the disk
    /// hangs.
    pub(super) fn wait(&mut self, reply: oneshot::Sender<()>, now: Moment) -> Option<oneshot::Sender<()>> {
        if self.kept >= self.awaited || self.disk == Disk::Hangs {
            return Some(reply);
        }
        self.waiting.push(AwaitsDisk { number: self.awaited, since: now, reply });
        None
    }

    /// Takes in that all images up to this number are on the disk.
    pub(super) fn is_kept(&mut self, number: u64, image: &dyn Fn() -> Image) {
        self.kept = self.kept.max(number);
        self.disk = Disk::Sound;
        let kept = self.kept;
        for waiting in self.waiting.extract_if(.., |waiting| waiting.number <= kept) {
            let _ = waiting.reply.send(());
        }
        if self.due == Due::Now {
            self.send(image);
        }
    }

    /// Releases all waiters if one of them has waited too long.
    pub(super) fn look_at_the_clock(&mut self, now: Moment) {
        if !self.waiting.iter().any(|waiting| now.since(waiting.since) >= PATIENCE) {
            return;
        }
        log::error!(
            "the state file takes more than {PATIENCE:?} to be written; until it is, nobody waits for it, and a restart would lose \
             the latest moves"
        );
        self.disk = Disk::Hangs;
        // The keeper is waiting for the disk; it reports again once the disk answers.
        self.stats.do_send(Note::StateFile(StateFileHealth::Failing));
        for waiting in self.waiting.drain(..) {
            let _ = waiting.reply.send(());
        }
    }
}

impl Registry {
    /// Runs `act`, if anything is kept at all.
    pub(super) fn keep(&mut self, act: impl FnOnce(&mut Keeping, &dyn Fn() -> Image)) {
        if let Some(keeping) = &mut self.keeping {
            let (core, clock) = (&self.core, &self.clock);
            act(keeping, &|| core.image(&clock.almanac(), clock.now()));
        }
    }

    /// Sends `reply` once the latest move is on the disk, so that the answer to a move holds even after a crash.
    pub(super) fn tell_when_kept(&mut self, reply: oneshot::Sender<()>) {
        let now = self.clock.now();
        let at_once = match &mut self.keeping {
            Some(keeping) => keeping.wait(reply, now),
            None => Some(reply),
        };
        if let Some(reply) = at_once {
            let _ = reply.send(());
        }
    }

    /// Answers with `answer` once the latest move is on the disk.
    pub(super) fn when_kept<T: 'static>(&mut self, answer: T) -> Response<T> {
        let (reply, kept) = oneshot::channel();
        self.tell_when_kept(reply);
        Response::fut(async move {
            kept.await.unwrap_or_default();
            answer
        })
    }
}

impl Handler<AwaitKept> for Registry {
    type Result = Response<()>;

    fn handle(&mut self, _: AwaitKept, _: &mut Self::Context) -> Self::Result {
        self.when_kept(())
    }
}

impl Handler<IsKept> for Registry {
    type Result = ();

    fn handle(&mut self, IsKept(number): IsKept, _: &mut Self::Context) {
        self.keep(|keeping, image| keeping.is_kept(number, image));
    }
}
