//! The consequences of the registry's inputs for others.

use super::super::endpoint::{Protocol, SharedEndpoint};
use super::super::epoch::EpochGate;
use super::super::events::Event;
use super::super::ids::{EndpointId, Epoch, ProfileId, Serial, Ticket};
use super::super::outcome::Outcome;
use super::{NoEndpoint, WaiterId};

/// One attempt's permission to use one endpoint.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The endpoint that it may be sent to.
    pub endpoint: SharedEndpoint,
    /// What its report will carry.
    pub ticket: Ticket,
    /// What must be checked right before the first byte is written.
    pub gate: EpochGate,
}

/// An outcome that the breakers should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Which lease.
    pub ticket: Ticket,
    /// What its end means.
    pub outcome: Outcome,
}

/// What the registry's actor has to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Tell the breakers.
    Observe(Observation),
    /// Tell the breakers that an endpoint starts anew.
    ResetBreaker(EndpointId, Epoch),
    /// Tell the breakers that a failure may have been its request's own.
    Retract(Ticket),
    /// Send the verifier all conversations that it is to hold: the failure queue, the opinions asked for and the early
    /// returns.
    PublishJobs,
    /// Tell the verifier that requests wait for these endpoints.
    Hasten(Vec<(EndpointId, Epoch)>),
    /// Answer a waiting request.
    Granted(WaiterId, Grant),
    /// Refuse a waiting request.
    Refused(WaiterId, NoEndpoint),
    /// Answer whoever awaits the verdict on this lease.
    Judged(Serial),
    /// Note an event, and log it.
    Note(Event, MoveNote),
    /// Log that a selection left isolated endpoints out.
    Filtered {
        /// The profile selected from.
        profile: ProfileId,
        /// How many.
        excluded: usize,
    },
    /// Log how a profile stands after a move.
    Summary {
        /// Which profile.
        profile: ProfileId,
        /// All its endpoints.
        endpoints: usize,
        /// Those in their home queues.
        usable: usize,
        /// Those in the failure queue.
        isolated: usize,
    },
    /// Log and announce that a profile has lost its last usable endpoint of a protocol, or has none from the start.
    NothingUsable {
        /// Which profile.
        profile: ProfileId,
        /// The protocol that is not served.
        protocol: Protocol,
        /// All its endpoints of this protocol.
        endpoints: usize,
        /// Those in the failure queue; the others are switched off.
        isolated: usize,
    },
    /// Log that this endpoint was isolated before it had ever passed a verification or served a request.
    NeverProven(EndpointId),
    /// What outlives a restart has changed.
    Keep(Keep),
    /// A request was written to an isolated endpoint, which breaks the promise: log it loudly.
    Leaked(Ticket),
}

/// How soon a change of what outlives a restart must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// Within a second or so: losing it would cost a verification or a cooldown.
    Soon,
    /// Before the change is announced: it is a move.
    Now,
}

/// What the log line of a move says beyond its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveNote {
    /// Nothing.
    None,
    /// How many failures in a row isolated the endpoint.
    Failures(u32),
}

/// Effects in the order in which they arose.
pub type Outputs = Vec<Effect>;
