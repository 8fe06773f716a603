//! `[endpoints.…]`: the upstream services.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use config::{Map, Value, ValueKind};

use super::credential::{API_KEY, Credential, Unset};
use super::fault::quoted;
use super::given::Given;
use super::reading::{Reading, Shown, Table, is_glob};
use crate::domain::base_url::BaseUrl;
use crate::domain::endpoint::{Auth, AuthStyle, Endpoint, Home, ModelFilter, ModelMap, Protocol, VerifyOverrides};
use crate::domain::ids::{EndpointId, InvalidId, ProfileId};

/// What `auth` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AuthWord {
    Own(AuthStyle),
    Passthrough,
}

const AUTH_WORDS: [(&str, AuthWord); 4] = [
    ("x-api-key", AuthWord::Own(AuthStyle::XApiKey)),
    ("bearer", AuthWord::Own(AuthStyle::Bearer)),
    ("both", AuthWord::Own(AuthStyle::Both)),
    ("passthrough", AuthWord::Passthrough),
];

/// The default of `weight`.
const WEIGHT: u16 = 100;

/// The endpoints that could be read.
pub(super) struct Endpoints {
    /// All but those whose id or URL is at fault.
    pub(super) sound: Vec<Endpoint>,
    /// The profiles of all endpoints, so that the clients of a faulty one are no faults, and the place where each is
    /// listed first.
    pub(super) profiles: BTreeMap<ProfileId, String>,
}

/// Reads all endpoints.
pub(super) fn read(reading: &mut Reading<'_>, tree: &mut Map<String, Value>) -> Endpoints {
    let before = reading.faults.len();
    let entries = reading.entries(tree, "endpoints");
    if entries.is_empty() && reading.faults.len() == before && !reading.layers.have_gaps {
        let wanted = "at least one table [endpoints.NAME] with base_url and api_key_env; `qcc-gateway demo` shows the gateway at work without any";
        let found = format!("no endpoint at all ({})", reading.layers.what_was_looked_at());
        reading.fault("endpoints", found, wanted);
    }
    let mut endpoints = Endpoints { sound: Vec::new(), profiles: BTreeMap::new() };
    for (id, value) in entries {
        endpoints.sound.extend(read_one(reading, &id, value, &mut endpoints.profiles));
    }
    endpoints
}

fn read_one(
    reading: &mut Reading<'_>,
    id: &str,
    value: Value,
    all_profiles: &mut BTreeMap<ProfileId, String>,
) -> Option<Endpoint> {
    let table = reading.entry(&["endpoints", id], value);
    let path = table.path().to_owned();
    let id = EndpointId::new(id);
    if let Err(InvalidId) = id {
        table.reading.fault(&path, "a name that is no id", InvalidId.to_string());
    }
    read_table(table, id.ok(), all_profiles)
}

fn read_table(
    mut table: Table<'_, '_>,
    id: Option<EndpointId>,
    all_profiles: &mut BTreeMap<ProfileId, String>,
) -> Option<Endpoint> {
    let enabled = table.flag("enabled");
    let enabled = table.or("enabled", enabled, true);
    let base_url = read_base_url(&mut table);
    let protocol = table.word("protocol", &[("anthropic", Protocol::Anthropic), ("openai", Protocol::OpenAi)]);
    let protocol = table.or("protocol", protocol, Protocol::Anthropic);
    let auth = read_auth(&mut table, protocol, enabled, base_url.as_ref());
    let home =
        table.word("queue", &[("primary", Home::Primary), ("secondary", Home::Secondary)]).unwrap_or(Home::Primary);
    let priority = table.integer("priority", 0..=9).unwrap_or(0);
    let profiles = read_profiles(&mut table);
    for profile in &profiles {
        all_profiles.entry(profile.clone()).or_insert_with(|| table.reading.place_of(&table.key("profiles")));
    }
    let weight = table.integer("weight", 0..=1000).unwrap_or(WEIGHT);
    let price_factor = table.number("price_factor", "a number of at least 0", |factor| factor >= 0.0);
    let price_factor = table.or("price_factor", price_factor, 1.0);
    let models = table.globs("models", "globs over models", |_| true, ModelFilter::new).unwrap_or_default();
    let model_map = read_model_map(&mut table);
    let max_in_flight = limit(&mut table, "max_in_flight");
    let verify = VerifyOverrides {
        model: table.optional_text("verify_model"),
        max_tokens: limit(&mut table, "verify_max_tokens"),
        system: table.optional_text("verify_system"),
        headers: table.headers("verify_headers"),
    };
    let headers = table.headers("headers");
    table.finish();
    Some(Endpoint {
        id: id?,
        base_url: base_url?,
        protocol,
        auth,
        home,
        priority,
        profiles,
        weight,
        price_factor,
        enabled,
        models,
        model_map,
        max_in_flight,
        verify,
        headers,
    })
}

fn read_base_url(table: &mut Table<'_, '_>) -> Option<BaseUrl> {
    let wanted = "an http or https URL such as \"https://api.anthropic.com\"";
    let Some(value) = table.take("base_url") else {
        table.fault_of_absence("base_url", "nothing", wanted);
        return None;
    };
    let given = Given::new(&value);
    let Some(text) = given.text() else {
        table.fault("base_url", given.kind(), wanted);
        return None;
    };
    match BaseUrl::parse(text) {
        Ok(url) => Some(url),
        Err(error) => {
            // Whatever follows an '@' or a '?' may be, or belong to, a credential.
            let found = if text.contains(['@', '?', '#']) { "a text, not shown".to_owned() } else { quoted(text) };
            table.fault("base_url", format!("{found} ({error})"), wanted);
            None
        }
    }
}

fn read_auth(table: &mut Table<'_, '_>, protocol: Protocol, enabled: bool, base_url: Option<&BaseUrl>) -> Auth {
    let before = table.reading.faults.len();
    let word = table.word("auth", &AUTH_WORDS);
    let is_readable = table.reading.faults.len() == before;
    let unset = if enabled { Unset::Fault } else { Unset::Ignored };
    let credential = table.credential(&API_KEY, unset);
    let word = word.unwrap_or(AuthWord::Own(protocol.default_auth()));
    let has_userinfo = base_url.is_some_and(|url| url.userinfo().is_some());
    match (word, credential) {
        (AuthWord::Passthrough, Credential::Absent) => {
            if has_userinfo {
                let wanted = "a URL without user and password: with auth = \"passthrough\" the client's own credential goes upstream";
                table.fault("base_url", "a URL with a user or password, not shown", wanted);
            }
            Auth::Passthrough
        }
        (AuthWord::Passthrough, Credential::Unusable | Credential::Text(_) | Credential::Digests(_)) => {
            let wanted = format!(
                "none of {}, or another auth: with \"passthrough\" the client's own goes upstream",
                API_KEY.names()
            );
            table.fault("auth", "\"passthrough\" together with a key", wanted);
            Auth::Passthrough
        }
        (AuthWord::Own(style), Credential::Text(key)) => {
            match style {
                AuthStyle::Bearer | AuthStyle::Both if has_userinfo => {
                    let wanted = "a URL without user and password, or auth = \"x-api-key\": both would be the header authorization";
                    table.fault("base_url", "a URL with a user or password, not shown", wanted);
                }
                AuthStyle::Bearer | AuthStyle::Both | AuthStyle::XApiKey => {}
            }
            Auth::Own { style, key }
        }
        (AuthWord::Own(_), Credential::Absent) => {
            if is_readable {
                let wanted = format!("one of {}, or auth = \"passthrough\"", API_KEY.names());
                table.fault_of_absence("api_key_env", "no key", wanted);
            }
            Auth::Missing
        }
        (AuthWord::Own(_), Credential::Unusable | Credential::Digests(_)) => Auth::Missing,
    }
}

fn read_profiles(table: &mut Table<'_, '_>) -> Vec<ProfileId> {
    let wanted = format!("at least one name of a profile; {InvalidId}");
    let Some(names) = table.texts("profiles", &wanted, |name| ProfileId::new(name).is_ok()) else {
        return vec![ProfileId::default()];
    };
    let mut profiles: Vec<ProfileId> = names.iter().filter_map(|name| ProfileId::new(name).ok()).collect();
    profiles.sort();
    profiles.dedup();
    if profiles.is_empty() {
        table.fault("profiles", "an empty list", wanted);
    }
    profiles
}

fn read_model_map(table: &mut Table<'_, '_>) -> ModelMap {
    let Some(value) = table.take("model_map") else { return ModelMap::default() };
    let wanted = "a table such as { \"claude-opus-*\" = \"claude-opus-4-5\" }";
    let ValueKind::Table(entries) = &value.kind else {
        table.fault("model_map", Given::new(&value).kind(), wanted);
        return ModelMap::default();
    };
    let mut rules: Vec<(&str, &str)> = Vec::new();
    let mut patterns: Vec<&String> = entries.keys().collect();
    patterns.sort();
    for pattern in patterns {
        let sent =
            entries.get(pattern).and_then(|sent| Given::Typed(&sent.kind).text()).filter(|sent| !sent.is_empty());
        match sent {
            Some(sent) if is_glob(pattern) => rules.push((pattern, sent)),
            Some(_) => table.fault("model_map", format!("{}, which is no glob", quoted(pattern)), wanted),
            None => table.fault("model_map", format!("no name of a model for {}", quoted(pattern)), wanted),
        }
    }
    ModelMap::new(rules).unwrap_or_default()
}

/// Reads a limit; 0 stands for none.
fn limit(table: &mut Table<'_, '_>, key: &'static str) -> Option<NonZeroU32> {
    let wanted = "an integer from 0 to 1000000, 0 for none";
    table
        .read(key, Shown::Always, wanted, |given| {
            let number = given.integer().filter(|number| (0..=1_000_000).contains(number))?;
            u32::try_from(number).ok()
        })
        .and_then(NonZeroU32::new)
}
