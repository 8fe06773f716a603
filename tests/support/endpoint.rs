//! An endpoint like any other, for the tests that join the cores: each says how its own is different.

use qcc_gateway::domain::base_url::BaseUrl;
use qcc_gateway::domain::endpoint::{
    Auth, AuthStyle, Endpoint, Home, ModelFilter, ModelMap, Protocol, VerifyOverrides,
};
use qcc_gateway::domain::ids::{EndpointId, ProfileId};
use qcc_gateway::domain::secret::Secret;

pub(crate) fn plain_endpoint(id: EndpointId, base_url: &str) -> Endpoint {
    Endpoint {
        id,
        base_url: BaseUrl::parse(base_url).unwrap(),
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
