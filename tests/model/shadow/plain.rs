//! One endpoint as it should be.

use std::collections::BTreeSet;

use qcc_gateway::domain::conversation::Manner;
use qcc_gateway::domain::endpoint::{Endpoint, Home};
use qcc_gateway::domain::ids::{Epoch, Serial};
use qcc_gateway::domain::outcome::{ErrorNote, Reason};
use qcc_gateway::domain::queues::Standing;
use qcc_gateway::domain::time::Moment;

/// What an endpoint is isolated or doubted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) reason: Reason,
    /// Whether it was seen in a stream: by a whole answer it can't be disproved.
    pub(super) is_of_stream: bool,
    /// Whether a stream had been asked for.
    pub(super) wanted_stream: bool,
}

impl Cause {
    pub(super) fn of(reason: Reason, error: Option<&ErrorNote>) -> Self {
        let is = |manner| error.is_some_and(|error| error.manner() == manner);
        let is_of_stream = reason == Reason::Stream || is(Manner::Streamed);
        Self { reason, is_of_stream, wanted_stream: is(Manner::Either) }
    }

    /// How the endpoint has to prove itself.
    pub(super) fn proof(self, relapse: bool) -> Manner {
        if self.is_of_stream {
            Manner::Streamed
        } else if relapse && self.wanted_stream {
            Manner::Either
        } else {
            Manner::Whole
        }
    }
}

/// Why an endpoint is out, and what was said of it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quarantine {
    pub(super) cause: Cause,
    pub(super) since: Moment,
    /// The epoch that it ended, where a doubt of its failures, which carries that, may come; else none.
    pub(super) ended: Epoch,
    pub(super) relapse: bool,
    pub(super) redefined: bool,
    pub(super) doubted: bool,
}

impl Quarantine {
    /// An endpoint is isolated in this epoch.
    pub(super) fn new(cause: Cause, since: Moment, epoch: Epoch, relapse: bool) -> Self {
        let may_be_the_requests = match cause.reason {
            Reason::UpstreamStatus | Reason::Timeout | Reason::Body | Reason::Stream => true,
            Reason::Connect | Reason::Credential | Reason::Account | Reason::Overloaded | Reason::Admin => false,
        };
        let ended = if may_be_the_requests { epoch } else { Epoch::NONE };
        Self { cause, since, ended, relapse, redefined: false, doubted: false }
    }

    /// Whether it is for failures of this epoch that their requests may have caused.
    pub(super) fn is_for_failures_of(&self, epoch: Epoch) -> bool {
        epoch != Epoch::NONE && self.ended == epoch
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Home,
    Isolated(Quarantine),
    Off { beneath: Option<Quarantine> },
}

pub(super) struct Plain {
    pub(super) definition: Endpoint,
    pub(super) place: Place,
    pub(super) epoch: Epoch,
    /// Whether the present input must give it a fresh epoch.
    pub(super) moved: bool,
    /// Its failed leases of the present epoch whose verdict is not in.
    pub(super) holds: BTreeSet<Serial>,
    /// When it came back with a tenth of its share, if it has, and from what.
    pub(super) recovered: Option<(Moment, Quarantine)>,
}

impl Plain {
    pub(super) fn new(definition: &Endpoint, enabled: bool, quarantine: Option<Quarantine>) -> Self {
        let place = match (enabled, quarantine) {
            (false, beneath) => Place::Off { beneath },
            (true, Some(quarantine)) => Place::Isolated(quarantine),
            (true, None) => Place::Home,
        };
        let definition = definition.clone();
        Self { definition, place, epoch: Epoch::NONE, moved: true, holds: BTreeSet::new(), recovered: None }
    }

    pub(super) fn go(&mut self, place: Place) {
        self.place = place;
        self.moved = true;
        self.holds.clear();
    }

    pub(super) fn quarantine(&self) -> Option<&Quarantine> {
        match &self.place {
            Place::Home => None,
            Place::Isolated(quarantine) => Some(quarantine),
            Place::Off { beneath } => beneath.as_ref(),
        }
    }

    pub(super) fn quarantine_mut(&mut self) -> Option<&mut Quarantine> {
        match &mut self.place {
            Place::Home => None,
            Place::Isolated(quarantine) => Some(quarantine),
            Place::Off { beneath } => beneath.as_mut(),
        }
    }

    /// It is one that has left with this.
    pub(super) fn come_back(&mut self, quarantine: Quarantine) {
        self.place = match self.place {
            Place::Off { .. } => Place::Off { beneath: Some(quarantine) },
            Place::Home | Place::Isolated(_) => Place::Isolated(quarantine),
        };
    }

    pub(super) fn isolated(&self) -> Option<&Quarantine> {
        match &self.place {
            Place::Isolated(quarantine) => Some(quarantine),
            Place::Home | Place::Off { .. } => None,
        }
    }

    pub(super) fn switch(&mut self, on: bool) -> bool {
        let place = match (self.place, on) {
            (Place::Home | Place::Isolated(_), false) => Place::Off { beneath: self.quarantine().copied() },
            (Place::Off { beneath: None }, true) => Place::Home,
            (Place::Off { beneath: Some(quarantine) }, true) => Place::Isolated(quarantine),
            (Place::Home | Place::Isolated(_), true) | (Place::Off { .. }, false) => return false,
        };
        self.go(place);
        true
    }

    pub(super) fn standing(&self) -> Standing {
        match (self.place, self.definition.home) {
            (Place::Home, Home::Primary) => Standing::Primary,
            (Place::Home, Home::Secondary) => Standing::Secondary,
            (Place::Isolated(_), _) => Standing::Failure,
            (Place::Off { .. }, _) => Standing::Disabled,
        }
    }

    /// Whether it is in this epoch. While an input is being carried out, a fresh epoch is not yet known here.
    pub(super) fn is_in(&self, epoch: Epoch) -> bool {
        !self.moved && self.epoch == epoch
    }

    pub(super) fn may_have(&self, epoch: Epoch) -> bool {
        if self.moved { epoch > self.epoch } else { epoch == self.epoch }
    }
}
