//! Names and numbers that must not be confused with one another.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest id that the settings accept, in characters.
pub const MAX_ID_LENGTH: usize = 64;

/// The error for a text that is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is [a-z0-9]+([_-][a-z0-9]+)* of at most {MAX_ID_LENGTH} characters")]
pub struct InvalidId;

fn is_id(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= MAX_ID_LENGTH && text.split(['_', '-']).all(part)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Makes an id of a text.
            ///
            /// # Errors
            ///
            /// [`InvalidId`] if the text is not an id.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) { Ok(Self(Arc::from(text))) } else { Err(InvalidId) }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

id! {
    /// The name of an endpoint: one upstream LLM service.
    EndpointId
}
id! {
    /// The name of a profile: a set of endpoints that serve the same clients.
    ProfileId
}
id! {
    /// The name of a client: whoever holds one of its keys.
    ClientId
}

impl Default for ProfileId {
    /// The profile that applies if none is named.
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}

/// A number that an endpoint gets anew with each change of its standing, its home queue, or the service behind it
/// ([`Endpoint::same_service`](super::endpoint::Endpoint::same_service)). A changed weight or model list keeps the
/// epoch. It is never used twice in a process, so news that carries another epoch than the endpoint's own is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch before the first one: no endpoint has it.
    pub const NONE: Self = Self(0);

    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The bare number, for an atomic or a display.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The epoch with this bare number.
    #[must_use]
    pub const fn from_raw(number: u64) -> Self {
        Self(number)
    }
}

/// The number of one lease, never used twice in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(u64);

impl Serial {
    /// The serial with this bare number.
    #[must_use]
    pub const fn from_raw(number: u64) -> Self {
        Self(number)
    }

    /// The serial after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Identifies the attempt in a report: its lease, the endpoint, and the endpoint's epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The endpoint that the attempt was for.
    pub endpoint: EndpointId,
    /// The endpoint's epoch when the lease was granted.
    pub epoch: Epoch,
    /// The lease's own number.
    pub serial: Serial,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_words_joined_by_single_dashes_or_underscores() {
        for good in ["main", "a", "0", "relay-2", "a_b-c", &"x".repeat(MAX_ID_LENGTH)] {
            assert!(EndpointId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Main", "-a", "a-", "a--b", "a_-b", "a.b", "a b", "ä", &"x".repeat(MAX_ID_LENGTH + 1)] {
            assert!(EndpointId::new(bad).is_err(), "{bad}");
        }
    }
}
