//! How an actor reports its losses to the stats.

use actix::Recipient;

use super::super::messages::Note;

/// An actor's losses as last reported to the stats. Only a changed total is reported, not each loss.
#[derive(Debug)]
pub(in crate::actors) struct Losses {
    stats: Recipient<Note>,
    /// Makes the note of a total.
    note: fn(u64) -> Note,
    told: u64,
}

impl Losses {
    /// A reporter that has reported no loss yet.
    pub(in crate::actors) fn new(stats: Recipient<Note>, note: fn(u64) -> Note) -> Self {
        Self { stats, note, told: 0 }
    }

    /// Reports the total if it has changed.
    pub(in crate::actors) fn tell(&mut self, in_all: u64) {
        if self.told != in_all {
            self.told = in_all;
            self.stats.do_send((self.note)(in_all));
        }
    }
}
