//! How an actor tells the stats of what it has lost.

use actix::Recipient;

use super::super::messages::Note;

/// What the stats know of an actor's losses. They are told once there are more, not of each.
#[derive(Debug)]
pub(in crate::actors) struct Losses {
    stats: Recipient<Note>,
    /// How they are told of how many there are in all.
    note: fn(u64) -> Note,
    told: u64,
}

impl Losses {
    /// Nothing is lost yet.
    pub(in crate::actors) fn new(stats: Recipient<Note>, note: fn(u64) -> Note) -> Self {
        Self { stats, note, told: 0 }
    }

    /// So much is lost in all.
    pub(in crate::actors) fn tell(&mut self, in_all: u64) {
        if self.told != in_all {
            self.told = in_all;
            self.stats.do_send((self.note)(in_all));
        }
    }
}
