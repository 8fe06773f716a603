//! The credential in a URL: `user:password` before its host (RFC 3986, section 3.2.1), for basic authentication (RFC 7617).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

use super::secret::Secret;

/// A URL's userinfo, in the forms in which it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Userinfo {
    written: Secret,
    password: Secret,
    credentials: Secret,
}

impl Userinfo {
    /// The userinfo of a URL, if it has one.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let (user, password) = (url.username(), url.password().unwrap_or_default());
        if (user, url.password()) == ("", None) {
            return None;
        }
        let written = format!("{user}:{password}");
        let decoded: Vec<u8> = percent_decode_str(&written).collect();
        let secret = if password.is_empty() { user } else { password };
        Some(Self {
            password: Secret::new(&percent_decode_str(secret).decode_utf8_lossy()),
            credentials: Secret::new(&STANDARD.encode(decoded)),
            written: Secret::new(&written),
        })
    }

    /// `user:password` as written in the URL, percent-encoded.
    #[must_use]
    pub fn written(&self) -> &Secret {
        &self.written
    }

    /// The password, decoded; without one the user, which may be a token.
    #[must_use]
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// The form for basic authentication: what follows `Basic ` in the value of `authorization`.
    #[must_use]
    pub fn credentials(&self) -> &Secret {
        &self.credentials
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_decoded_before_it_is_sent() {
        for (url, written, password, credentials) in [
            ("http://user:pass%2Fword@a", "user:pass%2Fword", "pass/word", "dXNlcjpwYXNzL3dvcmQ="),
            ("http://token@a", "token:", "token", "dG9rZW46"),
            ("http://:hunter2@a", ":hunter2", "hunter2", "Omh1bnRlcjI="),
        ] {
            let userinfo = Userinfo::of(&Url::parse(url).unwrap()).unwrap();
            assert_eq!(userinfo.written().expose(), written);
            assert_eq!(userinfo.password().expose(), password);
            assert_eq!(userinfo.credentials().expose(), credentials);
            assert!(!format!("{userinfo:?}").contains(password));
        }
        assert_eq!(Userinfo::of(&Url::parse("http://a").unwrap()), None);
    }
}
