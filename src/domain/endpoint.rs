//! One upstream LLM service as defined by the settings, after validation.

use std::num::NonZeroU32;
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Serialize;

use super::base_url::BaseUrl;
use super::ids::{EndpointId, ProfileId};
use super::secret::Secret;

/// The queue that an endpoint belongs to while it is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Home {
    /// Used first.
    Primary,
    /// Used when no primary can be.
    Secondary,
}

/// Which API an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The Anthropic Messages API.
    Anthropic,
    /// The OpenAI API.
    OpenAi,
}

impl Protocol {
    /// The contract's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }

    /// How a credential is sent if the settings don't say: in Anthropic's own header, else as a bearer token.
    #[must_use]
    pub const fn default_auth(self) -> AuthStyle {
        match self {
            Self::Anthropic => AuthStyle::XApiKey,
            Self::OpenAi => AuthStyle::Bearer,
        }
    }
}

/// The header in which a credential goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthStyle {
    /// `x-api-key: KEY`
    XApiKey,
    /// `authorization: Bearer KEY`
    Bearer,
    /// Both of these: some relays look at one, some at the other.
    Both,
}

/// How requests to an endpoint are authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// The gateway's own credential replaces the client's.
    Own {
        /// The header that carries it.
        style: AuthStyle,
        /// The credential.
        key: Secret,
    },
    /// The client's own credential goes upstream.
    Passthrough,
    /// A disabled endpoint whose credential could not be read: nothing is ever sent with it.
    Missing,
}

/// Whether a pattern may match names other than itself.
pub(super) fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '{', '\\'])
}

/// Which models an endpoint serves: globs for the client's name of the model. Without any it serves every model.
#[derive(Clone, Debug, Default)]
pub struct ModelFilter {
    patterns: Vec<String>,
    set: GlobSet,
}

impl ModelFilter {
    /// Compiles the patterns.
    ///
    /// # Errors
    ///
    /// The error of the first pattern that is no glob.
    pub fn new(patterns: &[String]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(Glob::new(pattern)?);
        }
        Ok(Self { patterns: patterns.to_vec(), set: set.build()? })
    }

    /// Whether the endpoint serves this model. A request that names none fits every endpoint.
    #[must_use]
    pub fn serves(&self, model: Option<&str>) -> bool {
        self.patterns.is_empty() || model.is_none_or(|model| self.set.is_match(model))
    }

    /// The patterns as written in the settings.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// The patterns that are plain model names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(String::as_str).filter(|pattern| !is_glob(pattern))
    }
}

impl PartialEq for ModelFilter {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

/// The model names that are sent upstream in place of those that clients use.
#[derive(Clone, Debug, Default)]
pub struct ModelMap {
    /// Exact names first, then the longest pattern first.
    rules: Vec<ModelRule>,
}

#[derive(Clone, Debug)]
struct ModelRule {
    pattern: String,
    matcher: Option<globset::GlobMatcher>,
    sent: String,
}

impl ModelMap {
    /// Compiles the map from pattern to the name that is sent.
    ///
    /// # Errors
    ///
    /// The error of the first pattern that is no glob.
    pub fn new<'a>(rules: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, globset::Error> {
        let mut compiled = Vec::new();
        for (pattern, sent) in rules {
            let matcher = if is_glob(pattern) { Some(Glob::new(pattern)?.compile_matcher()) } else { None };
            compiled.push(ModelRule { pattern: pattern.to_owned(), matcher, sent: sent.to_owned() });
        }
        compiled.sort_by_key(|rule| (rule.matcher.is_some(), std::cmp::Reverse(rule.pattern.len())));
        Ok(Self { rules: compiled })
    }

    /// The name to send in place of `model`; `None` if it is sent unchanged.
    #[must_use]
    pub fn sent(&self, model: &str) -> Option<&str> {
        let fits = |rule: &&ModelRule| match &rule.matcher {
            Some(glob) => glob.is_match(model),
            None => rule.pattern == model,
        };
        self.rules.iter().find(fits).map(|rule| rule.sent.as_str())
    }

    /// Whether no model is ever renamed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl PartialEq for ModelMap {
    fn eq(&self, other: &Self) -> bool {
        let pairs = |map: &Self| map.rules.iter().map(|r| (r.pattern.clone(), r.sent.clone())).collect::<Vec<_>>();
        pairs(self) == pairs(other)
    }
}

/// A header set by the operator. Its value may be a credential, so it is kept like one.
pub type ExtraHeader = (String, Secret);

/// How an endpoint is to be verified, where this differs from the verifier's own settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyOverrides {
    /// The model to ask.
    pub model: Option<String>,
    /// The bound on the answer's length, in tokens.
    pub max_tokens: Option<NonZeroU32>,
    /// A system prompt: some relays answer only requests that look like those of their usual client.
    pub system: Option<String>,
    /// Further headers.
    pub headers: Vec<ExtraHeader>,
}

/// One upstream LLM service: a base URL, a credential, a home queue, a weight. Valid once it exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its name.
    pub id: EndpointId,
    /// Where requests go.
    pub base_url: BaseUrl,
    /// Which API it speaks.
    pub protocol: Protocol,
    /// Its credential.
    pub auth: Auth,
    /// The queue that it belongs to while it is sound.
    pub home: Home,
    /// 0 to 9 within the queue; lower first.
    pub priority: u8,
    /// The profiles whose clients it serves. Never empty.
    pub profiles: Vec<ProfileId>,
    /// 0 to 1000: its share among its equals. With 0 it takes nothing new.
    pub weight: u16,
    /// What its tokens cost, relative to the list prices.
    pub price_factor: f64,
    /// Whether the settings enable it.
    pub enabled: bool,
    /// The models it serves.
    pub models: ModelFilter,
    /// The models it knows by another name.
    pub model_map: ModelMap,
    /// The most attempts at a time; `None` for no limit.
    pub max_in_flight: Option<NonZeroU32>,
    /// How it is to be verified.
    pub verify: VerifyOverrides,
    /// Further headers sent upstream.
    pub headers: Vec<ExtraHeader>,
}

impl Endpoint {
    /// Whether `other` is the same service reached in the same way, so that what is known of one holds for the other.
    #[must_use]
    pub fn same_service(&self, other: &Self) -> bool {
        self.base_url == other.base_url
            && self.protocol == other.protocol
            && self.auth == other.auth
            && self.headers == other.headers
    }

    /// Whether it serves clients of this profile.
    #[must_use]
    pub fn in_profile(&self, profile: &ProfileId) -> bool {
        self.profiles.contains(profile)
    }
}

/// A shared endpoint: never changed, only replaced.
pub type SharedEndpoint = Arc<Endpoint>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_patterns_serve_every_model() {
        let all = ModelFilter::default();
        let some = ModelFilter::new(&["claude-*".to_owned(), "org/x".to_owned()]).unwrap();
        assert!(all.serves(Some("x")) && all.serves(None));
        assert!(some.serves(Some("claude-opus-4-5")) && some.serves(Some("org/x")) && some.serves(None));
        assert!(!some.serves(Some("gpt-4o")));
    }

    #[test]
    fn a_name_is_a_pattern_that_fits_nothing_else() {
        let patterns = ["*", "a?", "[ab]", "{a,b}", "a\\*", "org/x", "claude-opus-x"].map(str::to_owned);
        let models = ModelFilter::new(&patterns).unwrap();
        assert_eq!(models.names().collect::<Vec<_>>(), ["org/x", "claude-opus-x"]);
    }

    #[test]
    fn the_map_prefers_exact_names_then_the_longest_pattern() {
        let map = ModelMap::new([
            ("*", "any"),
            ("claude-*", "claude"),
            ("claude-opus-*", "opus"),
            ("claude-opus-4", "exact"),
        ])
        .unwrap();
        for (model, sent) in
            [("claude-opus-4", "exact"), ("claude-opus-5", "opus"), ("claude-x", "claude"), ("gpt", "any")]
        {
            assert_eq!(map.sent(model), Some(sent), "{model}");
        }
        assert_eq!(ModelMap::default().sent("gpt"), None);
    }
}
