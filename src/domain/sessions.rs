//! Which endpoint a session is bound to. It stays there for the provider's prompt cache.

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

/// Identifies a client's session. Only a hash is kept, since the name may be anything that a client has put there.
///
/// The client is part of it, so that no client can steer another's sessions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(u64);

impl SessionKey {
    /// The key of the session of this name. `hashes` must be the same for all sessions of one registry, and have a secret key, so
    /// that nobody can find a name with the same hash as another's.
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

/// Where a request comes from, as far as can be told: from a session, or else only from itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A session that its client named.
    Session(SessionKey),
    /// A request without a session, with a number of its own.
    Request(u64),
}

impl Origin {
    /// The session, if there is one.
    #[must_use]
    pub const fn session(self) -> Option<SessionKey> {
        match self {
            Self::Session(key) => Some(key),
            Self::Request(_) => None,
        }
    }
}

/// How long sessions stay with their endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffinityPolicy {
    /// Whether they do at all.
    pub enabled: bool,
    /// Idle for this long, a session is forgotten.
    pub ttl: Duration,
    /// Idle for this long on a secondary, it goes back to the primaries.
    pub secondary_ttl: Duration,
    /// A session waits out a cooldown of its endpoint that is no longer than this.
    pub patience: Duration,
    /// The most sessions; beyond this the least recently used is forgotten.
    pub max_sessions: NonZeroUsize,
}

/// A model by the client's name; `None` if a request names none.
type Model = Option<Arc<str>>;

/// The endpoint that a session is bound to, and since when it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    endpoint: Slot,
    used: Moment,
    has_served: bool,
}

/// Which model's cache a bond is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// That of the requested model.
    ThisModel,
    /// That of the session's latest model, which is another one.
    AnotherModel,
}

/// A session's bond, as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bond {
    /// Which model's cache it is for.
    pub with: With,
    /// The endpoint that it is bound to.
    pub endpoint: Slot,
    /// For how long it has been idle.
    pub idle: Duration,
    /// Whether the session was ever served there: only then is there a cache worth waiting for.
    pub has_served: bool,
}

/// For how long a session is still remembered after it was idle for too long: an attempt of it may still be under way, and when
/// that ends the session is bound as before. No answer takes that long.
const LONGEST_ATTEMPT: Duration = Duration::from_hours(1);

/// How many bonds are removed from a table at a time: more than come in, but so few that nothing waits for it.
const SHED_AT_ONCE: usize = 2;

/// All bound sessions. Each model of a session is bound separately, as caches are separate: if the endpoint rests for one of the
/// models, the others stay. A model that is new to the session may begin where its latest model is bound.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// Each session's latest bond, with its model.
    latest: LruCache<SessionKey, (Model, Bound)>,
    /// The bonds for a session's other models, if it has several.
    others: LruCache<(SessionKey, Model), Bound>,
    /// Bonds last used before this are forgotten, though they may still be in a table, whatever the settings say later.
    forgotten: Moment,
}

impl Sessions {
    /// An empty table.
    #[must_use]
    pub fn new(policy: &AffinityPolicy) -> Self {
        // Unbounded at first, so that the tables grow with the sessions and are not allocated for the most that there may be.
        let (latest, others) = (LruCache::unbounded(), LruCache::unbounded());
        let mut sessions = Self { latest, others, forgotten: Moment::START };
        sessions.resize(policy);
        sessions
    }

    /// Takes over another bound. If it is lower, the least recently used sessions are forgotten.
    pub fn resize(&mut self, policy: &AffinityPolicy) {
        self.latest.resize(policy.max_sessions);
        self.others.resize(policy.max_sessions);
    }

    /// The bond of a session for this model, then that for its latest model, which counts if the first does not.
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

    /// Binds a session with this model, or keeps it bound. Bonds that have been idle for so long that nothing revives them are
    /// forgotten.
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

    /// Notes that a session has used its endpoint with this model until now, if it is still bound there, and whether it was
    /// served.
    pub fn used(&mut self, key: SessionKey, model: &Model, endpoint: Slot, was_served: bool, now: Moment) {
        let forgotten = self.forgotten;
        let is_it = |bound: &Bound| bound.endpoint == endpoint && bound.used >= forgotten;
        // Peeking keeps its place in the order of use.
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

    /// Forgets all bonds to endpoints that are gone. It looks at every session once, however many endpoints these are.
    pub fn forget(&mut self, is_gone: impl Fn(Slot) -> bool) {
        let theirs = self.latest.iter().filter(|(_, (_, bound))| is_gone(bound.endpoint));
        for key in theirs.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.latest.pop(&key);
        }
        let theirs = self.others.iter().filter(|(_, bound)| is_gone(bound.endpoint));
        for key in theirs.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.others.pop(&key);
        }
    }

    /// How many sessions are bound, without those idle for too long.
    #[must_use]
    pub fn count(&self, now: Moment, policy: &AffinityPolicy) -> usize {
        // The least recently used come last.
        let has_lapsed = |bound: &Bound| now.since(bound.used) >= policy.ttl || bound.used < self.forgotten;
        let lapsed = self.latest.iter().rev().take_while(|(_, (_, bound))| has_lapsed(bound)).count();
        self.latest.len() - lapsed
    }

    /// Removes some forgotten bonds. Each use makes a bond the most recently used, so in `latest` the forgotten ones come last.
    /// In `others` they may come before some that are not, and go a little later.
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
mod tests;
