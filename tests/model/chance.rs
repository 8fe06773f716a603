//! What chance brings: definitions of endpoints, requests, ends of attempts.

use std::num::NonZeroU32;
use std::time::Duration;

use fastrand::Rng;
use qcc_gateway::domain::endpoint::{
    Auth, AuthStyle, BaseUrl, Endpoint, Home, ModelFilter, ModelMap, Protocol, VerifyOverrides,
};
use qcc_gateway::domain::ids::{EndpointId, ProfileId};
use qcc_gateway::domain::outcome::{FailureKind, Fatal, Outcome};
use qcc_gateway::domain::registry::{Ask, Service};
use qcc_gateway::domain::secret::Secret;
use qcc_gateway::domain::time::Moment;

/// The names of all endpoints that ever exist: few, so that they meet again.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub(crate) fn one_in(rng: &mut Rng, times: u32) -> bool {
    rng.u32(..times) == 0
}

pub(crate) fn pick<T: Clone>(rng: &mut Rng, of: &[T]) -> Option<T> {
    (!of.is_empty()).then(|| of[rng.usize(..of.len())].clone())
}

pub(crate) fn id(name: &str) -> EndpointId {
    EndpointId::new(name).unwrap()
}

pub(crate) fn any_id(rng: &mut Rng) -> EndpointId {
    id(NAMES[rng.usize(..NAMES.len())])
}

pub(crate) fn all_ids() -> impl Iterator<Item = EndpointId> {
    NAMES.into_iter().map(id)
}

fn other_profile() -> ProfileId {
    ProfileId::new("other").unwrap()
}

fn key(rng: &mut Rng) -> Auth {
    let key = if rng.bool() { "one" } else { "two" };
    Auth::Own { style: AuthStyle::XApiKey, key: Secret::new(key) }
}

fn some_models() -> ModelFilter {
    ModelFilter::new(&["claude-*".to_owned()]).unwrap()
}

/// An endpoint like any other.
pub(crate) fn plain_endpoint(id: EndpointId) -> Endpoint {
    Endpoint {
        id,
        base_url: BaseUrl::parse("http://127.0.0.1:1").unwrap(),
        protocol: Protocol::Anthropic,
        auth: Auth::Own { style: AuthStyle::XApiKey, key: Secret::new("one") },
        home: Home::Primary,
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

/// A new endpoint of this name.
pub(crate) fn endpoint(rng: &mut Rng, id: EndpointId) -> Endpoint {
    let mut endpoint = plain_endpoint(id);
    endpoint.home = if rng.bool() { Home::Primary } else { Home::Secondary };
    for _ in 0..rng.u32(..3) {
        redefine(rng, &mut endpoint);
    }
    endpoint
}

/// Changes one thing about an endpoint, or nothing.
pub(crate) fn redefine(rng: &mut Rng, endpoint: &mut Endpoint) {
    match rng.u32(..10) {
        0..2 => endpoint.auth = key(rng),
        2 => endpoint.home = if rng.bool() { Home::Primary } else { Home::Secondary },
        3 => endpoint.priority = rng.u8(..2),
        4 => endpoint.weight = [0, 1, 100, 300][rng.usize(..4)],
        5 => endpoint.max_in_flight = NonZeroU32::new(rng.u32(..3)),
        6 => endpoint.models = if rng.bool() { some_models() } else { ModelFilter::default() },
        7 => {
            endpoint.enabled = !endpoint.enabled;
            endpoint.auth = if endpoint.enabled || rng.bool() { key(rng) } else { Auth::Missing };
        }
        8 => endpoint.protocol = if one_in(rng, 3) { Protocol::OpenAi } else { Protocol::Anthropic },
        _ => {
            let both = vec![ProfileId::default(), other_profile()];
            endpoint.profiles = if rng.bool() { both } else { vec![ProfileId::default()] };
        }
    }
}

/// What some request asks for.
pub(crate) fn ask(rng: &mut Rng, now: Moment) -> Ask {
    let profile = match rng.u32(..8) {
        0 => other_profile(),
        1 if one_in(rng, 8) => ProfileId::new("unknown").unwrap(),
        _ => ProfileId::default(),
    };
    let service = match rng.u32(..8) {
        0 => Service::Llm(Protocol::OpenAi),
        1 => Service::Other,
        _ => Service::Llm(Protocol::Anthropic),
    };
    let model = [None, Some("claude-x"), Some("gpt-x")][rng.usize(..3)].map(Into::into);
    let given_up = if one_in(rng, 3) { all_ids().filter(|_| one_in(rng, 3)).collect() } else { Vec::new() };
    let deadline = now + Duration::from_secs(rng.u64(..120));
    Ask { profile, service, model, given_up, deadline }
}

/// How some attempt ends; `faults` of a hundred are the endpoint's.
pub(crate) fn outcome(rng: &mut Rng, faults: u32) -> Outcome {
    use FailureKind::{Body, Connect, Stream, Timeout, UpstreamStatus};
    if rng.u32(..100) < faults {
        return match rng.u32(..12) {
            0 => Outcome::Fatal(Fatal::Credential),
            1 => Outcome::Fatal(Fatal::Account),
            _ => Outcome::Failure([Connect, Timeout, UpstreamStatus, Body, Stream][rng.usize(..5)]),
        };
    }
    match rng.u32(..6) {
        0 => Outcome::Neutral,
        1 => Outcome::Cancelled,
        _ => Outcome::Success,
    }
}

/// How far the clock goes: seldom far.
pub(crate) fn pause(rng: &mut Rng) -> Duration {
    match rng.u32(..40) {
        0 => Duration::from_secs(86_400),
        1..6 => Duration::from_secs(rng.u64(..120)),
        _ => Duration::from_millis(rng.u64(..3_000)),
    }
}

/// What of a definition chance may change.
pub(crate) fn describe(endpoint: &Endpoint) -> String {
    let Endpoint { id, home, priority, weight, enabled, max_in_flight, protocol, profiles, .. } = endpoint;
    let key = match &endpoint.auth {
        Auth::Own { key, .. } => key.expose(),
        Auth::Passthrough => "passthrough",
        Auth::Missing => "missing",
    };
    let models = endpoint.models.patterns();
    format!(
        "{id} {home:?} {priority} {protocol:?} {profiles:?} {models:?} weight={weight} key={key} enabled={enabled} most={max_in_flight:?}"
    )
}
