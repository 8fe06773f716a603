//! Where notices go: the receiver's URL, which may itself be a credential, and the key that signs what is posted.

use std::collections::BTreeSet;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;

use super::base_url::{InvalidBaseUrl, Origin};
use super::notice::NoticeKind;
use super::secret::Secret;
use super::userinfo::Userinfo;

/// The header that holds the signature.
pub const SIGNATURE: &str = "x-qcc-signature";

/// A receiver of notices, and the notices that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where notices are posted.
    pub receiver: Receiver,
    /// The key that signs them; `None` if they are not signed.
    pub secret: Option<Secret>,
    /// The kinds of notices that are sent.
    pub events: BTreeSet<NoticeKind>,
}

impl Webhook {
    /// The value of [`SIGNATURE`] for exactly these bytes: `sha256=` and the HMAC-SHA256 in hexadecimal digits. `None` without
    /// a key.
    #[must_use]
    pub fn signature(&self, body: &[u8]) -> Option<String> {
        let secret = self.secret.as_ref()?;
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
        mac.update(body);
        Some(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
    }
}

/// A receiver's URL. Only its scheme, host and port are ever shown: a webhook's path and query are often its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Receiver {
    origin: Origin,
    target: Secret,
    userinfo: Option<Userinfo>,
}

impl Receiver {
    /// Reads an http or https URL. A fragment, which is never sent to a server, is left out.
    ///
    /// # Errors
    ///
    /// [`InvalidBaseUrl`] if it is not one; the error never repeats the text.
    pub fn parse(text: &str) -> Result<Self, InvalidBaseUrl> {
        let url = Url::parse(text).map_err(|error| InvalidBaseUrl::Unparsable(error.to_string()))?;
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self { origin: Origin::of(&url)?, target: Secret::new(&target), userinfo: Userinfo::of(&url) })
    }

    /// Where connections go.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &Secret {
        &self.target
    }

    /// The credential in the URL, if it has one.
    #[must_use]
    pub fn userinfo(&self) -> Option<&Userinfo> {
        self.userinfo.as_ref()
    }
}

impl fmt::Display for Receiver {
    /// Only scheme, host and port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin.fmt(f)
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(secret: Option<&str>) -> Webhook {
        Webhook {
            receiver: Receiver::parse("https://user:hunter2@hooks.example/services/hunter2?token=hunter2#hunter2")
                .unwrap(),
            secret: secret.map(Secret::new),
            events: BTreeSet::from([NoticeKind::NothingUsable]),
        }
    }

    #[test]
    fn a_body_is_signed_by_hmac_sha256() {
        // RFC 4231, section 4.3.
        let signature = webhook(Some("Jefe")).signature(b"what do ya want for nothing?").unwrap();
        assert_eq!(signature, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(webhook(None).signature(b"x"), None);
    }

    #[test]
    fn of_a_receiver_only_scheme_host_and_port_are_shown() {
        let webhook = webhook(Some("hunter2"));
        assert_eq!(webhook.receiver.to_string(), "https://hooks.example");
        assert!(!format!("{webhook:?}").contains("hunter2"), "{webhook:?}");
    }

    #[test]
    fn a_receivers_path_and_query_are_kept_to_the_byte_and_its_fragment_is_not() {
        let target = |text: &str| Receiver::parse(text).map(|receiver| receiver.target().expose().to_owned());
        for (text, expected) in [
            ("http://a", "/"),
            ("http://a/b/", "/b/"),
            ("http://a/b%2fc?d=e&f", "/b%2fc?d=e&f"),
            ("http://a?b", "/?b"),
            ("http://a/b#c", "/b"),
        ] {
            assert_eq!(target(text).unwrap(), expected, "{text}");
        }
        for text in ["", "a", "ftp://a", "http://", "mailto:a@b"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
