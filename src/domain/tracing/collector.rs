//! Where traces go.

use std::fmt;

use crate::domain::base_url::{BaseUrl, InvalidBaseUrl, Origin};
use crate::domain::userinfo::Userinfo;

/// The path for OTLP traces, below a collector's base URL.
const TRACES: &str = "/v1/traces";

/// A collector's URL: its base, or that for its traces. It may hold a credential, so only its scheme, host and port are
/// ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Collector(BaseUrl);

impl Collector {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// [`InvalidBaseUrl`] if it is not a valid URL.
    pub fn parse(text: &str) -> Result<Self, InvalidBaseUrl> {
        BaseUrl::parse(text).map(Self)
    }

    /// Where connections go.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        self.0.origin()
    }

    /// The path to send traces to.
    #[must_use]
    pub fn target(&self) -> String {
        let own = self.0.target("");
        let target = if own.ends_with(TRACES) { own } else { self.0.target(TRACES) };
        target.into_owned()
    }

    /// The credential in the URL, if it has one.
    #[must_use]
    pub fn userinfo(&self) -> Option<&Userinfo> {
        self.0.userinfo()
    }
}

impl fmt::Display for Collector {
    /// Shows scheme, host and port only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin().fmt(f)
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_have_their_path_below_the_base() {
        for (url, target) in [
            ("http://collector:4318", "/v1/traces"),
            ("http://collector:4318/", "/v1/traces"),
            ("http://collector:4318/v1", "/v1/traces"),
            ("http://collector:4318/v1/traces", "/v1/traces"),
            ("https://user:pass@vendor.example/otlp", "/otlp/v1/traces"),
            ("https://vendor.example/otlp/v1/traces/", "/otlp/v1/traces"),
        ] {
            let collector = Collector::parse(url).unwrap();
            assert_eq!(collector.target(), target, "{url}");
            assert_eq!(format!("{collector:?}"), "Collector(hidden)");
        }
        let vendor = Collector::parse("https://user:pass@vendor.example:4318/key").unwrap();
        assert_eq!(vendor.to_string(), "https://vendor.example:4318");
        assert!(Collector::parse("collector:4317").is_err());
    }
}
