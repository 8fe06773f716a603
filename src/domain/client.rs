//! Who may use the gateway, and by which keys.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::ids::{ClientId, ProfileId};

/// The SHA-256 of a key. The key itself is kept nowhere.
///
/// Comparison takes the same time wherever two digests differ, and `Debug` shows nothing.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The digest as 64 hexadecimal digits, the form that the settings accept.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads a digest from 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Whether `key` is the key of this digest, in constant time.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        *self == Self::of(key)
    }

    /// Whether it is one of these; takes the same time whichever it is.
    #[must_use]
    pub fn is_among(&self, digests: &[Self]) -> bool {
        digests.iter().fold(Choice::from(0), |is_there, digest| is_there | digest.0.ct_eq(&self.0)).into()
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(hidden)")
    }
}

/// Whoever holds one of a set of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub id: ClientId,
    /// Its profile, which names the endpoints that serve it.
    pub profile: ProfileId,
    /// The team for which its usage is counted too.
    pub team: Option<String>,
    /// Its keys, each of which admits it. There are several while one is being replaced. Never empty.
    pub keys: Vec<KeyDigest>,
    /// Whether its keys are accepted.
    pub enabled: bool,
    /// When its keys cease to be accepted, as the time since 1970; `None` for never.
    pub expires: Option<Duration>,
    /// The most requests that it may have under way; `None` for no limit.
    pub max_in_flight: Option<NonZeroU32>,
}

impl Client {
    /// Whether its keys are no longer accepted at `now`, the time since 1970.
    #[must_use]
    pub fn is_expired(&self, now: Duration) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_matches_its_own_key_only_and_shows_nothing() {
        let digest = KeyDigest::of("abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Some(digest), KeyDigest::from_hex(hex));
        assert_eq!(Some(digest), KeyDigest::from_hex(&hex.to_uppercase()));
        assert_eq!(digest.to_hex(), hex);
        assert!(digest.matches("abc"));
        assert!(!digest.matches("abd"));
        assert!(digest.is_among(&[KeyDigest::of("abd"), digest]));
        assert!(!digest.is_among(&[KeyDigest::of("abd")]) && !digest.is_among(&[]));
        assert_eq!(format!("{digest:?}"), "KeyDigest(hidden)");
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        for text in ["", "ba78", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            assert_eq!(KeyDigest::from_hex(text), None, "{text}");
        }
    }
}
