//! What the actors say to each other. Who may say what to whom, and in which order, is in `PROTOCOL.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use tokio::sync::{broadcast, oneshot};

use super::Policies;
use super::lease::Lease;
use super::verifier::VerifierView;
use crate::domain::breaker::{BreakerPolicy, FailureCount, Ruling};
use crate::domain::challenge::RecoveryProof;
use crate::domain::client::{Client, KeyDigest};
use crate::domain::events::Event;
use crate::domain::ids::{ClientId, EndpointId, Epoch, ProfileId, Serial, Ticket};
use crate::domain::journal::Journal;
use crate::domain::logins::LoginRefused;
use crate::domain::memory::Image;
use crate::domain::notice::Notice;
use crate::domain::opinions::FailedAttempt;
use crate::domain::outcome::ErrorNote;
use crate::domain::prices::{Catalog, Price};
use crate::domain::queues::SwitchError;
use crate::domain::registry::{Ask, NoEndpoint, Observation, RegistryView, Settlement};
use crate::domain::schedule::{AtHome, Finished, SchedulePolicy, Subject, VerifyJob};
use crate::domain::stats::{
    AllowancesRecord, AttemptRecord, ReloadRecord, RequestRecord, StateFileHealth, Stats, VerificationRecord,
};
use crate::domain::time::Moment;
use crate::domain::topology::{Topology, TopologyDiff};
use crate::domain::tracing::Span;
use crate::domain::verification::Verification;
use crate::domain::webhook::Webhook;
use crate::upstream::ProbeSettings;

/// The answer to an [`Acquire`].
pub type Acquired = Result<Lease, NoEndpoint>;

/// Worker to registry: may I use an endpoint, and which?
///
/// It brings the channel for its answer, so that the registry can see when a worker that waits has left.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Acquire {
    /// What is asked.
    pub ask: Ask,
    /// The request's failures so far. If it has to wait, it may wait for endpoints that these have isolated.
    pub failures: Vec<FailedAttempt>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Acquired>,
}

impl Acquire {
    /// The message, and the receiver of its answer.
    pub fn new(ask: Ask, failures: Vec<FailedAttempt>) -> (Self, oneshot::Receiver<Acquired>) {
        let (reply, answer) = oneshot::channel();
        (Self { ask, failures, reply }, answer)
    }
}

/// Worker to registry: a request has failed for good, perhaps through its own fault. Sent after the verdicts on its
/// failures are in.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Doubt {
    /// What it asked for.
    pub ask: Ask,
    /// Its failures.
    pub failures: Vec<FailedAttempt>,
}

/// Lease to registry: the attempt is over. Sent exactly once per lease.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Settle(pub Settlement);

/// Registry to breakers: an outcome to take in.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Observe {
    /// What happened.
    pub observation: Observation,
    /// When the registry heard of it.
    pub at: Moment,
}

/// Registry to breakers: the endpoint starts anew.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ResetBreaker {
    /// The endpoint whose breaker is reset.
    pub endpoint: EndpointId,
    /// Its new epoch.
    pub epoch: Epoch,
}

/// Breakers to registry: the answer to each failing [`Observe`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Verdict {
    /// The lease that failed.
    pub ticket: Ticket,
    /// Whether that isolates the endpoint.
    pub ruling: Ruling,
}

/// Worker to registry: answer when the verdict on this lease's failure is in. Sent after the [`Settle`] and before the
/// request is answered, so that whoever sees the answer can rely on the isolation.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Judged(pub Serial);

/// Registry to verifier: all endpoints to converse with, which are the whole failure queue and those in their home queues
/// that need a conversation. Level-triggered: the next message makes up for a lost one.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct FailureList(pub Arc<[VerifyJob]>);

/// Registry to verifier: hold a conversation with this endpoint at once and tell the verdict.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Converse {
    /// Which endpoint, and how to converse with it.
    pub subject: Subject,
    /// The admin's address.
    pub by: IpAddr,
    /// Where the verdict goes. By then a recovery is in the registry's mailbox.
    pub reply: oneshot::Sender<Verification>,
}

/// Verifier to registry: the code came back from an isolated endpoint.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Recovered {
    /// The evidence.
    pub proof: RecoveryProof,
    /// How many verifications it took.
    pub verifications: u32,
    /// The step at which its delays resume if it relapses.
    pub step: u32,
}

/// Verifier to registry: what a conversation has concluded. This restores no endpoint: only [`Recovered`] does.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Concluded {
    /// Which endpoint.
    pub endpoint: EndpointId,
    /// Its epoch when the conversation began.
    pub epoch: Epoch,
    /// What was concluded.
    pub conclusion: Conclusion,
}

/// What a conversation can conclude, short of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// An isolated endpoint has failed a verification: how often, and when the next one is due.
    StillFailing(Finished),
    /// An endpoint in its home queue has passed.
    Fit {
        /// What the conversation was for.
        purpose: AtHome,
        /// The model in question, if any.
        model: Option<Arc<str>>,
    },
    /// An endpoint in its home queue was asked about a used-up window, and has not passed.
    StillExhausted {
        /// The model whose window it is; `None` if it is that of requests without a model.
        model: Option<Arc<str>>,
    },
    /// An endpoint in its home queue has failed its second opinion twice; this is the latest error.
    Unfit(ErrorNote),
    /// The second opinion on an endpoint in its home queue decided nothing.
    Undecided,
    /// An endpoint has passed a conversation that an admin asked for and that serves nothing else.
    Proved,
}

/// Registry to verifier: requests wait for these isolated endpoints; verify them as soon as the schedule allows.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Hasten(pub Arc<[(EndpointId, Epoch)]>);

/// Registry to breakers: this failure was perhaps the request's own; count it no more.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Retract(pub Ticket);

/// Start or reload to registry: these are the endpoints and the policies from now on.
#[derive(Debug, Message)]
#[rtype(result = "TopologyDiff")]
pub struct Apply {
    /// The endpoints.
    pub topology: Arc<Topology>,
    /// Which profile serves which client.
    pub profiles: BTreeMap<ClientId, ProfileId>,
    /// The policies of all actors.
    pub policies: Policies,
}

/// Registry to breakers: judge by this from now on. It queues behind the reports that came before it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SetBreakerPolicy(pub BreakerPolicy);

/// Registry to verifier: plan and converse by this from now on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetVerifierPolicy {
    /// When to verify.
    pub schedule: SchedulePolicy,
    /// How to converse.
    pub probe: ProbeSettings,
}

/// Reload to stats: keep this many events from now on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct KeepEvents(pub usize);

/// Admin to registry: switch an endpoint on or off.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), SwitchError>")]
pub struct SetEnabled {
    /// Which endpoint.
    pub id: EndpointId,
    /// On or off.
    pub enabled: bool,
    /// The admin's address.
    pub by: IpAddr,
}

/// Admin to registry: move an endpoint to the failure queue.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), SwitchError>")]
pub struct Isolate {
    /// Which endpoint.
    pub id: EndpointId,
    /// The admin's address.
    pub by: IpAddr,
}

/// Admin to registry: verify an endpoint at once, wherever it is.
#[derive(Debug, Message)]
#[rtype(result = "Result<Verification, SwitchError>")]
pub struct VerifyNow {
    /// Which endpoint.
    pub id: EndpointId,
    /// The admin's address.
    pub by: IpAddr,
}

/// Admin to registry: answered once the latest move is on the disk, if anything is kept there.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct AwaitKept;

/// Anyone to stats: something to count or to remember. Never part of control.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Note {
    /// A client's request is over, and so is its last attempt if one ended with it.
    Request(RequestRecord, Option<AttemptRecord>),
    /// An attempt is over; its request goes on, or is reported separately.
    Attempt(AttemptRecord),
    /// An answer has told what is left of an endpoint's rate limits.
    Allowances(AllowancesRecord),
    /// A queue move or a verification.
    Event(Event),
    /// A conversation of the verifier is over, or was broken off.
    Verification(VerificationRecord),
    /// The settings were read again.
    Reload(ReloadRecord),
    /// The state file's present health. Sent repeatedly, so that the latest report is soon the true one.
    StateFile(StateFileHealth),
    /// How many notices were lost since the start.
    NoticesLost(u64),
    /// How many spans were lost since the start.
    SpansLost(u64),
}

/// Start or reload to stats: the prices, models and callers to count by from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SetCatalog {
    /// The prices, and the models that endpoints list.
    pub catalog: Catalog,
    /// The endpoints that there are.
    pub endpoints: BTreeSet<EndpointId>,
    /// Who may come, so that each is counted from 0.
    pub callers: Vec<(ProfileId, Option<ClientId>)>,
    /// The team of each client.
    pub teams: BTreeMap<ClientId, Option<String>>,
}

impl SetCatalog {
    /// What these prices, endpoints and clients make of it. Without clients everybody is served.
    pub fn new(prices: Vec<Price>, topology: &Topology, clients: &[Client]) -> Self {
        let everybody = clients.is_empty().then(|| (ProfileId::default(), None));
        let known = clients.iter().map(|client| (client.profile.clone(), Some(client.id.clone())));
        let endpoints = topology.iter().map(|endpoint| endpoint.id.clone()).collect();
        let teams = clients.iter().map(|client| (client.id.clone(), client.team.clone())).collect();
        let catalog = Catalog::new(prices, topology);
        Self { catalog, endpoints, callers: known.chain(everybody).collect(), teams }
    }
}

/// Registry to breakers and verifier: an endpoint has left the settings, and these are still known. What is kept under
/// any other name can go.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ForgetOthers(pub Arc<BTreeSet<EndpointId>>);

/// Registry to keeper: this is what outlives a restart.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct KeepImage {
    /// Later images have greater numbers.
    pub number: u64,
    /// The whole image.
    pub image: Box<Image>,
}

/// Keeper to registry: the image of this number, and all before it, need not be waited for any longer.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct IsKept(pub u64);

/// Routes and tests to registry: a copy of the state.
#[derive(Debug, Message)]
#[rtype(result = "RegistryView")]
pub struct ViewRegistry;

/// Route to registry: how many endpoints are in their home queues.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "usize")]
pub struct CountUsable;

/// Tests to registry: what was done, in order.
#[derive(Debug, Message)]
#[rtype(result = "Journal")]
pub struct ViewJournal;

/// Routes and tests to breakers: what they have counted.
#[derive(Debug, Message)]
#[rtype(result = "BTreeMap<EndpointId, FailureCount>")]
pub struct ViewBreakers;

/// Routes and tests to verifier: a copy of the state.
#[derive(Debug, Message)]
#[rtype(result = "VerifierView")]
pub struct ViewVerifier;

/// Routes and tests to stats: a copy of the counts.
#[derive(Debug, Message)]
#[rtype(result = "Stats")]
pub struct ViewStats;

/// Routes to stats: the events with a number above this one.
#[derive(Debug, Message)]
#[rtype(result = "Vec<(u64, Event)>")]
pub struct EventsAfter(pub u64);

/// Route to stats: the events that were missed since this number, and all that come from now on.
#[derive(Debug, Message)]
#[rtype(result = "Result<Subscription, NoSubscription>")]
pub struct Subscribe(pub u64);

/// The answer to a [`Subscribe`]: nothing is lost between its parts.
#[derive(Debug)]
pub struct Subscription {
    /// The events missed, newest last.
    pub missed: Vec<(u64, Event)>,
    /// The events to come. The channel ends if its reader lags too far behind, and when the gateway stops.
    pub coming: broadcast::Receiver<Arc<(u64, Event)>>,
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSubscription {
    /// The limit on subscriptions is reached.
    #[error("{0} streams of events are open, and there may be no more; close some, or ask for the events as JSON")]
    TooMany(usize),
    /// The gateway is stopping, and accepts no more.
    #[error("the gateway is stopping")]
    Stopping,
}

/// Route to desk: somebody shows a token, to open a session of this value.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), LoginRefused>")]
pub struct LogIn {
    /// Where it came from.
    pub peer: IpAddr,
    /// The digest of the token that was shown.
    pub shown: KeyDigest,
    /// The digests of the tokens that are configured.
    pub accepted: Vec<KeyDigest>,
    /// The digest of the session's value.
    pub value: KeyDigest,
}

/// Routes to desk: the digest of the token that the session of this value was opened with.
#[derive(Debug, Message)]
#[rtype(result = "Option<KeyDigest>")]
pub struct TokenOfSession(pub KeyDigest);

/// Route to desk: the session of this value is to end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LogOut(pub KeyDigest);

/// Registry, verifier or reload to notifier: tell the webhook's receiver, if it wants this notice.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Notify(pub Notice);

/// Reload to notifier: the receiver of all notices from now on, including those that wait; `None` for no receiver.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SetWebhook(pub Option<Webhook>);

/// App to notifier: the process stops; deliver what waits, within this time. Answered when it is done.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct FinishWithin(pub Duration);

/// A timer, or a test, to registry or verifier: look at the clock. Every timer is only a source of ticks.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Tick;

/// App to each control actor: the process is stopping. Answered when the actor may go.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// App to registry: the gateway no longer listens. Parked requests are refused, and none is parked from now on.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopParking;

/// App to stats: the gateway no longer listens. Every subscription ends, and there are no new ones.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct EndSubscriptions;

/// Worker to tracer: a request or an attempt is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Spanned(pub Span);

/// The tracer's thread or tests to tracer: send what waits. Answered when nothing is left, or the collector takes no
/// more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;
