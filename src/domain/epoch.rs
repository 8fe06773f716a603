//! The epoch clock, and the gate that every lease checks right before its request is written.
//!
//! Both are atomics that only the registry writes. Workers on other threads read them without asking it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ids::Epoch;

/// Issues epochs, each once, and publishes the newest one for auditing.
#[derive(Debug, Default)]
pub struct EpochClock {
    newest: Arc<AtomicU64>,
}

impl EpochClock {
    /// The next epoch. It is announced only by [`Self::announce`], after the endpoint's gate has been moved, so that a
    /// reader that sees the epoch also sees the moved gate.
    pub fn draw(&mut self) -> Epoch {
        Epoch::from_raw(self.newest.load(Ordering::Relaxed)).next()
    }

    /// Makes a drawn epoch the newest one.
    pub fn announce(&mut self, epoch: Epoch) {
        self.newest.store(epoch.get(), Ordering::Release);
    }

    /// A separate clock at the same epoch, for a copy of everything that this one numbers.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { newest: Arc::new(AtomicU64::new(self.newest.load(Ordering::Relaxed))) }
    }

    /// A reader for other threads.
    pub fn reader(&self) -> EpochReader {
        EpochReader(Arc::clone(&self.newest))
    }
}

/// Reads the epoch clock.
#[derive(Clone, Debug)]
pub struct EpochReader(Arc<AtomicU64>);

impl EpochReader {
    /// The newest epoch of all endpoints.
    pub fn newest(&self) -> Epoch {
        Epoch::from_raw(self.0.load(Ordering::Acquire))
    }
}

/// One endpoint's present epoch, as other threads see it.
#[derive(Clone, Debug)]
pub struct EpochGate(Arc<AtomicU64>);

impl EpochGate {
    /// A gate at `epoch`.
    pub fn new(epoch: Epoch) -> Self {
        Self(Arc::new(AtomicU64::new(epoch.get())))
    }

    /// Moves the gate. For the registry alone.
    pub(super) fn move_to(&self, epoch: Epoch) {
        self.0.store(epoch.get(), Ordering::Release);
    }

    /// A separate gate at the same epoch: moving this one does not move it.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(AtomicU64::new(self.0.load(Ordering::Acquire))))
    }

    /// Whether both are the same gate.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the endpoint is still in `epoch`.
    pub fn is_at(&self, epoch: Epoch) -> bool {
        self.0.load(Ordering::Acquire) == epoch.get()
    }
}
