//! Where an endpoint is: a URL, to which each request's path is appended.

use std::borrow::Cow;
use std::fmt;

use url::Url;

use super::userinfo::Userinfo;

/// The transport below HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme as written in a URL.
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
    /// Scheme, host and port as written in a URL.
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
    /// [`InvalidBaseUrl`] if it is neither http nor https, or names no host.
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

    /// The host between its brackets, for use where a port may follow: only an IPv6 address has them.
    pub fn bracketed_host(&self) -> [&str; 3] {
        let host = self.host.as_str();
        if host.contains(':') { ["[", host, "]"] } else { ["", host, ""] }
    }

    /// The port, if it is not the scheme's default and so has to be named.
    pub fn named_port(&self) -> Option<u16> {
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => None,
            (Scheme::Http | Scheme::Https, port) => Some(port),
        }
    }
}

/// Why a text is not a base URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBaseUrl {
    /// It can't be parsed.
    #[error("not a URL: {0}")]
    Unparsable(String),
    /// A scheme other than http or https.
    #[error("the scheme must be http or https")]
    Scheme,
    /// No host.
    #[error("it names no host")]
    NoHost,
    /// A query or a fragment, to which no path can be appended.
    #[error("a query or a fragment has no place in a base URL, to which the request's path is appended")]
    Trailing,
}

/// An endpoint's base URL: an origin, and a path to which the request's own path is appended.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    origin: Origin,
    /// Without a trailing slash.
    path: String,
    userinfo: Option<Userinfo>,
}

impl BaseUrl {
    /// Reads a base URL.
    ///
    /// # Errors
    ///
    /// [`InvalidBaseUrl`] if it is not one; the error never repeats the text, which may hold a credential.
    pub fn parse(text: &str) -> Result<Self, InvalidBaseUrl> {
        let url = Url::parse(text).map_err(|error| InvalidBaseUrl::Unparsable(error.to_string()))?;
        let origin = Origin::of(&url)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidBaseUrl::Trailing);
        }
        Ok(Self { origin, path: url.path().trim_end_matches('/').to_owned(), userinfo: Userinfo::of(&url) })
    }

    /// Where connections go.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path that precedes the request's own, without a trailing slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The credential in the URL, if it has one.
    #[must_use]
    pub fn userinfo(&self) -> Option<&Userinfo> {
        self.userinfo.as_ref()
    }

    /// The request target for a client's path and query, which are appended byte for byte; but a base that ends in a version
    /// (`/v1`, `/v3`, …) replaces the path's own `/v1`.
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
        assert_eq!(url.userinfo().unwrap().written().expose(), "user:hunter2");
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
}
