//! Endpoints and moments for the tests of the cores.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::num::NonZeroUsize;
use std::time::Duration;

use super::base_url::BaseUrl;
use super::budget::BudgetPolicy;
use super::challenge::{Challenge, Code, RecoveryProof, Reply, ReplyBody, Verdict};
use super::classify::Words;
use super::cooling::CoolingPolicy;
use super::endpoint::{Auth, AuthStyle, Endpoint, Home, ModelFilter, ModelMap, Protocol, VerifyOverrides};
use super::finding::Asked;
use super::ids::{ClientId, EndpointId, Epoch, ProfileId};
use super::registry::{Ask, Reach, RegistryPolicy, Service, Tried, Turn};
use super::schedule::{Recovery, Task, VerifyJob};
use super::secret::Secret;
use super::sessions::{AffinityPolicy, Origin, SessionKey};
use super::time::Moment;

pub(crate) fn id(name: &str) -> EndpointId {
    EndpointId::new(name).unwrap()
}

/// A session's key, hashed with the same fixed key each time.
pub(crate) fn session(client: Option<&ClientId>, protocol: Protocol, name: &str) -> SessionKey {
    SessionKey::new(&BuildHasherDefault::<DefaultHasher>::default(), client, protocol, name)
}

pub(crate) fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

pub(crate) fn endpoint(name: &str, home: Home) -> Endpoint {
    Endpoint {
        id: id(name),
        base_url: BaseUrl::parse("http://127.0.0.1:1").unwrap(),
        protocol: Protocol::Anthropic,
        auth: Auth::Own { style: AuthStyle::XApiKey, key: Secret::new("key") },
        home,
        priority: 0,
        profiles: vec![ProfileId::default()],
        weight: 100,
        price_factor: 1.0,
        enabled: true,
        models: ModelFilter::default(),
        model_map: ModelMap::default(),
        max_in_flight: None,
        verify: VerifyOverrides::default(),
        headers: Vec::new(),
    }
}

/// The policy of the default settings.
pub(crate) fn registry_policy() -> RegistryPolicy {
    RegistryPolicy {
        slow_start: Duration::from_secs(30),
        initial_delay: Duration::from_secs(5),
        cooling: CoolingPolicy {
            default_cooldown: Duration::from_secs(5),
            exhausted_after: Duration::from_mins(5),
            overload_cooldown: Duration::from_secs(2),
            overload_max: Duration::from_secs(30),
            isolate_after: Duration::from_mins(2),
        },
        affinity: AffinityPolicy {
            enabled: true,
            ttl: Duration::from_hours(1),
            secondary_ttl: Duration::from_mins(10),
            patience: Duration::from_secs(5),
            max_sessions: NonZeroUsize::MAX,
        },
        budget: BudgetPolicy { ratio: 0.2, min_per_second: 10 },
        park_max: 256,
        journal: 0,
    }
}

/// A request that has just come and does not want to wait.
pub(crate) fn ask() -> Ask {
    Ask {
        profile: ProfileId::default(),
        service: Service::Llm(Protocol::Anthropic),
        model: None,
        client: None,
        origin: Origin::Request(1),
        fingerprint: None,
        tried: Vec::new(),
        turn: Turn::First,
        reach: Reach::Fresh,
        is_last: false,
        deadline: at(1_000_000_000),
    }
}

/// A request sent to this endpoint at the clock's beginning, once of the two times that are allowed.
pub(crate) fn tried(name: &str, epoch: Epoch) -> Tried {
    Tried { endpoint: id(name), epoch, at: at(0), spent: false, host_in_doubt: false }
}

/// The task of a job that is the verification of an isolated endpoint.
pub(crate) fn recovery(job: &VerifyJob) -> Recovery {
    match job.task {
        Task::Recovery(recovery) => recovery,
        Task::Opinion { .. } | Task::EarlyReturn { .. } => panic!("that endpoint is in its home queue: {job:?}"),
    }
}

/// A proof, honestly earned: by a challenge that was answered with its code.
pub(crate) fn proof(endpoint: &EndpointId, epoch: Epoch) -> RecoveryProof {
    let code = Code::from_random(7);
    let text = code.to_string();
    let challenge = Challenge::new(endpoint.clone(), epoch, code);
    let body = serde_json::json!({ "type": "message", "content": [{ "type": "text", "text": text }] }).to_string();
    let elapsed = Duration::from_millis(100);
    let reply = Reply {
        protocol: Protocol::Anthropic,
        status: 200,
        body: ReplyBody::Whole(body.as_bytes()),
        asked: Asked::ANYTHING,
        elapsed,
    };
    match challenge.judge(&reply, Words::Left) {
        Verdict::Proven(proof) => proof,
        Verdict::Unproven(unproven) => panic!("the code was not accepted: {unproven:?}"),
    }
}
