//! Who asks: client keys.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use super::names;
use crate::domain::client::{Client, KeyDigest};
use crate::domain::ids::{ClientId, ProfileId};
use crate::domain::refusal::Refusal;

/// Who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The client; `None` if everybody is served.
    pub(super) client: Option<ClientId>,
    /// The profile whose endpoints serve it.
    pub(super) profile: ProfileId,
}

/// Why a request's sender is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// It shows no key.
    NoKey,
    /// It shows no key of a client.
    WrongKey,
    /// It shows the key of this client, which has expired.
    Expired(ClientId),
}

impl Stranger {
    /// The refusal that it is answered with.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::NoKey => Refusal::NoClientKey,
            Self::WrongKey => Refusal::WrongClientKey,
            Self::Expired(_) => Refusal::ExpiredClientKey,
        }
    }

    /// The client whose request it would be, for the log and the counts.
    pub(super) fn client(self) -> Option<ClientId> {
        match self {
            Self::NoKey | Self::WrongKey => None,
            Self::Expired(client) => Some(client),
        }
    }
}

/// A client's place for one request under way. Dropped when the request ends, however it ends.
#[derive(Debug)]
pub(super) struct InFlightPlace(Arc<AtomicU32>);

impl InFlightPlace {
    /// Takes a place if fewer than `limit` are taken.
    fn take(taken: &Arc<AtomicU32>, limit: u32) -> Option<Self> {
        let one_more = |taken: u32| taken.checked_add(1).filter(|taken| *taken <= limit);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for InFlightPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client, and how many places it has taken.
#[derive(Clone, Debug)]
struct Entry {
    client: Client,
    taken: Arc<AtomicU32>,
}

/// The clients that may use the gateway. If there are none, everybody may.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientBook {
    entries: Vec<Entry>,
    /// The enabled clients by key, as indices into `entries`.
    by_key: HashMap<KeyDigest, usize>,
    by_id: HashMap<ClientId, usize>,
    /// Clients that had left the settings and still had requests under way when the settings were last read.
    gone: Vec<Entry>,
    /// The places taken by requests without a client.
    anonymous: Arc<AtomicU32>,
}

/// A client as the stats show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown<'a> {
    /// `None` for requests without a client.
    pub(super) client: Option<&'a ClientId>,
    pub(super) team: Option<&'a str>,
    pub(super) in_flight: u32,
}

impl ClientBook {
    pub(super) fn new(clients: Vec<Client>) -> Self {
        Self::after(&Self::default(), clients)
    }

    /// The clients of newly read settings. A known client keeps the places it has taken, even if it had left the settings
    /// in between.
    pub(super) fn after(earlier: &Self, clients: Vec<Client>) -> Self {
        let mut before: BTreeMap<&ClientId, &Entry> =
            earlier.gone.iter().chain(&earlier.entries).map(|entry| (&entry.client.id, entry)).collect();
        let mut entries = Vec::with_capacity(clients.len());
        for client in clients {
            let taken = before.remove(&client.id).map(|entry| Arc::clone(&entry.taken)).unwrap_or_default();
            entries.push(Entry { client, taken });
        }
        let is_busy = |entry: &&Entry| entry.taken.load(Ordering::Relaxed) > 0;
        let gone = before.into_values().filter(is_busy).cloned().collect();
        let all = || entries.iter().map(|entry| &entry.client).enumerate();
        let usable = all().filter(|(_, client)| client.enabled);
        let by_key = usable.flat_map(|(at, client)| client.keys.iter().map(move |key| (*key, at))).collect();
        let by_id = all().map(|(at, client)| (client.id.clone(), at)).collect();
        Self { entries, by_key, by_id, gone, anonymous: Arc::clone(&earlier.anonymous) }
    }

    /// All clients, followed by the requests without one.
    pub(super) fn shown(&self) -> impl Iterator<Item = Shown<'_>> {
        let known = self.entries.iter().map(|Entry { client, taken }| Shown {
            client: Some(&client.id),
            team: client.team.as_deref(),
            in_flight: taken.load(Ordering::Relaxed),
        });
        known.chain([Shown { client: None, team: None, in_flight: self.anonymous.load(Ordering::Relaxed) }])
    }

    /// Finds the client by its key, in any of the headers in which clients send one. `now` is the time since 1970.
    ///
    /// The lookup is by digest, in a map with a secret hash key, so its timing reveals nothing about a key.
    pub(super) fn identify(&self, headers: &HeaderMap, now: Duration) -> Result<Caller, Stranger> {
        if self.entries.is_empty() {
            return Ok(Caller { client: None, profile: ProfileId::default() });
        }
        let shown = shown_keys(headers);
        if shown.is_empty() {
            return Err(Stranger::NoKey);
        }
        // If keys of several clients are shown, the first counts.
        let (mut found, mut expired) = (None, None);
        for key in shown.iter().rev() {
            let Some(Entry { client, .. }) = self.by_key.get(key).and_then(|at| self.entries.get(*at)) else {
                continue;
            };
            if client.is_expired(now) {
                expired = Some(client);
            } else {
                found = Some(client);
            }
        }
        let unknown = || expired.map_or(Stranger::WrongKey, |client| Stranger::Expired(client.id.clone()));
        let client = found.ok_or_else(unknown)?;
        Ok(Caller { client: Some(client.id.clone()), profile: client.profile.clone() })
    }

    /// Takes one of the client's places for requests.
    pub(super) fn admit(&self, caller: &Caller) -> Result<InFlightPlace, Refusal> {
        let own = caller.client.as_ref().and_then(|id| self.by_id.get(id));
        let (taken, limit) = match own.and_then(|at| self.entries.get(*at)) {
            Some(Entry { client, taken }) => (taken, client.max_in_flight),
            None => (&self.anonymous, None),
        };
        let limit = limit.map_or(u32::MAX, NonZeroU32::get);
        InFlightPlace::take(taken, limit).ok_or(Refusal::ClientBusy { limit })
    }
}

/// The digests of the keys shown, each computed once, however many keys they are compared with. Clients may send several
/// credentials, of which one is for the gateway.
fn shown_keys(headers: &HeaderMap) -> Vec<KeyDigest> {
    let plain = [names::GATEWAY_KEY, names::API_KEY].into_iter().flat_map(|name| headers.get_all(name));
    let mut shown: Vec<&str> = plain.filter_map(|value| value.to_str().ok()).map(str::trim).collect();
    shown.extend(bearer_tokens(headers));
    shown.into_iter().filter(|key| !key.is_empty()).map(KeyDigest::of).collect()
}

/// The tokens shown as `authorization: Bearer …` (RFC 6750, section 2.1); the scheme in any case.
pub(super) fn bearer_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let authorizations = headers.get_all(AUTHORIZATION).filter_map(|value| value.to_str().ok());
    let of_bearer = |value: &&str| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "));
    let tokens = authorizations.filter(of_bearer).filter_map(|value| value.get(7..)).map(str::trim);
    tokens.filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn client(id: &str, profile: &str, keys: &[&str], enabled: bool) -> Client {
        Client {
            id: ClientId::new(id).unwrap(),
            profile: ProfileId::new(profile).unwrap(),
            team: None,
            keys: keys.iter().map(|key| KeyDigest::of(key)).collect(),
            enabled,
            expires: None,
            max_in_flight: None,
        }
    }

    const NOW: Duration = Duration::from_secs(1_000);

    fn identified(headers: &[(&str, &str)]) -> Result<String, Stranger> {
        let ending =
            |id: &str, key: &str, expires| Client { expires: Some(expires), ..client(id, "default", &[key], true) };
        let book = ClientBook::new(vec![
            client("alice", "default", &["a-old", "a-new"], true),
            client("bob", "other", &["b"], true),
            client("carol", "default", &["c"], false),
            ending("dave", "d", NOW),
            ending("erin", "e", NOW + Duration::from_nanos(1)),
        ]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        book.identify(&map, NOW).map(|caller| format!("{}/{}", caller.client.unwrap(), caller.profile))
    }

    #[test]
    fn a_client_is_known_by_any_of_its_keys_in_any_header() {
        for (headers, who) in [
            (vec![("x-api-key", "a-old")], Ok("alice/default")),
            (vec![("x-qcc-key", "a-new")], Ok("alice/default")),
            (vec![("authorization", "Bearer b")], Ok("bob/other")),
            (vec![("authorization", "bearer  b")], Ok("bob/other")),
            (vec![("authorization", "Bearer sk-own"), ("x-qcc-key", "b")], Ok("bob/other")),
            (vec![("authorization", "Basic b")], Err(Stranger::NoKey)),
            (vec![("x-api-key", "")], Err(Stranger::NoKey)),
            (vec![], Err(Stranger::NoKey)),
            (vec![("x-api-key", "nobody")], Err(Stranger::WrongKey)),
            (vec![("x-api-key", "c")], Err(Stranger::WrongKey)),
            (vec![("x-api-key", "d")], Err(Stranger::Expired(ClientId::new("dave").unwrap()))),
            (vec![("x-api-key", "nobody"), ("x-qcc-key", "d")], Err(Stranger::Expired(ClientId::new("dave").unwrap()))),
            (vec![("x-api-key", "b"), ("x-qcc-key", "d")], Ok("bob/other")),
            (vec![("x-api-key", "e")], Ok("erin/default")),
            (vec![("x-api-key", "b"), ("x-qcc-key", "a-old")], Ok("alice/default")),
            (vec![("x-api-key", "a-old"), ("x-qcc-key", "b")], Ok("bob/other")),
            (vec![("authorization", "Bearer a-old"), ("x-api-key", "b")], Ok("bob/other")),
        ] {
            assert_eq!(identified(&headers), who.map(str::to_owned), "{headers:?}");
        }
    }

    #[test]
    fn without_clients_everybody_is_served() {
        let caller = ClientBook::new(Vec::new()).identify(&HeaderMap::new(), NOW).unwrap();
        assert_eq!(caller, Caller { client: None, profile: ProfileId::default() });
    }

    #[test]
    fn a_client_has_as_many_places_as_it_may_and_each_is_given_back() {
        let bounded = Client { max_in_flight: NonZeroU32::new(2), ..client("alice", "default", &["a"], true) };
        let book = ClientBook::new(vec![bounded, client("bob", "default", &["b"], true)]);
        let caller = |id: &str| Caller { client: Some(ClientId::new(id).unwrap()), profile: ProfileId::default() };
        let first = book.admit(&caller("alice")).unwrap();
        let _second = book.admit(&caller("alice")).unwrap();
        assert_eq!(book.admit(&caller("alice")).unwrap_err(), Refusal::ClientBusy { limit: 2 });
        let _others: Vec<InFlightPlace> = (0..10).map(|_| book.admit(&caller("bob")).unwrap()).collect();
        let _anonymous = book.admit(&Caller { client: None, profile: ProfileId::default() }).unwrap();
        let in_flight = |book: &ClientBook| book.shown().map(|shown| shown.in_flight).collect::<Vec<_>>();
        assert_eq!(in_flight(&book), [2, 10, 1]);
        drop(first);
        assert_eq!(in_flight(&book), [1, 10, 1]);
        assert!(book.admit(&caller("alice")).is_ok());
    }

    #[test]
    fn a_client_keeps_the_places_that_it_has_taken_when_the_settings_are_read_anew() {
        let bounded =
            |limit| Client { max_in_flight: NonZeroU32::new(limit), ..client("alice", "default", &["a"], true) };
        let alice = Caller { client: Some(ClientId::new("alice").unwrap()), profile: ProfileId::default() };
        let before = ClientBook::new(vec![bounded(1)]);
        let place = before.admit(&alice).unwrap();
        let after = ClientBook::after(&before, vec![bounded(1)]);
        assert_eq!(after.admit(&alice).unwrap_err(), Refusal::ClientBusy { limit: 1 });
        // A regression: it once came back with none of them.
        let gone = ClientBook::after(&after, Vec::new());
        let back = ClientBook::after(&gone, vec![bounded(1)]);
        assert_eq!(back.admit(&alice).unwrap_err(), Refusal::ClientBusy { limit: 1 });
        drop(place);
        assert!(back.admit(&alice).is_ok());
        assert!(ClientBook::after(&back, Vec::new()).gone.is_empty(), "nothing of it is under way");
    }
}
