//! What the registry asks of the keeper, and who waits for it.

use std::time::Duration;

use actix::Recipient;
use tokio::sync::oneshot;

use super::super::messages::KeepImage;
use crate::domain::memory::Image;
use crate::domain::registry::Keep;
use crate::domain::time::Moment;

/// How long anybody waits for the disk. A move holds in this process at once; what is waited for is only that the next one knows.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who waits for an image to be on the disk.
#[derive(Debug)]
struct Waiting {
    number: u64,
    since: Moment,
    reply: oneshot::Sender<()>,
}

/// The registry's side of keeping.
#[derive(Debug)]
pub(super) struct Keeping {
    keeper: Recipient<KeepImage>,
    /// The number of the latest image that was sent.
    sent: u64,
    /// The number of the latest one that holds a move.
    awaited: u64,
    /// The number of the latest one that is on the disk.
    kept: u64,
    /// Whether something has changed since that can wait for the next tick.
    is_due: bool,
    waiting: Vec<Waiting>,
}

impl Keeping {
    pub(super) fn new(keeper: Recipient<KeepImage>) -> Self {
        Self { keeper, sent: 0, awaited: 0, kept: 0, is_due: false, waiting: Vec::new() }
    }

    /// Something has changed.
    pub(super) fn changed(&mut self, keep: Keep, image: impl FnOnce() -> Image) {
        match keep {
            Keep::Soon => self.is_due = true,
            Keep::Now => {
                self.send(image());
                self.awaited = self.sent;
            }
        }
    }

    /// Sends what could wait until now.
    pub(super) fn catch_up(&mut self, image: impl FnOnce() -> Image) {
        if self.is_due {
            self.send(image());
        }
    }

    fn send(&mut self, image: Image) {
        self.is_due = false;
        self.sent += 1;
        self.keeper.do_send(KeepImage { number: self.sent, image: Box::new(image) });
    }

    /// Has `reply` wait until the latest move is on the disk; gives it back where it is.
    pub(super) fn wait(&mut self, reply: oneshot::Sender<()>, now: Moment) -> Option<oneshot::Sender<()>> {
        if self.kept >= self.awaited {
            return Some(reply);
        }
        self.waiting.push(Waiting { number: self.awaited, since: now, reply });
        None
    }

    /// All up to this number is on the disk.
    pub(super) fn is_kept(&mut self, number: u64) {
        self.kept = self.kept.max(number);
        let kept = self.kept;
        for waiting in self.waiting.extract_if(.., |waiting| waiting.number <= kept) {
            let _ = waiting.reply.send(());
        }
    }

    /// Lets go who has waited for long enough.
    pub(super) fn look_at_the_clock(&mut self, now: Moment) {
        let mut tired = 0;
        for waiting in self.waiting.extract_if(.., |waiting| now.since(waiting.since) >= PATIENCE) {
            let _ = waiting.reply.send(());
            tired += 1;
        }
        if tired > 0 {
            log::error!(
                "the state file takes more than {PATIENCE:?} to be written; {tired} answer(s) wait for it no longer"
            );
        }
    }
}
