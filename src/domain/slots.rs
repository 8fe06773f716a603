//! Tables indexed by endpoint without looking its name up: each name has a number of its own.

/// The number of an endpoint's name. Once given, it belongs to this name for as long as the process runs, even while the settings
/// lack such an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(usize);

impl Slot {
    /// The slot with this bare number.
    #[must_use]
    pub const fn from_raw(number: usize) -> Self {
        Self(number)
    }
}

/// A table with a value for each endpoint, or for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BySlot<T>(Vec<Option<T>>);

impl<T> Default for BySlot<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> BySlot<T> {
    /// An endpoint's value.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        self.0.get(slot.0)?.as_ref()
    }

    /// An endpoint's value, mutable.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.0.get_mut(slot.0)?.as_mut()
    }

    /// Sets an endpoint's value, and returns the previous one.
    pub fn insert(&mut self, slot: Slot, value: T) -> Option<T> {
        if self.0.len() <= slot.0 {
            self.0.resize_with(slot.0 + 1, || None);
        }
        self.0.get_mut(slot.0)?.replace(value)
    }

    /// An endpoint's value, set to the default if there is none.
    pub fn get_or_default(&mut self, slot: Slot) -> &mut T
    where
        T: Default,
    {
        if self.0.len() <= slot.0 {
            self.0.resize_with(slot.0 + 1, || None);
        }
        self.0[slot.0].get_or_insert_default()
    }

    /// Removes an endpoint's value, and returns it.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        self.0.get_mut(slot.0)?.take()
    }

    /// All values, in no meaningful order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.0.iter().enumerate().filter_map(|(number, value)| Some((Slot(number), value.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_has_its_own_and_the_others_have_nothing() {
        let mut table = BySlot::default();
        let [first, second, third] = [0, 1, 2].map(Slot::from_raw);
        assert_eq!((table.insert(third, "c"), table.insert(first, "a")), (None, None));
        assert_eq!((table.get(first), table.get(second), table.get(third)), (Some(&"a"), None, Some(&"c")));
        assert_eq!(table.insert(first, "b"), Some("a"));
        assert_eq!(
            (table.remove(third), table.remove(third), table.remove(Slot::from_raw(9))),
            (Some("c"), None, None)
        );
        *table.get_or_default(first) = "d";
        assert_eq!(table.iter().collect::<Vec<_>>(), [(first, &"d")]);
    }
}
