//! Keys that are set but do not do what they seem to.

use std::time::Duration;

use super::credential::Displaced;
use super::environment;
use super::fault::key_part;
use super::layers::Place;
use super::reading::Reading;
use super::sections::{Host, RustLog};
use super::{Loaded, Settings, Source};
use crate::domain::base_url::{Origin, Scheme};
use crate::domain::calendar::to_the_second;
use crate::domain::client::Client;
use crate::domain::conversation::Dialect;
use crate::domain::endpoint::{Auth, Endpoint};
use crate::domain::hiding::holds_a_credential;
use crate::domain::ids::ProfileId;
use crate::domain::route::LlmPath;

/// The key that has no effect without a receiver.
const SECRET: &str = "webhook.secret_env";

/// Hosts of well-known providers, all of which are reached only over the internet.
const PROVIDERS: [&str; 22] = [
    "ai-gateway.vercel.sh",
    "api.anthropic.com",
    "api.cohere.com",
    "api.deepseek.com",
    "api.fireworks.ai",
    "api.groq.com",
    "api.minimax.io",
    "api.mistral.ai",
    "api.moonshot.ai",
    "api.moonshot.cn",
    "api.openai.com",
    "api.perplexity.ai",
    "api.siliconflow.cn",
    "api.together.xyz",
    "api.x.ai",
    "api.z.ai",
    "dashscope.aliyuncs.com",
    "dashscope-intl.aliyuncs.com",
    "generativelanguage.googleapis.com",
    "models.github.ai",
    "open.bigmodel.cn",
    "openrouter.ai",
];

/// The endings of host names of providers that give each customer one.
const PROVIDERS_OF_MANY_NAMES: [&str; 3] =
    [".openai.azure.com", ".services.ai.azure.com", "-aiplatform.googleapis.com"];

/// Parts of the names of models that answer no conversation.
const SILENT: [&str; 2] = ["embed", "rerank"];

/// A key that is set but does not do what it seems to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The key, such as `webhook.secret_env`.
    pub key: String,
    /// What to know about it, in a sentence.
    pub text: String,
}

impl Note {
    fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: key.into(), text: text.into() }
    }
}

impl Loaded {
    /// The notes, including those that hold at `now`, the time since 1970.
    #[must_use]
    pub fn notes_at(&self, now: Duration) -> Vec<Note> {
        let has_expired = |client: &&Client| client.enabled && client.is_expired(now);
        let expired = self.clients.iter().filter(has_expired).filter_map(|client| {
            let expires = to_the_second(client.expires?);
            let text = format!("was {expires}, which has passed: its keys are refused");
            Some(Note::new(format!("clients.{}.expires", client.id), text))
        });
        self.notes.iter().cloned().chain(expired).collect()
    }
}

/// Finds such keys in what was read.
pub(super) fn judge(
    reading: &Reading<'_>,
    settings: &Settings,
    endpoints: &[Endpoint],
    clients: &[Client],
    source: &Source,
) -> Vec<Note> {
    let mut notes = of_tokens_and_secrets(reading, settings, clients);
    notes.extend(of_delays(settings));
    notes.extend(endpoints.iter().filter(|endpoint| endpoint.enabled).flat_map(|endpoint| {
        let of_one = [
            unreachable(endpoint, clients),
            of_passthrough(endpoint),
            of_models(endpoint, settings),
            of_path(endpoint),
            in_clear(endpoint),
        ];
        of_one.into_iter().flatten()
    }));
    notes.extend(of_environment(reading, source));
    notes.extend(of_variables(reading));
    notes.extend(source.rust_log().doubt().map(|doubt| Note::new(format!("variable {}", RustLog::NAME), doubt)));
    notes
}

fn of_tokens_and_secrets(reading: &Reading<'_>, settings: &Settings, clients: &[Client]) -> Vec<Note> {
    let is_recorded = |key: &str| reading.recorded.contains_key(key);
    let signs_nothing = is_recorded(SECRET) && !is_recorded("webhook.url") && !is_recorded("webhook.url_env");
    let admin = &settings.admin;
    let protects_nothing = admin.read_token.is_some() && admin.token.is_none() && settings.listens_here_alone();
    let displaced = reading.displaced.iter().map(|Displaced { key, by, variable }| {
        Note::new(
            key,
            format!(
                "has no effect: {by} of a later layer takes its place, and names {variable}, which is unset or empty"
            ),
        )
    });
    let is_admin = |client: &&Client| admin.token.as_ref().is_some_and(|token| token.is_among(&client.keys));
    let admins = clients.iter().filter(is_admin).map(|client| {
        Note::new(
            format!("clients.{}", client.id),
            "has the admin token for a key: whoever has it may read and change all",
        )
    });
    let of_one_key = [
        signs_nothing.then(|| {
            Note::new(
                SECRET,
                "is set, but nothing is posted: neither webhook.url nor the variable of webhook.url_env is",
            )
        }),
        protects_nothing.then(|| {
            Note::new(
                "admin.read_token",
                "is set without an admin token: on loopback everybody at this machine may read and change all",
            )
        }),
    ];
    of_one_key.into_iter().flatten().chain(displaced).chain(admins).collect()
}

fn of_delays(settings: &Settings) -> Option<Note> {
    let verifier = &settings.verifier;
    (verifier.initial_delay > verifier.interval).then(|| {
        Note::new(
            "verifier.initial_delay",
            "is longer than verifier.interval, which has no effect then: no delay grows beyond the first",
        )
    })
}

/// An endpoint that no request can reach. If there are clients, each has its profile; else everybody has the default one.
fn unreachable(endpoint: &Endpoint, clients: &[Client]) -> Option<Note> {
    let key = format!("endpoints.{}.profiles", endpoint.id);
    match clients {
        [] if endpoint.in_profile(&ProfileId::default()) => None,
        [] => Some(Note::new(
            key,
            format!(
                "does not name {:?}, and there are no clients, who alone are of another profile: no request can come here",
                ProfileId::default()
            ),
        )),
        clients if clients.iter().any(|client| endpoint.in_profile(&client.profile)) => None,
        _ => Some(Note::new(
            key,
            "names no profile of a client, and whoever is no client is refused: no request can come here",
        )),
    }
}

/// A passthrough endpoint that can't be verified, as a verification has no client's credential. A server on this machine
/// may want none.
fn of_passthrough(endpoint: &Endpoint) -> Option<Note> {
    let has_key = || endpoint.headers.iter().any(|(name, _)| holds_a_credential(name));
    let is_here = || Host::parse(&endpoint.base_url.origin().host).is_some_and(|host| host.is_loopback());
    let lacks_key = endpoint.auth == Auth::Passthrough && endpoint.verify.headers.is_empty() && !has_key();
    (lacks_key && !is_here()).then(|| {
        Note::new(
            format!("endpoints.{}.verify_headers", endpoint.id),
            "is empty, and with auth = \"passthrough\" a test conversation has no key but one from there: an endpoint that \
             wants one can't come back once it is isolated",
        )
    })
}

/// An endpoint with only models that can't be verified. A verification is a conversation, and the protocol's default
/// model is hardly served there.
fn of_models(endpoint: &Endpoint, settings: &Settings) -> Option<Note> {
    let patterns = endpoint.models.patterns();
    let is_silent = |pattern: &String| {
        let pattern = pattern.to_ascii_lowercase();
        SILENT.iter().any(|word| pattern.contains(word))
    };
    let names_none_that_talks = !patterns.is_empty() && patterns.iter().all(is_silent);
    let is_named = endpoint.verify.model.is_some() || settings.verifier.model.is_some();
    (names_none_that_talks && !is_named).then(|| {
        Note::new(
            format!("endpoints.{}.models", endpoint.id),
            "names none that could answer a test conversation: unless the protocol's default model of [verifier] is served as \
             well, the endpoint can't come back once it is isolated; name in verify_model one that answers there",
        )
    })
}

/// A base URL that ends in an API path, although the path of each request is appended.
fn of_path(endpoint: &Endpoint) -> Option<Note> {
    let ending = LlmPath::ALL.into_iter().map(end_of).find(|ending| endpoint.base_url.path().ends_with(ending))?;
    let asked = Dialect::first(endpoint.protocol).path();
    let text = format!(
        "ends in {ending}, but each request brings its path: {} is sent to {}",
        asked.as_str(),
        endpoint.base_url.target(asked.as_str())
    );
    Some(Note::new(format!("endpoints.{}.base_url", endpoint.id), text))
}

/// The ending of a base URL that gives this path. Chats may follow any version, which replaces their own if the base has
/// one.
fn end_of(path: LlmPath) -> &'static str {
    match path {
        LlmPath::ChatCompletions => "/chat/completions",
        path => path.as_str(),
    }
}

fn in_clear(endpoint: &Endpoint) -> Option<Note> {
    let Origin { scheme, host, .. } = endpoint.base_url.origin();
    let is_provider =
        PROVIDERS.contains(&host.as_str()) || PROVIDERS_OF_MANY_NAMES.iter().any(|ending| host.ends_with(ending));
    (*scheme == Scheme::Http && is_provider).then(|| {
        Note::new(
            format!("endpoints.{}.base_url", endpoint.id),
            format!(
                "is http:// for {host}: keys, prompts and answers go over the internet in clear; https:// is meant"
            ),
        )
    })
}

fn of_environment(reading: &Reading<'_>, source: &Source) -> Option<Note> {
    // The container image sets the variable, so it does not show what somebody meant.
    let by_variable = source.variables.get("QCC_ENV");
    let is_named = source.environment.as_ref().is_some_and(|name| !name.is_empty() && Some(name) != by_variable);
    match reading.layers.place {
        Place::File if is_named => Some(Note::new(
            "--env",
            "has no effect: the settings are a single file, beside which none of an environment is read",
        )),
        Place::File | Place::Directory { .. } | Place::Nowhere => None,
    }
}

/// Variables whose names are nearly those of settings, and that nothing reads.
fn of_variables(reading: &Reading<'_>) -> Vec<Note> {
    let unused = reading.variables.keys().filter(|name| !reading.variables_taken.contains(*name));
    let note = |name: &String| {
        let meant = environment::meant_by(name)?;
        let key = format!("variable {}", key_part(name));
        Some(Note::new(
            key,
            format!("is no setting: these begin with QCC and two underscores; as {} it is one", key_part(&meant)),
        ))
    };
    unused.filter_map(note).collect()
}
