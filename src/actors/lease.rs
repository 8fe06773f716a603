//! One attempt's permission to use one endpoint, which reports its end exactly once.

use std::cell::Cell;
use std::sync::Arc;

use actix::Addr;

use super::messages::Settle;
use super::registry::Registry;
use crate::domain::endpoint::Endpoint;
use crate::domain::epoch::EpochReader;
use crate::domain::ids::{Epoch, Ticket};
use crate::domain::outcome::{Outcome, Report};
use crate::domain::registry::{Grant, Settlement};
use crate::upstream::{Withdrawn, WritePermit};

/// A granted lease. One that is dropped unsettled reports that it was cancelled.
#[derive(Debug)]
pub struct Lease {
    grant: Grant,
    model: Option<Arc<str>>,
    epochs: EpochReader,
    registry: Arc<Addr<Registry>>,
    permitted_at: Cell<Option<Epoch>>,
    is_written: Cell<bool>,
    settled: bool,
}

impl Lease {
    pub(super) fn new(
        grant: Grant,
        model: Option<Arc<str>>,
        epochs: EpochReader,
        registry: Arc<Addr<Registry>>,
    ) -> Self {
        let (permitted_at, is_written) = (Cell::new(None), Cell::new(false));
        Self { grant, model, epochs, registry, permitted_at, is_written, settled: false }
    }

    /// The endpoint that the attempt may be sent to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.grant.endpoint
    }

    /// The ticket that the lease's report carries.
    pub fn ticket(&self) -> &Ticket {
        &self.grant.ticket
    }

    /// Whether anything of the request was written.
    pub fn was_written(&self) -> bool {
        self.is_written.get()
    }

    /// Whether the attempt's end is reported.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Reports the attempt's end. The first report counts.
    pub fn settle(&mut self, report: Report) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        self.registry.do_send(Settle(Settlement {
            ticket: self.grant.ticket.clone(),
            report,
            model: self.model.clone(),
            written_at: self.permitted_at.get(),
        }));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle(Report::of(Outcome::Cancelled));
    }
}

impl WritePermit for Lease {
    /// Refuses if the endpoint's epoch has moved since the lease was granted.
    ///
    /// The audit is given the epoch clock's value, not the gate's, so that a gate that failed to close would show.
    fn may_write(&self) -> Result<(), Withdrawn> {
        let newest = self.epochs.newest();
        if !self.grant.gate.is_at(self.grant.ticket.epoch) {
            return Err(Withdrawn);
        }
        self.permitted_at.set(Some(newest));
        Ok(())
    }

    fn has_written(&self) {
        self.is_written.set(true);
    }
}
