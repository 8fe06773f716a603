//! Which endpoint a conversation is bound to. The provider's prompt cache is why it stays.

use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use super::endpoint::Protocol;
use super::ids::ClientId;
use super::slots::Slot;
use super::time::Moment;

/// A client's session. Only a hash of it is kept: the name may be anything that a client has put there.
///
/// The client is part of it, so that none can steer another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(u64);

impl SessionKey {
    /// The session of this name. `hashes` are to be the same for all that is asked of one registry, and to have a key of
    /// their own that nobody knows, so that nobody can find a name which is hashed as another's.
    #[must_use]
    pub fn new(hashes: &impl BuildHasher, client: Option<&ClientId>, protocol: Protocol, name: &str) -> Self {
        Self(hashes.hash_one((client.map(ClientId::as_str), protocol.as_str(), name)))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0.to_be_bytes();
        write!(f, "SessionKey({first:02x}{second:02x}…)")
    }
}

/// Where a request comes from, as far as that can be told: one of its session, or one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A session that its client named.
    Session(SessionKey),
    /// A request without a session, by a number of its own.
    Request(u64),
}

impl Origin {
    /// The session, where there is one.
    #[must_use]
    pub const fn session(self) -> Option<SessionKey> {
        match self {
            Self::Session(key) => Some(key),
            Self::Request(_) => None,
        }
    }
}

/// How long sessions stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffinityPolicy {
    /// Whether they do at all.
    pub enabled: bool,
    /// Idle for this long, a session is forgotten.
    pub ttl: Duration,
    /// Idle for this long on a secondary, it goes back to the primaries.
    pub secondary_ttl: Duration,
    /// A cooldown of its own endpoint that is no longer than this is waited out.
    pub patience: Duration,
    /// The most sessions; beyond it the least recently used is forgotten.
    pub max_sessions: NonZeroUsize,
}

/// A model by the client's name; none where a request names none.
type Model = Option<Arc<str>>;

/// Where a session is bound, and since when it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    endpoint: Slot,
    used: Moment,
    has_served: bool,
}

/// Whose cache a bond is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// That of the model which is asked for.
    ThisModel,
    /// That of the session's latest, which is another one.
    AnotherModel,
}

/// A session's bond as it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bond {
    /// Whose cache it is for.
    pub with: With,
    /// The endpoint that it is bound to.
    pub endpoint: Slot,
    /// For how long it has been idle.
    pub idle: Duration,
    /// Whether it was ever served there: only then is there a cache worth waiting for.
    pub has_served: bool,
}

/// For so long a session that was idle for too long is remembered besides: an attempt of it may be under way since then, and its end
/// has it bound as before. No answer takes that long.
const LONGEST_ATTEMPT: Duration = Duration::from_hours(1);

/// So many are taken out of the table at a time: more than come in, and so few that nobody waits for it.
const SHED_AT_ONCE: usize = 2;

/// All bound sessions. Each model of a session is bound by itself, for so are the caches: where its own endpoint rests for one of
/// them, the others stay. A model that is new to it may begin where the session's latest is.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// Each session's latest bond, and for which model.
    latest: LruCache<SessionKey, (Model, Bound)>,
    /// The bonds for a session's other models, where it has several.
    others: LruCache<(SessionKey, Model), Bound>,
    /// Whose latest use is before this is forgotten, though it may still be in the table, whatever the settings say later.
    forgotten: Moment,
}

impl Sessions {
    /// No session yet.
    #[must_use]
    pub fn new(policy: &AffinityPolicy) -> Self {
        // The tables grow with the sessions, not with the bound on them.
        let (latest, others) = (LruCache::unbounded(), LruCache::unbounded());
        let mut sessions = Self { latest, others, forgotten: Moment::START };
        sessions.resize(policy);
        sessions
    }

    /// Takes over another bound; the least recently used go where it is narrower.
    pub fn resize(&mut self, policy: &AffinityPolicy) {
        self.latest.resize(policy.max_sessions);
        self.others.resize(policy.max_sessions);
    }

    /// Where a session is bound with this model, and where with its latest, which counts where the first does not.
    pub fn find(
        &self,
        key: SessionKey,
        model: &Model,
        now: Moment,
        policy: &AffinityPolicy,
    ) -> impl Iterator<Item = Bond> + use<> {
        let latest = self.latest.peek(&key);
        let with = if latest.is_some_and(|(its, _)| its == model) { With::ThisModel } else { With::AnotherModel };
        let own = match with {
            With::ThisModel => None,
            With::AnotherModel => self.others.peek(&(key, model.clone())),
        };
        let found = [own.map(|bound| (With::ThisModel, *bound)), latest.map(|(_, bound)| (with, *bound))];
        let (ttl, forgotten) = (policy.ttl, self.forgotten);
        found.into_iter().flatten().filter_map(move |(with, Bound { endpoint, used, has_served })| {
            let idle = now.since(used);
            (used >= forgotten && idle < ttl).then_some(Bond { with, endpoint, idle, has_served })
        })
    }

    /// Binds a session with this model, or keeps it bound. What was idle for so long that nothing binds it any more is forgotten.
    pub fn bind(&mut self, key: SessionKey, model: &Model, endpoint: Slot, now: Moment, policy: &AffinityPolicy) {
        self.forgotten = self.forgotten.max(now.before(policy.ttl.saturating_add(LONGEST_ATTEMPT)));
        self.shed();
        let before = match self.latest.get(&key) {
            Some((its, bound)) if its == model => Some(*bound),
            Some((its, bound)) => {
                let (its, bound) = (its.clone(), *bound);
                self.others.put((key, its), bound);
                self.others.pop(&(key, model.clone()))
            }
            None => self.others.pop(&(key, model.clone())),
        };
        let has_served =
            before.is_some_and(|bound| bound.used >= self.forgotten && bound.endpoint == endpoint && bound.has_served);
        self.latest.put(key, (model.clone(), Bound { endpoint, used: now, has_served }));
    }

    /// A session has used its endpoint with this model until now, if it is still bound there, and perhaps was served.
    pub fn used(&mut self, key: SessionKey, model: &Model, endpoint: Slot, was_served: bool, now: Moment) {
        let forgotten = self.forgotten;
        let is_it = |bound: &Bound| bound.endpoint == endpoint && bound.used >= forgotten;
        // A look alone leaves it in its place among the least recently used.
        let bound = match self.latest.peek(&key) {
            Some((its, bound)) if its == model => {
                is_it(bound).then(|| self.latest.get_mut(&key)).flatten().map(|(_, bound)| bound)
            }
            Some(_) | None => {
                let key = (key, model.clone());
                self.others.peek(&key).is_some_and(is_it).then(|| self.others.get_mut(&key)).flatten()
            }
        };
        if let Some(bound) = bound {
            bound.used = now;
            bound.has_served |= was_served;
        }
    }

    /// Forgets all bonds to an endpoint.
    pub fn forget(&mut self, endpoint: Slot) {
        let theirs = self.latest.iter().filter(|(_, (_, bound))| bound.endpoint == endpoint);
        for key in theirs.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.latest.pop(&key);
        }
        let theirs = self.others.iter().filter(|(_, bound)| bound.endpoint == endpoint);
        for key in theirs.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.others.pop(&key);
        }
    }

    /// How many sessions are bound and not idle for too long.
    #[must_use]
    pub fn count(&self, now: Moment, policy: &AffinityPolicy) -> usize {
        // The least recently used are the last ones.
        let has_lapsed = |bound: &Bound| now.since(bound.used) >= policy.ttl || bound.used < self.forgotten;
        let lapsed = self.latest.iter().rev().take_while(|(_, (_, bound))| has_lapsed(bound)).count();
        self.latest.len() - lapsed
    }

    /// Takes some of those out that are forgotten. Each use makes one the most recently used, so the latest bonds that are forgotten are
    /// the last ones. Those of others may stand before some that are not, and go a little later.
    fn shed(&mut self) {
        for _ in 0..SHED_AT_ONCE {
            if self.latest.peek_lru().is_some_and(|(_, (_, bound))| bound.used < self.forgotten) {
                self.latest.pop_lru();
            }
            if self.others.peek_lru().is_some_and(|(_, bound)| bound.used < self.forgotten) {
                self.others.pop_lru();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, session};
    use super::*;

    const A: Slot = Slot::from_raw(0);
    const B: Slot = Slot::from_raw(1);
    const MODEL: Model = None;

    fn policy(max_sessions: usize) -> AffinityPolicy {
        AffinityPolicy {
            enabled: true,
            ttl: Duration::from_secs(100),
            secondary_ttl: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            max_sessions: NonZeroUsize::new(max_sessions).unwrap(),
        }
    }

    fn key(name: &str) -> SessionKey {
        session(None, Protocol::Anthropic, name)
    }

    fn found(sessions: &Sessions, key: SessionKey, now: Moment, policy: &AffinityPolicy) -> Option<Bond> {
        sessions.find(key, &MODEL, now, policy).next()
    }

    /// Once wrong: where one model's endpoint rested for it, the whole session moved, and the others lost their caches.
    #[test]
    fn each_model_of_a_session_is_bound_by_itself_and_a_new_one_begins_where_the_latest_is() {
        let policy = policy(10);
        let [opus, haiku, sonnet] = ["opus", "haiku", "sonnet"].map(|name| Some(Arc::from(name)));
        let mut sessions = Sessions::new(&policy);
        let bonds = |sessions: &Sessions, model: &Model, now| {
            sessions
                .find(key("s"), model, at(now), &policy)
                .map(|bond| (bond.endpoint, bond.has_served))
                .collect::<Vec<_>>()
        };
        sessions.bind(key("s"), &opus, A, at(0), &policy);
        sessions.used(key("s"), &opus, A, true, at(1));
        assert_eq!(bonds(&sessions, &haiku, 1), [(A, true)]);
        sessions.bind(key("s"), &haiku, B, at(2), &policy);
        assert_eq!(bonds(&sessions, &opus, 2), [(A, true), (B, false)]);
        assert_eq!(bonds(&sessions, &sonnet, 2), [(B, false)]);
        sessions.used(key("s"), &opus, A, true, at(50));
        sessions.used(key("s"), &haiku, A, true, at(60));
        assert_eq!(bonds(&sessions, &opus, 149), [(A, true)], "the latest has lapsed, and its own has not");
        assert_eq!(bonds(&sessions, &haiku, 149), []);
        sessions.bind(key("s"), &opus, A, at(100), &policy);
        assert_eq!((bonds(&sessions, &opus, 100), sessions.count(at(100), &policy)), (vec![(A, true)], 1));
        sessions.forget(A);
        assert_eq!((bonds(&sessions, &opus, 100), bonds(&sessions, &haiku, 100)), (vec![], vec![(B, false)]));
    }

    #[test]
    fn the_bonds_of_other_models_are_forgotten_with_time_too() {
        let policy = policy(10);
        let mut sessions = Sessions::new(&policy);
        for model in ["m1", "m2", "m3"] {
            sessions.bind(key("s"), &Some(Arc::from(model)), A, at(0), &policy);
        }
        assert_eq!((sessions.latest.len(), sessions.others.len()), (1, 2));
        sessions.bind(key("t"), &MODEL, A, at(101 + LONGEST_ATTEMPT.as_secs()), &policy);
        assert_eq!((sessions.latest.len(), sessions.others.len()), (1, 0));
    }

    #[test]
    fn a_session_stays_bound_until_it_was_idle_for_too_long() {
        let policy = policy(10);
        let mut sessions = Sessions::new(&policy);
        sessions.bind(key("s"), &MODEL, A, at(0), &policy);
        let bond = Bond { with: With::ThisModel, endpoint: A, idle: Duration::from_secs(99), has_served: false };
        assert_eq!(found(&sessions, key("s"), at(99), &policy), Some(bond));
        assert_eq!(found(&sessions, key("s"), at(100), &policy), None);
        sessions.used(key("s"), &MODEL, A, true, at(50));
        sessions.used(key("s"), &MODEL, B, true, at(90));
        assert!(found(&sessions, key("s"), at(149), &policy).is_some_and(|bond| bond.has_served));
        sessions.bind(key("s"), &MODEL, A, at(50), &policy);
        assert!(found(&sessions, key("s"), at(50), &policy).is_some_and(|bond| bond.has_served));
        sessions.bind(key("s"), &MODEL, B, at(50), &policy);
        assert!(found(&sessions, key("s"), at(50), &policy).is_some_and(|bond| !bond.has_served));
        assert!(found(&sessions, key("s"), at(150), &policy).is_none());
    }

    #[test]
    fn of_too_many_sessions_the_least_recently_used_is_forgotten() {
        let policy = policy(2);
        let mut sessions = Sessions::new(&policy);
        for name in ["s1", "s2", "s1", "s3"] {
            sessions.bind(key(name), &MODEL, A, at(0), &policy);
        }
        let known = ["s1", "s2", "s3"].map(|name| found(&sessions, key(name), at(0), &policy).is_some());
        assert_eq!((known, sessions.count(at(0), &policy)), ([true, false, true], 2));
        assert_eq!(Sessions::new(&policy).count(at(0), &policy), 0);
    }

    /// Once wrong: they were counted for as long as there was room for them.
    #[test]
    fn sessions_that_were_idle_for_too_long_do_not_count() {
        let policy = policy(10);
        let mut sessions = Sessions::new(&policy);
        for (name, now) in [("s1", 0), ("s2", 10), ("s3", 20)] {
            sessions.bind(key(name), &MODEL, A, at(now), &policy);
        }
        sessions.used(key("s1"), &MODEL, A, true, at(30));
        sessions.used(key("s2"), &MODEL, B, true, at(40));
        assert_eq!([109, 110, 120, 130].map(|now| sessions.count(at(now), &policy)), [3, 2, 1, 0]);
    }

    /// Once wrong: they left the table only where it was full, and each look at the count went through all of them.
    #[test]
    fn what_nothing_binds_any_more_leaves_the_table_as_others_come() {
        let policy = policy(1000);
        let mut sessions = Sessions::new(&policy);
        for number in 0..100 {
            sessions.bind(key(&format!("old {number}")), &MODEL, A, at(0), &policy);
        }
        let later = 100 + LONGEST_ATTEMPT.as_secs();
        sessions.bind(key("new 0"), &MODEL, A, at(later), &policy);
        assert_eq!(sessions.latest.len(), 101, "an attempt of each may be under way");
        for number in 1..=60 {
            sessions.bind(key(&format!("new {number}")), &MODEL, A, at(later + 1), &policy);
        }
        assert_eq!((sessions.latest.len(), sessions.count(at(later + 1), &policy)), (61, 61));
    }

    #[test]
    fn an_attempt_that_takes_longer_than_a_session_may_be_idle_keeps_it_bound_but_not_for_ever() {
        let policy = policy(10);
        let later = 100 + LONGEST_ATTEMPT.as_secs();
        for (ends, is_bound) in [(later, true), (later + 1, false)] {
            let mut sessions = Sessions::new(&policy);
            for name in ["s1", "s2", "s3", "s4"] {
                sessions.bind(key(name), &MODEL, A, at(0), &policy);
            }
            sessions.bind(key("other"), &MODEL, A, at(ends), &policy);
            // Of these the first two are out of the table, and the others not yet.
            for name in ["s1", "s2", "s3", "s4"] {
                sessions.used(key(name), &MODEL, A, true, at(ends));
                assert_eq!(found(&sessions, key(name), at(ends), &policy).is_some(), is_bound, "{name} at {ends}");
            }
            assert_eq!(sessions.count(at(ends), &policy), if is_bound { 5 } else { 1 });
        }
    }

    #[test]
    fn what_was_forgotten_stays_so_though_sessions_may_be_idle_for_longer_now() {
        let short = policy(10);
        let long = AffinityPolicy { ttl: Duration::from_hours(24), ..short };
        let later = 101 + LONGEST_ATTEMPT.as_secs();
        let mut sessions = Sessions::new(&short);
        for name in ["s1", "s2", "s3", "s4"] {
            sessions.bind(key(name), &MODEL, A, at(0), &short);
            sessions.used(key(name), &MODEL, A, true, at(0));
        }
        sessions.bind(key("other"), &MODEL, A, at(later), &short);
        for name in ["s1", "s4"] {
            assert_eq!(found(&sessions, key(name), at(later), &long), None, "{name}");
        }
        assert_eq!(sessions.count(at(later), &long), 1);
        sessions.bind(key("s4"), &MODEL, A, at(later), &long);
        assert!(
            found(&sessions, key("s4"), at(later), &long).is_some_and(|bond| !bond.has_served),
            "its cache is cold"
        );
    }

    #[test]
    fn of_a_key_no_more_is_shown_than_tells_it_from_others() {
        let [one, other] = ["s1", "s2"].map(|name| format!("{:?}", key(name)));
        assert!(one.starts_with("SessionKey(") && one.chars().count() == "SessionKey(1234…)".chars().count(), "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn a_session_is_its_clients_and_its_protocols_own() {
        let (alice, bob) = (ClientId::new("alice").unwrap(), ClientId::new("bob").unwrap());
        let keys = [
            session(None, Protocol::Anthropic, "s"),
            session(Some(&alice), Protocol::Anthropic, "s"),
            session(Some(&bob), Protocol::Anthropic, "s"),
            session(Some(&bob), Protocol::OpenAi, "s"),
            session(Some(&bob), Protocol::OpenAi, "t"),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(keys.iter().skip(index + 1).all(|other| other != key), "{index}");
        }
    }

    #[test]
    fn all_sessions_of_an_endpoint_can_be_forgotten() {
        let policy = policy(10);
        let mut sessions = Sessions::new(&policy);
        sessions.bind(key("s1"), &MODEL, A, at(0), &policy);
        sessions.bind(key("s2"), &MODEL, B, at(0), &policy);
        sessions.forget(A);
        assert_eq!(sessions.count(at(0), &policy), 1);
        assert!(found(&sessions, key("s2"), at(0), &policy).is_some());
    }
}
