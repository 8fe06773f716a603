//! One endpoint with its place, and what only matters there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::super::endpoint::{Home, SharedEndpoint};
use super::super::epoch::EpochGate;
use super::super::ids::{Epoch, Serial};
use super::super::outcome::{ErrorNote, Reason};
use super::super::schedule::{Suffices, Urgency};
use super::super::slots::Slot;
use super::super::time::Moment;

/// Where an endpoint is now: in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// In its home queue, used first.
    Primary,
    /// In its home queue, used when no primary can be.
    Secondary,
    /// In the failure queue: never used for traffic.
    Failure,
    /// Switched off by the settings or an admin.
    Disabled,
}

impl Standing {
    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Failure => "failure",
            Self::Disabled => "disabled",
        }
    }
}

/// How an admin has switched an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// It is switched off.
    Off,
    /// It is switched on.
    On,
}

impl From<Home> for Standing {
    fn from(home: Home) -> Self {
        match home {
            Home::Primary => Self::Primary,
            Home::Secondary => Self::Secondary,
        }
    }
}

/// Why and since when an endpoint is in the failure queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// What isolated it.
    pub reason: Reason,
    /// Since when.
    pub at: Moment,
    /// How many counted failures in a row led to it.
    pub failures: u32,
    /// What was seen of the last failure.
    pub error: Option<ErrorNote>,
    /// The model whose failure isolated it.
    pub model: Option<Arc<str>>,
    /// Whether it was isolated again while it was still in slow start.
    pub relapse: bool,
    /// Whose fault it was.
    pub fault: Fault,
    /// Whose answer brings it back, if the model that failed answers nothing.
    pub suffices: Suffices,
    /// When its verification is due, apart from [`Self::fault`]: at once if the endpoint has become another service
    /// since, or if what was known of the isolation is lost.
    pub urgency: Urgency,
}

/// Who is at fault for the failures that isolated an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The endpoint, for certain: the reason rules out a request as the cause, or the endpoint has since failed a
    /// conversation.
    Settled,
    /// The endpoint, unless a failure in the epoch that the isolation ended turns out to be its request's fault.
    Presumed {
        /// That epoch.
        ended: Epoch,
    },
    /// Perhaps a request: the endpoint is verified at once, and if it passes it is as if it had never been isolated.
    Doubted {
        /// The epoch that the isolation ended.
        ended: Epoch,
    },
}

impl Fault {
    /// The fault to assume for an isolation that ended this epoch.
    pub(super) fn of(reason: Reason, ended: Epoch) -> Self {
        match reason {
            Reason::UpstreamStatus | Reason::Timeout | Reason::Body | Reason::Stream => Self::Presumed { ended },
            Reason::Connect | Reason::Credential | Reason::Account | Reason::Overloaded | Reason::Admin => {
                Self::Settled
            }
        }
    }
}

impl Isolation {
    /// Whether its endpoint is to be verified without a delay.
    pub fn is_due_at_once(&self) -> bool {
        match self.fault {
            Fault::Doubted { .. } => true,
            Fault::Settled | Fault::Presumed { .. } => self.urgency == Urgency::AtOnce,
        }
    }
}

/// An endpoint's return from the failure queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Returned {
    pub(super) at: Moment,
    /// The epoch that its isolation ended, if a failure in it may turn out to be its request's fault.
    pub(super) pardonable: Option<Epoch>,
}

/// What became of a doubt about a failure that may have helped to isolate an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubted {
    /// It is still isolated, in this epoch, and is to be verified at once.
    Isolated(Epoch),
    /// It has already passed its verification: the isolation is forgotten.
    Forgiven,
    /// It was not isolated for failures of this epoch.
    Nothing,
}

/// The evidence on which an endpoint is isolated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What isolates it.
    pub reason: Reason,
    /// How many counted failures in a row led to it.
    pub failures: u32,
    /// What was seen of the last failure.
    pub error: Option<ErrorNote>,
    /// The model that was asked for.
    pub model: Option<Arc<str>>,
    /// Whose answer brings the endpoint back: that model alone may have failed.
    pub suffices: Suffices,
}

/// An endpoint's place, with the state that matters only there.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Home {
        /// When it came back from the failure queue, if ever.
        recovered: Option<Returned>,
        /// The failed leases that await their verdict. While there is one, the endpoint is not given out.
        holds: BTreeSet<Serial>,
    },
    Failure(Isolation),
    Disabled {
        recovered: Option<Returned>,
        /// Its isolation, which switching off and on must not launder.
        beneath: Option<Isolation>,
    },
}

impl Place {
    /// The place of an endpoint that becomes another service under the same name. `departed` is the isolation with
    /// which that service left the settings, if it was isolated then. An isolated endpoint is verified at once: the new
    /// service need not have the old one's fault.
    pub(super) fn of_another_service(&self, departed: Option<Isolation>) -> Self {
        let at_once = |isolation: Isolation| Isolation { urgency: Urgency::AtOnce, ..isolation };
        match (self, departed.map(at_once)) {
            (Self::Failure(isolation), _) => Self::Failure(at_once(isolation.clone())),
            (Self::Disabled { beneath: Some(isolation), .. }, _) => {
                Self::Disabled { recovered: None, beneath: Some(at_once(isolation.clone())) }
            }
            (Self::Disabled { beneath: None, .. }, departed) => Self::Disabled { recovered: None, beneath: departed },
            (Self::Home { .. }, Some(isolation)) => Self::Failure(isolation),
            (Self::Home { .. }, None) => Self::Home { recovered: None, holds: BTreeSet::new() },
        }
    }
}

/// One endpoint with its place.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) slot: Slot,
    pub(super) endpoint: SharedEndpoint,
    pub(super) epoch: Epoch,
    pub(super) gate: EpochGate,
    pub(super) place: Place,
    pub(super) proven: Proven,
}

/// Whether an endpoint is known to work at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proven {
    /// It has passed a verification or served a request.
    Yes,
    /// Neither yet.
    No,
    /// Neither yet, and the operator was told so when it was isolated.
    NoAndSaid,
}

impl Member {
    /// Its place in tables.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Its definition.
    pub fn endpoint(&self) -> &SharedEndpoint {
        &self.endpoint
    }

    /// Its present epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its gate, by which other threads see its epoch.
    pub fn gate(&self) -> &EpochGate {
        &self.gate
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        match &self.place {
            Place::Home { .. } => self.endpoint.home.into(),
            Place::Failure(_) => Standing::Failure,
            Place::Disabled { .. } => Standing::Disabled,
        }
    }

    /// Whether it is in its home queue.
    pub fn is_home(&self) -> bool {
        matches!(self.place, Place::Home { .. })
    }

    /// Its isolation while it is in the failure queue.
    pub fn isolation(&self) -> Option<&Isolation> {
        match &self.place {
            Place::Failure(isolation) => Some(isolation),
            Place::Home { .. } | Place::Disabled { .. } => None,
        }
    }

    /// Its isolation until it recovers, even if it was switched off meanwhile.
    pub fn quarantine(&self) -> Option<&Isolation> {
        match &self.place {
            Place::Home { .. } => None,
            Place::Failure(isolation) => Some(isolation),
            Place::Disabled { beneath, .. } => beneath.as_ref(),
        }
    }

    /// When it came back from the failure queue, if it did and is in its home queue.
    pub fn recovered(&self) -> Option<Moment> {
        match &self.place {
            Place::Home { recovered, .. } => recovered.map(|returned| returned.at),
            Place::Failure(_) | Place::Disabled { .. } => None,
        }
    }

    /// Whether the verdict on a failure is awaited.
    pub fn is_held(&self) -> bool {
        matches!(&self.place, Place::Home { holds, .. } if !holds.is_empty())
    }

    /// The failed leases whose verdict is awaited.
    pub fn holds(&self) -> impl Iterator<Item = &Serial> {
        match &self.place {
            Place::Home { holds, .. } => Some(holds),
            Place::Failure(_) | Place::Disabled { .. } => None,
        }
        .into_iter()
        .flatten()
    }

    /// Whether it has ever passed a verification or served a request.
    pub fn is_proven(&self) -> bool {
        self.proven == Proven::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_called_the_same_everywhere() {
        for standing in [Standing::Primary, Standing::Secondary, Standing::Failure, Standing::Disabled] {
            assert_eq!(serde_json::json!(standing), standing.as_str());
        }
    }
}
