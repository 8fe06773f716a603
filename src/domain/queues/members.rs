//! All endpoints, by name and by slot.

use std::collections::BTreeMap;

use super::super::ids::EndpointId;
use super::super::slots::{BySlot, Slot};
use super::member::Member;

/// The endpoints in the settings, and the slots of all names that there ever were.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    slots: BTreeMap<EndpointId, Slot>,
    names: BySlot<EndpointId>,
    by_slot: BySlot<Member>,
    /// The slots of the present endpoints, in the order of their ids.
    present: BTreeMap<EndpointId, Slot>,
}

impl Members {
    /// A copy with gates of its own.
    pub(super) fn fork(&self) -> Self {
        let mut fork = self.clone();
        for slot in self.present.values() {
            if let Some(member) = fork.by_slot.get_mut(*slot) {
                member.gate = member.gate.fork();
            }
        }
        fork
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.present.values().filter_map(|slot| self.by_slot.get(*slot))
    }

    pub(super) fn slot(&self, id: &EndpointId) -> Option<Slot> {
        self.slots.get(id).copied()
    }

    pub(super) fn get(&self, id: &EndpointId) -> Option<&Member> {
        self.at(self.slot(id)?)
    }

    pub(super) fn get_mut(&mut self, id: &EndpointId) -> Option<&mut Member> {
        self.at_mut(self.slot(id)?)
    }

    pub(super) fn at(&self, slot: Slot) -> Option<&Member> {
        self.by_slot.get(slot)
    }

    pub(super) fn at_mut(&mut self, slot: Slot) -> Option<&mut Member> {
        self.by_slot.get_mut(slot)
    }

    /// The slot of a name; a new name gets a new slot.
    pub(super) fn give_slot(&mut self, id: &EndpointId) -> Slot {
        let next = Slot::from_raw(self.slots.len());
        let slot = *self.slots.entry(id.clone()).or_insert(next);
        self.names.insert(slot, id.clone());
        slot
    }

    pub(super) fn name(&self, slot: Slot) -> Option<&EndpointId> {
        self.names.get(slot)
    }

    pub(super) fn insert(&mut self, member: Member) {
        self.present.insert(member.endpoint().id.clone(), member.slot());
        self.by_slot.insert(member.slot(), member);
    }

    pub(super) fn remove(&mut self, id: &EndpointId) -> Option<Member> {
        let slot = self.present.remove(id)?;
        self.by_slot.remove(slot)
    }
}
