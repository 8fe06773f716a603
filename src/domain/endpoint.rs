//! One upstream LLM service, as the settings define it, after validation.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use globset::{Glob, GlobSet, GlobSetBuilder};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use url::Url;

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

    /// How a credential is shown where the settings don't say: Anthropic's own header, else a bearer token.
    #[must_use]
    pub const fn default_auth(self) -> AuthStyle {
        match self {
            Self::Anthropic => AuthStyle::XApiKey,
            Self::OpenAi => AuthStyle::Bearer,
        }
    }
}

/// In which header a credential goes upstream.
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
        /// In which header.
        style: AuthStyle,
        /// The credential.
        key: Secret,
    },
    /// The client's own credential goes upstream.
    Passthrough,
    /// A disabled endpoint whose credential could not be read: nothing is ever sent with it.
    Missing,
}

/// The transport below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where connections go: what can share a connection pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The transport.
    pub scheme: Scheme,
    /// A name or an address; an IPv6 address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Origin {
    /// Scheme, host and port, as they stand in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [open, host, close] = self.bracketed_host();
        write!(f, "{}://{open}{host}{close}", self.scheme.as_str())?;
        self.named_port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Origin {
    /// The origin of a URL.
    ///
    /// # Errors
    ///
    /// [`InvalidBaseUrl`] where it is neither http nor https, or names no host.
    pub fn of(url: &Url) -> Result<Self, InvalidBaseUrl> {
        let (scheme, default_port) = match url.scheme() {
            "http" => (Scheme::Http, 80),
            "https" => (Scheme::Https, 443),
            _ => return Err(InvalidBaseUrl::Scheme),
        };
        let host = match url.host().ok_or(InvalidBaseUrl::NoHost)? {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        };
        Ok(Self { scheme, host, port: url.port().unwrap_or(default_port) })
    }

    /// The host with what stands around it where a port may follow: an address of IP version six has brackets.
    pub fn bracketed_host(&self) -> [&str; 3] {
        let host = self.host.as_str();
        if host.contains(':') { ["[", host, "]"] } else { ["", host, ""] }
    }

    /// The port, where it is not the scheme's own and so has to be named.
    pub fn named_port(&self) -> Option<u16> {
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => None,
            (Scheme::Http | Scheme::Https, port) => Some(port),
        }
    }
}

/// Why a text is no base URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBaseUrl {
    /// It can't be parsed.
    #[error("not a URL: {0}")]
    Unparsable(String),
    /// Another scheme than http or https.
    #[error("the scheme must be http or https")]
    Scheme,
    /// No host.
    #[error("it names no host")]
    NoHost,
    /// A query or a fragment, to which no path can be appended.
    #[error("a query or a fragment has no place in a base URL, to which the request's path is appended")]
    Trailing,
}

/// An endpoint's base URL: an origin and a path to which the request's own is appended.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    origin: Origin,
    /// Without a slash at its end.
    path: String,
    userinfo: Option<Secret>,
}

impl BaseUrl {
    /// Reads a base URL.
    ///
    /// # Errors
    ///
    /// [`InvalidBaseUrl`] where it is none; the error never repeats the text, which may hold a credential.
    pub fn parse(text: &str) -> Result<Self, InvalidBaseUrl> {
        let url = Url::parse(text).map_err(|error| InvalidBaseUrl::Unparsable(error.to_string()))?;
        let origin = Origin::of(&url)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidBaseUrl::Trailing);
        }
        Ok(Self { origin, path: url.path().trim_end_matches('/').to_owned(), userinfo: userinfo_of(&url) })
    }

    /// Where connections go.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path before the request's own, without a slash at its end.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `user:password`, still percent-encoded, where the URL named one: for basic authentication (RFC 7617).
    #[must_use]
    pub fn userinfo(&self) -> Option<&Secret> {
        self.userinfo.as_ref()
    }

    /// The request target for a client's path and query, to the byte: appended, but a base that ends in a version (`/v1`,
    /// `/v3`, …) takes the place of the path's own `/v1`.
    #[must_use]
    pub fn target<'a>(&self, path_and_query: &'a str) -> Cow<'a, str> {
        let rest = match path_and_query.strip_prefix("/v1") {
            Some(rest) if self.ends_in_version() && (rest.is_empty() || rest.starts_with(['/', '?'])) => rest,
            _ => path_and_query,
        };
        if self.path.is_empty() && rest.starts_with('/') {
            return Cow::Borrowed(rest);
        }
        let mut target = String::with_capacity(self.path.len() + rest.len() + 1);
        target.push_str(&self.path);
        target.push_str(rest);
        if !target.starts_with('/') {
            target.insert(0, '/');
        }
        Cow::Owned(target)
    }

    fn ends_in_version(&self) -> bool {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        last.strip_prefix('v').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// `user:password`, still percent-encoded, where a URL names one.
pub(super) fn userinfo_of(url: &Url) -> Option<Secret> {
    match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some(Secret::new(&format!("{user}:{}", password.unwrap_or_default()))),
    }
}

/// What basic authentication (RFC 7617) makes of a URL's `user:password`, which is percent-encoded there.
pub fn basic_credentials(userinfo: &Secret) -> String {
    let decoded: Vec<u8> = percent_decode_str(userinfo.expose()).collect();
    STANDARD.encode(decoded)
}

impl fmt::Display for BaseUrl {
    /// Without the userinfo.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({self})")
    }
}

/// Which models an endpoint serves: globs over the client's name of the model; none means every model.
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
    /// What is wrong with the first pattern that is no glob.
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

    /// The patterns as they stand in the settings.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

impl PartialEq for ModelFilter {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

/// Which model is sent upstream for the one that the client names.
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
    /// What is wrong with the first pattern that is no glob.
    pub fn new<'a>(rules: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, globset::Error> {
        let mut compiled = Vec::new();
        for (pattern, sent) in rules {
            let is_glob = pattern.contains(['*', '?', '[', '{', '\\']);
            let matcher = if is_glob { Some(Glob::new(pattern)?.compile_matcher()) } else { None };
            compiled.push(ModelRule { pattern: pattern.to_owned(), matcher, sent: sent.to_owned() });
        }
        compiled.sort_by_key(|rule| (rule.matcher.is_some(), std::cmp::Reverse(rule.pattern.len())));
        Ok(Self { rules: compiled })
    }

    /// The name to send in place of `model`; `None` where it is sent as it is.
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

/// A header of the operator's own. The value may be a credential, so it is kept like one.
pub type ExtraHeader = (String, Secret);

/// How an endpoint likes to be verified, where it differs from the verifier's own settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyOverrides {
    /// The model to ask.
    pub model: Option<String>,
    /// The bound on the answer's length, in tokens.
    pub max_tokens: Option<NonZeroU32>,
    /// A system prompt: some relays answer only what looks like their usual client.
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
    /// Whom it serves. Never empty.
    pub profiles: Vec<ProfileId>,
    /// 0 to 1000: its share among its equals. 0 takes nothing new.
    pub weight: u16,
    /// What its tokens cost, relative to the list prices.
    pub price_factor: f64,
    /// Whether the settings have it in use.
    pub enabled: bool,
    /// The models it serves.
    pub models: ModelFilter,
    /// The models it knows by another name.
    pub model_map: ModelMap,
    /// The most attempts at a time; none: no limit.
    pub max_in_flight: Option<NonZeroU32>,
    /// How it likes to be verified.
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

/// An endpoint as it is shared: never changed, only replaced.
pub type SharedEndpoint = Arc<Endpoint>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_ends_in_a_version_takes_the_place_of_the_paths_own() {
        for (base, path, target) in [
            ("http://a", "/v1/messages", "/v1/messages"),
            ("http://a/", "/v1/messages?beta=true", "/v1/messages?beta=true"),
            ("http://a/api", "/v1/messages", "/api/v1/messages"),
            ("http://a/api/", "/v1/messages", "/api/v1/messages"),
            ("http://a/v1", "/v1/messages", "/v1/messages"),
            ("http://a/api/v3", "/v1/chat/completions", "/api/v3/chat/completions"),
            ("http://a/api/v3", "/v1?x", "/api/v3?x"),
            ("http://a/api/v3", "/v1beta/x", "/api/v3/v1beta/x"),
            ("http://a/v1beta", "/v1/x", "/v1beta/v1/x"),
            ("http://a", "//x/%2e/%zz{}", "//x/%2e/%zz{}"),
            ("http://a", "?q", "/?q"),
        ] {
            assert_eq!(BaseUrl::parse(base).unwrap().target(path), target, "{base} + {path}");
        }
    }

    #[test]
    fn a_base_url_never_shows_its_userinfo() {
        let url = BaseUrl::parse("https://user:hunter2@relay.example:8443/api/").unwrap();
        assert_eq!(format!("{url}"), "https://relay.example:8443/api");
        assert!(!format!("{url:?}").contains("hunter2"));
        assert_eq!(url.userinfo().unwrap().expose(), "user:hunter2");
        assert_eq!(url.origin().to_string(), "https://relay.example:8443");
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        assert_eq!(BaseUrl::parse("ftp://a"), Err(InvalidBaseUrl::Scheme));
        assert_eq!(BaseUrl::parse("http://a/?x"), Err(InvalidBaseUrl::Trailing));
        assert!(matches!(BaseUrl::parse("relay.example"), Err(InvalidBaseUrl::Unparsable(_))));
    }

    #[test]
    fn an_address_of_version_six_is_bracketed_only_where_a_port_may_follow() {
        let url = BaseUrl::parse("http://[::1]:8080").unwrap();
        assert_eq!(url.origin().host, "::1");
        assert_eq!(url.origin().to_string(), "http://[::1]:8080");
    }

    #[test]
    fn no_patterns_serve_every_model() {
        let all = ModelFilter::default();
        let some = ModelFilter::new(&["claude-*".to_owned(), "org/x".to_owned()]).unwrap();
        assert!(all.serves(Some("x")) && all.serves(None));
        assert!(some.serves(Some("claude-opus-4-5")) && some.serves(Some("org/x")) && some.serves(None));
        assert!(!some.serves(Some("gpt-4o")));
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
