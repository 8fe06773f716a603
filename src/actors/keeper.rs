//! The actor that writes what outlives a restart. It does what the registry must not: it waits for a disk.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Recipient};

use super::lifeline::Lifeline;
use super::messages::{Drain, IsKept, KeepImage, Note};
use crate::domain::stats::StateFileHealth;
use crate::state_file::StateFile;

/// How long until a failed write is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Writes the latest image.
#[derive(Debug)]
pub struct Keeper {
    file: StateFile,
    registry: Recipient<IsKept>,
    stats: Recipient<Note>,
    /// The latest image, until it is on the disk.
    latest: Option<KeepImage>,
    /// Why the latest write failed, if it did.
    fault: Option<String>,
    lifeline: Lifeline,
}

impl Keeper {
    /// A keeper that answers this registry and reports the file's health to these stats.
    pub fn new(file: StateFile, registry: Recipient<IsKept>, stats: Recipient<Note>, lifeline: Lifeline) -> Self {
        Self { file, registry, stats, latest: None, fault: None, lifeline }
    }

    fn tell(&self) {
        let health = if self.fault.is_some() { StateFileHealth::Failing } else { StateFileHealth::Writable };
        self.stats.do_send(Note::StateFile(health));
    }

    fn write(&mut self) {
        let Some(KeepImage { image, .. }) = &self.latest else { return self.tell() };
        match self.file.write(image) {
            Ok(()) => {
                self.latest = None;
                if self.fault.take().is_some() {
                    log::warn!("the state file is written again");
                }
            }
            Err(error) => {
                let fault = error.to_string();
                if self.fault.as_ref() != Some(&fault) {
                    log::error!("the state file can't be written, so a restart would lose the latest moves: {fault}");
                }
                self.fault = Some(fault);
            }
        }
        self.tell();
    }
}

impl Actor for Keeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX_CAPACITY);
        self.tell();
        ctx.run_interval(TRY_AGAIN_AFTER, |keeper, _| keeper.write());
    }
}

impl Handler<KeepImage> for Keeper {
    type Result = ();

    fn handle(&mut self, image: KeepImage, _: &mut Self::Context) {
        let number = image.number;
        self.latest = Some(image);
        self.write();
        // Even if it failed: a full disk must not hold up traffic. The isolation holds in this process all the same.
        self.registry.do_send(IsKept(number));
    }
}

impl Handler<Drain> for Keeper {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.write();
        if let Some(fault) = &self.fault {
            log::error!("stopping without the latest moves in the state file, which can't be written: {fault}");
        }
        self.lifeline.release();
    }
}
