//! Endpoints and moments for the tests of the cores.

use std::time::Duration;

use super::challenge::{Challenge, Code, RecoveryProof, Reply, Verdict};
use super::classify::Words;
use super::endpoint::{Auth, AuthStyle, BaseUrl, Endpoint, Home, ModelFilter, ModelMap, Protocol, VerifyOverrides};
use super::ids::{EndpointId, Epoch, ProfileId};
use super::secret::Secret;
use super::time::Moment;

pub(crate) fn id(name: &str) -> EndpointId {
    EndpointId::new(name).unwrap()
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

/// A proof, come by honestly: a challenge that was answered with its code.
pub(crate) fn proof(endpoint: &EndpointId, epoch: Epoch) -> RecoveryProof {
    let code = Code::from_random(7);
    let text = code.to_string();
    let challenge = Challenge::new(endpoint.clone(), epoch, code);
    let body = serde_json::json!({ "type": "message", "content": [{ "type": "text", "text": text }] }).to_string();
    let elapsed = Duration::from_millis(100);
    let reply = Reply { protocol: Protocol::Anthropic, status: 200, body: body.as_bytes(), elapsed };
    match challenge.judge(&reply, Words::Left) {
        Verdict::Proven(proof) => proof,
        Verdict::Unproven(unproven) => panic!("the code was not accepted: {unproven:?}"),
    }
}
