//! What outlives a restart: isolations, what admins have switched, cooldowns, and how far verification has come.
//!
//! It is written as JSON, with dates in place of moments. Services are identified by a digest: a file must hold no credential.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::calendar::to_the_millisecond;
use super::conversation::Manner;
use super::cooling::CooldownReason;
use super::endpoint::{Auth, AuthStyle, Endpoint};
use super::ids::EndpointId;
use super::outcome::Reason;
use super::schedule::Suffices;
use super::time::Moment;

/// Converts between moments and times since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Almanac {
    /// The time since 1970 at which the process's clock began.
    pub zero: Duration,
}

impl Almanac {
    /// The time since 1970 at this moment.
    #[must_use]
    pub fn time_of(&self, moment: Moment) -> Timestamp {
        Timestamp(self.zero.saturating_add(moment.since_start()))
    }

    /// The moment of a time; the clock's beginning if the time is earlier.
    #[must_use]
    pub fn moment_of(&self, time: Timestamp) -> Moment {
        Moment::after_start(time.0.saturating_sub(self.zero))
    }
}

/// A date and time, held as the time since 1970. As text it is RFC 3339 in UTC, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(Duration);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&to_the_millisecond(self.0))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(serde::de::Error::custom)?;
        Ok(Self(since))
    }
}

/// Makes the digests of one file comparable with each other, but not with those of another file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Salt(#[serde(with = "hex::serde")] [u8; 16]);

impl Salt {
    /// A salt of these bytes, which nobody should be able to predict.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Tells whether two services are the same, reached in the same way, without revealing what they are.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceDigest(#[serde(with = "hex::serde")] [u8; 32]);

impl fmt::Debug for ServiceDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0;
        write!(f, "ServiceDigest({first:02x}{second:02x}…)")
    }
}

impl ServiceDigest {
    /// The digest of all that [`Endpoint::same_service`] compares.
    #[must_use]
    pub fn of(endpoint: &Endpoint, salt: Salt) -> Self {
        let mut digest = Sha256::new_with_prefix(salt.0);
        // Each part with its length, so that no two services yield the same bytes.
        let mut part = |bytes: &[u8]| {
            digest.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(bytes);
        };
        let url = &endpoint.base_url;
        let scheme = url.origin().scheme.as_str();
        for text in
            [scheme, &url.origin().host, url.path(), url.userinfo().map_or("", |userinfo| userinfo.written().expose())]
        {
            part(text.as_bytes());
        }
        part(&url.origin().port.to_be_bytes());
        part(endpoint.protocol.as_str().as_bytes());
        let (style, key) = match &endpoint.auth {
            Auth::Own { style: AuthStyle::XApiKey, key } => ("x-api-key", key.expose()),
            Auth::Own { style: AuthStyle::Bearer, key } => ("bearer", key.expose()),
            Auth::Own { style: AuthStyle::Both, key } => ("both", key.expose()),
            Auth::Passthrough => ("passthrough", ""),
            Auth::Missing => ("missing", ""),
        };
        part(style.as_bytes());
        part(key.as_bytes());
        for (name, value) in &endpoint.headers {
            part(name.as_bytes());
            part(value.expose().as_bytes());
        }
        Self(digest.finalize().into())
    }
}

/// Whether a value need not be written, because it is the default.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A remembered isolation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptIsolation {
    /// What isolated the endpoint.
    pub reason: Reason,
    /// Since when.
    pub at: Timestamp,
    /// How many counted failures in a row led to it.
    pub failures: u32,
    /// What was seen of the last failure.
    pub error: Option<String>,
    /// The manner of the answer in which the error was seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub manner: Manner,
    /// The model whose failure it was.
    pub model: Option<String>,
    /// Which models' answers bring it back.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suffices: Suffices,
    /// Whether it was isolated again while it was still in slow start.
    pub relapse: bool,
    /// Whether it is to be verified at once.
    pub at_once: bool,
}

/// How far the verification of an endpoint has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptProgress {
    /// How many steps its delay has grown by.
    pub step: u32,
    /// How often it was verified since its isolation.
    pub verifications: u32,
    /// When the next verification is due.
    pub next: Option<Timestamp>,
}

/// A remembered cooldown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCooldown {
    /// The model; `None` for requests that name none.
    pub model: Option<String>,
    /// When it was announced.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Why.
    pub reason: CooldownReason,
}

/// A remembered endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEndpoint {
    /// Its name.
    pub id: EndpointId,
    /// Which service it was.
    pub service: ServiceDigest,
    /// Its isolation, if it had failed and not yet recovered.
    pub isolation: Option<KeptIsolation>,
    /// When it came back from the failure queue, while that still matters.
    pub recovered_at: Option<Timestamp>,
    /// How far its verification has come; kept in case it relapses, too.
    pub progress: KeptProgress,
    /// Its cooldowns.
    pub cooldowns: Vec<KeptCooldown>,
    /// Whether it has ever passed a verification or served a request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub proven: bool,
}

/// A service that left the settings while it was isolated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDeparture {
    /// The name that it had.
    pub id: EndpointId,
    /// Which service it was.
    pub service: ServiceDigest,
    /// Its isolation.
    pub isolation: KeptIsolation,
}

/// Everything that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The salt of all digests in it.
    pub salt: Salt,
    /// When it was made.
    pub made_at: Timestamp,
    /// The endpoints that the settings had at that time.
    pub endpoints: Vec<KeptEndpoint>,
    /// The services that left the settings while they were isolated, the latest last.
    pub departed: Vec<KeptDeparture>,
    /// The endpoints that an admin has switched off.
    pub switched_off: Vec<EndpointId>,
    /// The endpoints that an admin has switched on although the settings disable them.
    pub switched_on: Vec<EndpointId>,
}

impl Image {
    /// The endpoints that had failed and not yet recovered, with their isolations.
    pub fn isolated(&self) -> impl Iterator<Item = (&EndpointId, &KeptIsolation)> {
        self.endpoints.iter().filter_map(|kept| Some((&kept.id, kept.isolation.as_ref()?)))
    }
}

/// What is known of the time before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// There was no such time, or nothing is kept.
    Fresh(Salt),
    /// All of it.
    Kept(Box<Image>),
    /// An earlier state; what followed is lost. Nobody can say what was isolated later, so endpoints that are not isolated in it
    /// have to prove themselves first.
    Outdated(Box<Image>),
    /// Nothing, because it is lost: nobody can say what was isolated, so every endpoint has to prove itself first.
    Lost(Salt),
}

#[cfg(test)]
mod tests {
    use super::super::base_url::BaseUrl;
    use super::super::endpoint::{Home, Protocol};
    use super::super::secret::Secret;
    use super::super::testing::endpoint;
    use super::*;

    #[test]
    fn two_services_have_the_same_digest_if_and_only_if_they_are_the_same() {
        let own = |style, key: &str| Auth::Own { style, key: Secret::new(key) };
        let header = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        let base = endpoint("a", Home::Primary);
        let url = |text: &str| Endpoint { base_url: BaseUrl::parse(text).unwrap(), ..base.clone() };
        let services = [
            base.clone(),
            Endpoint { weight: 7, home: Home::Secondary, ..base.clone() },
            url("http://a/x"),
            url("https://a/x"),
            url("http://a:81/x"),
            url("http://ax"),
            url("http://u:p@ax"),
            Endpoint { protocol: Protocol::OpenAi, ..base.clone() },
            Endpoint { auth: own(AuthStyle::Bearer, "k"), ..base.clone() },
            Endpoint { auth: own(AuthStyle::Both, "k"), ..base.clone() },
            Endpoint { auth: own(AuthStyle::Both, "k2"), ..base.clone() },
            Endpoint { auth: Auth::Passthrough, ..base.clone() },
            Endpoint { auth: Auth::Missing, ..base.clone() },
            Endpoint { headers: vec![header("x", "yz")], ..base.clone() },
            Endpoint { headers: vec![header("xy", "z")], ..base.clone() },
            Endpoint { headers: vec![header("x", "y"), header("z", "")], ..base.clone() },
        ];
        for one in &services {
            for other in &services {
                let digests = [one, other].map(|endpoint| ServiceDigest::of(endpoint, Salt::default()));
                assert_eq!(digests[0] == digests[1], one.same_service(other), "{one:?} {other:?}");
            }
        }
        let salted = |salt| ServiceDigest::of(&base, Salt::new([salt; 16]));
        assert_ne!(salted(1), salted(2));
        assert!(format!("{:?}", salted(1)).len() < 24, "it is no key, and need not be shown whole");
    }

    #[test]
    fn a_time_of_day_is_the_same_moment_for_a_process_that_began_at_another_time() {
        let (before, after) =
            (Almanac { zero: Duration::from_secs(1000) }, Almanac { zero: Duration::from_secs(1600) });
        let time = before.time_of(Moment::after_start(Duration::from_millis(900_123)));
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(text, "\"1970-01-01T00:31:40.123Z\"");
        let read: Timestamp = serde_json::from_str(&text).unwrap();
        assert_eq!(after.moment_of(read), Moment::after_start(Duration::from_millis(300_123)));
        assert_eq!(after.moment_of(before.time_of(Moment::START)), Moment::START, "before its clock began");
    }
}
