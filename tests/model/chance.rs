//! What chance brings: definitions of endpoints, and requests.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use qcc_gateway::domain::base_url::BaseUrl;
use qcc_gateway::domain::endpoint::{Auth, AuthStyle, Endpoint, Home, ModelFilter, Protocol};
use qcc_gateway::domain::ids::{ClientId, EndpointId, Epoch, ProfileId};
use qcc_gateway::domain::opinions::Fingerprint;
use qcc_gateway::domain::registry::{Ask, Reach, Service, Tried, Turn};
use qcc_gateway::domain::secret::Secret;
use qcc_gateway::domain::sessions::{Origin, SessionKey};
use qcc_gateway::domain::time::Moment;

use crate::endpoint;

/// Sessions as the same key would hash them.
fn session(client: Option<&ClientId>, protocol: Protocol, name: &str) -> SessionKey {
    SessionKey::new(&BuildHasherDefault::<DefaultHasher>::default(), client, protocol, name)
}

/// The names of all endpoints that ever exist: few, so that they meet again.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const HOSTS: [&str; 2] = ["http://127.0.0.1:1", "http://127.0.0.2:1"];

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
    endpoint::plain_endpoint(id, HOSTS[0])
}

/// A new endpoint of this name.
pub(crate) fn endpoint(rng: &mut Rng, id: EndpointId) -> Endpoint {
    let mut endpoint = plain_endpoint(id);
    endpoint.home = if rng.bool() { Home::Primary } else { Home::Secondary };
    endpoint.base_url = BaseUrl::parse(HOSTS[rng.usize(..HOSTS.len())]).unwrap();
    for _ in 0..rng.u32(..3) {
        redefine(rng, &mut endpoint);
    }
    endpoint
}

/// Changes one thing about an endpoint, or nothing.
pub(crate) fn redefine(rng: &mut Rng, endpoint: &mut Endpoint) {
    match rng.u32(..11) {
        0..2 => endpoint.auth = key(rng),
        2 => endpoint.home = if rng.bool() { Home::Primary } else { Home::Secondary },
        3 => endpoint.priority = rng.u8(..2),
        4 => endpoint.weight = [0, 1, 100, 300][rng.usize(..4)],
        5 => endpoint.max_in_flight = NonZeroU32::new(rng.u32(..4)),
        6 => endpoint.models = if rng.bool() { some_models() } else { ModelFilter::default() },
        7 => {
            endpoint.enabled = !endpoint.enabled;
            endpoint.auth = if endpoint.enabled || rng.bool() { key(rng) } else { Auth::Missing };
        }
        9 => endpoint.base_url = BaseUrl::parse(HOSTS[rng.usize(..HOSTS.len())]).unwrap(),
        8 => endpoint.protocol = if one_in(rng, 6) { Protocol::OpenAi } else { Protocol::Anthropic },
        _ => {
            let both = vec![ProfileId::default(), other_profile()];
            endpoint.profiles = if rng.bool() { both } else { vec![ProfileId::default()] };
        }
    }
}

/// What some request asks for, with what it has tried before. `known` are the present epochs.
pub(crate) fn ask(rng: &mut Rng, now: Moment, known: &[(EndpointId, Epoch)]) -> Ask {
    let profile = match rng.u32(..12) {
        0 => other_profile(),
        1 if one_in(rng, 8) => ProfileId::new("unknown").unwrap(),
        _ => ProfileId::default(),
    };
    let service = match rng.u32(..16) {
        0 => Service::Llm(Protocol::OpenAi),
        1..3 => Service::Other,
        _ => Service::Llm(Protocol::Anthropic),
    };
    let client = if rng.bool() { Some("alice") } else { [None, Some("bob"), Some("carol")][rng.usize(..3)] };
    let client = client.map(|name| ClientId::new(name).unwrap());
    let origin = match service {
        Service::Llm(protocol) if rng.bool() => {
            Origin::Session(session(client.as_ref(), protocol, ["x", "y"][rng.usize(..2)]))
        }
        Service::Llm(_) | Service::Other => Origin::Request(rng.u64(..4)),
    };
    let tried = if one_in(rng, 3) { tried(rng, now, known) } else { Vec::new() };
    let turn = match (tried.is_empty(), rng.u32(..5)) {
        (true, 2..) => Turn::First,
        (_, 0) => Turn::Paced,
        (_, 1) => Turn::Onward,
        (_, _) => Turn::Retry,
    };
    let reach = match rng.u32(..5) {
        0 => Reach::Fresh,
        1 => Reach::Again,
        2 => Reach::Parked { until: now + Duration::from_millis(rng.u64(..1_000)) },
        _ => Reach::Parked { until: now + Duration::from_millis(rng.u64(..15_000)) },
    };
    Ask {
        profile,
        service,
        model: model(rng),
        client,
        origin,
        fingerprint: fingerprint(rng),
        tried,
        turn,
        reach,
        is_last: one_in(rng, 6),
        deadline: now + Duration::from_secs(rng.u64(..120)),
    }
}

/// The first attempt of this request, for a client's only session, with time to wait.
pub(crate) fn sessions_first(ask: &Ask, client: &str, now: Moment) -> Ask {
    let client = ClientId::new(client).unwrap();
    Ask {
        profile: ProfileId::default(),
        service: Service::Llm(Protocol::Anthropic),
        origin: Origin::Session(session(Some(&client), Protocol::Anthropic, "x")),
        client: Some(client),
        turn: Turn::First,
        reach: Reach::Parked { until: now + Duration::from_secs(10) },
        deadline: now + Duration::from_secs(60),
        ..ask.clone()
    }
}

pub(crate) fn model(rng: &mut Rng) -> Option<Arc<str>> {
    [None, None, Some("claude-x"), Some("claude-x"), Some("gpt-x")][rng.usize(..5)].map(Into::into)
}

fn fingerprint(rng: &mut Rng) -> Option<Fingerprint> {
    (!one_in(rng, 3)).then(|| Fingerprint(rng.u64(..2)))
}

fn tried(rng: &mut Rng, now: Moment, known: &[(EndpointId, Epoch)]) -> Vec<Tried> {
    let mut tried = Vec::new();
    for (endpoint, epoch) in known {
        if one_in(rng, 2) {
            tried.push(Tried {
                endpoint: endpoint.clone(),
                epoch: if one_in(rng, 4) { Epoch::from_raw(epoch.get().saturating_sub(1)) } else { *epoch },
                at: now.before(Duration::from_millis(rng.u64(..20_000))),
                spent: rng.bool(),
                host_in_doubt: rng.bool(),
            });
        }
    }
    tried
}

/// How far the clock goes: seldom far.
pub(crate) fn pause(rng: &mut Rng) -> Duration {
    match rng.u32(..40) {
        0 => Duration::from_secs(86_400),
        1..4 => Duration::from_secs(rng.u64(..120)),
        4..6 => Duration::from_secs(rng.u64(60..300)),
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
        "{id} {home:?} {priority} {protocol:?} {profiles:?} {models:?} weight={weight} host={} key={key} enabled={enabled} most={max_in_flight:?}",
        endpoint.base_url.origin().host
    )
}
