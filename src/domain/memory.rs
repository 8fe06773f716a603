//! What outlives a restart: who is isolated, what admins have switched, who rests, and how far verification has come.
//!
//! It is written as JSON, with times of day in place of moments, and names services by a digest: a file must hold no credential.

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

/// What time of day a moment is, and the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Almanac {
    /// The time since 1970 at which the process's clock stood at nothing.
    pub zero: Duration,
}

impl Almanac {
    /// The time of day of a moment.
    #[must_use]
    pub fn time_of(&self, moment: Moment) -> TimeOfDay {
        TimeOfDay(self.zero.saturating_add(moment.since_start()))
    }

    /// The moment of a time of day; the clock's beginning for earlier ones.
    #[must_use]
    pub fn moment_of(&self, time: TimeOfDay) -> Moment {
        Moment::after_start(time.0.saturating_sub(self.zero))
    }
}

/// A time as the time since 1970. As text it is RFC 3339 in UTC, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(Duration);

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&to_the_millisecond(self.0))
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(serde::de::Error::custom)?;
        Ok(Self(since))
    }
}

/// What makes the digests of one file comparable with each other, and with no other's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Salt(#[serde(with = "hex::serde")] [u8; 16]);

impl Salt {
    /// A salt of these bytes, which nobody should be able to foresee.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Tells whether a service is the same one, reached in the same way, without saying what it is.
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
        // Each part with its length, so that no two services run together alike.
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

/// Whether this need not be written down, since it is what is taken where nothing is.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An isolation, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptIsolation {
    /// What isolated the endpoint.
    pub reason: Reason,
    /// Since when.
    pub at: TimeOfDay,
    /// How many counted failures in a row led to it.
    pub failures: u32,
    /// What was seen of the last failure.
    pub error: Option<String>,
    /// How the answer came in which that was seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub manner: Manner,
    /// The model whose failure it was.
    pub model: Option<String>,
    /// Which model's answer brings it back.
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
    /// By how many steps its delay has grown.
    pub step: u32,
    /// How often it was verified since its isolation.
    pub verifications: u32,
    /// When the next verification is due.
    pub next: Option<TimeOfDay>,
}

/// A cooldown, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCooldown {
    /// For which model; none for requests that name none.
    pub model: Option<String>,
    /// When it was announced.
    pub since: TimeOfDay,
    /// When it ends.
    pub until: TimeOfDay,
    /// What for.
    pub reason: CooldownReason,
}

/// One endpoint, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEndpoint {
    /// Its name.
    pub id: EndpointId,
    /// Which service it was.
    pub service: ServiceDigest,
    /// Its isolation, if it had failed and not recovered.
    pub isolation: Option<KeptIsolation>,
    /// When it came back from the failure queue, while that still matters.
    pub recovered_at: Option<TimeOfDay>,
    /// How far its verification has come, also for the case that it relapses.
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

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Under which all digests in it were made.
    pub salt: Salt,
    /// When it was made.
    pub made_at: TimeOfDay,
    /// The endpoints of the settings of that time.
    pub endpoints: Vec<KeptEndpoint>,
    /// The services that are out of the settings, and were isolated: the latest last.
    pub departed: Vec<KeptDeparture>,
    /// What an admin has switched off.
    pub switched_off: Vec<EndpointId>,
    /// What an admin has switched on although the settings have it off.
    pub switched_on: Vec<EndpointId>,
}

impl Image {
    /// The endpoints that had failed and not recovered.
    pub fn isolated(&self) -> impl Iterator<Item = (&EndpointId, &KeptIsolation)> {
        self.endpoints.iter().filter_map(|kept| Some((&kept.id, kept.isolation.as_ref()?)))
    }
}

/// What is known of the time before the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// There was none, or nothing is kept.
    Fresh(Salt),
    /// This.
    Kept(Box<Image>),
    /// This, but what came after it is lost: nobody can say who was isolated then, so whoever is not isolated by this has to prove
    /// itself first.
    Outdated(Box<Image>),
    /// It is lost: nobody can say who was isolated, so everybody has to prove itself first.
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
        let read: TimeOfDay = serde_json::from_str(&text).unwrap();
        assert_eq!(after.moment_of(read), Moment::after_start(Duration::from_millis(300_123)));
        assert_eq!(after.moment_of(before.time_of(Moment::START)), Moment::START, "before its clock began");
    }
}
