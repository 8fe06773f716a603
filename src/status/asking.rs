//! Asking a running gateway for its stats.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use actix_web::http::{Method, StatusCode};
use bytes::Bytes;
use serde::Deserialize;

use super::paint::harmless;
use super::view::View;
use crate::domain::base_url::BaseUrl;
use crate::domain::request_body::RequestBody;
use crate::domain::secret::Secret;
use crate::upstream::{Client, FetchError, Fetched, HeaderLines, Limits, Request};

/// How long a gateway may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The longest stats that are read, in bytes.
const LONGEST_STATS: usize = 64 << 20;

/// Why there are no stats.
#[derive(Debug, thiserror::Error)]
pub enum NoStats {
    /// Nobody answers.
    #[error("no answer from {url}: {error}; does the gateway run, with the same settings?")]
    NoAnswer {
        /// The URL that was asked.
        url: String,
        /// What happened.
        error: FetchError,
    },
    /// It wants a token, and none was known.
    #[error(
        "the gateway at {url} wants a token: set QCC_READ_TOKEN or QCC_ADMIN_TOKEN, or name the variable that holds it \
         with --token-env"
    )]
    TokenWanted {
        /// The URL that was asked.
        url: String,
    },
    /// It does not know the token.
    #[error("the gateway at {url} does not know the token; --token-env names the variable that holds the right one")]
    WrongToken {
        /// The URL that was asked.
        url: String,
    },
    /// It refuses to tell.
    #[error("the gateway at {url} refuses: {error}")]
    Forbidden {
        /// The URL that was asked.
        url: String,
        /// What it says.
        error: String,
    },
    /// Something else answers.
    #[error(
        "what answers at {url} is no qcc-gateway, or not the address of its own routes (HTTP {status}); see admin.listen, \
         or name it with --url"
    )]
    NoGateway {
        /// The URL that was asked.
        url: String,
        /// The status of its answer.
        status: StatusCode,
    },
}

/// A gateway's own word for why it refuses.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    url: BaseUrl,
    token: Option<Secret>,
    client: Client,
}

impl Gateway {
    /// A gateway whose own routes are at this URL, and a token that it may require.
    pub fn new(url: BaseUrl, token: Option<Secret>, tls: Arc<rustls::ClientConfig>) -> Self {
        Self { url, token, client: Client::new(tls, Limits::default()) }
    }

    /// Asks for its stats, and returns them as they came and parsed.
    ///
    /// # Errors
    ///
    /// [`NoStats`].
    pub async fn stats(&self) -> Result<(Bytes, View), NoStats> {
        let mut headers = HeaderLines::default();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let bearer =
            self.token.as_ref().and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok());
        if let Some(mut bearer) = bearer {
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let request = Request {
            origin: self.url.origin(),
            method: Method::GET,
            target: self.url.target("/__qcc__/stats"),
            headers,
            body: RequestBody::default(),
            resend_stale: true,
        };
        match self.client.fetch(request, LONGEST_STATS, TIMEOUT).await {
            Ok(answer) => self.read(answer),
            Err(error) => Err(NoStats::NoAnswer { url: self.url.to_string(), error }),
        }
    }

    fn read(&self, Fetched { status, body }: Fetched) -> Result<(Bytes, View), NoStats> {
        let url = self.url.to_string();
        let refusal = || serde_json::from_slice(&body).map(|Refusal { error }| harmless(&error));
        match (status, refusal()) {
            (StatusCode::OK, _) => match View::read(&body) {
                Ok(view) => Ok((body, view)),
                Err(_) => Err(NoStats::NoGateway { url, status }),
            },
            (StatusCode::UNAUTHORIZED, Ok(_)) if self.token.is_none() => Err(NoStats::TokenWanted { url }),
            (StatusCode::UNAUTHORIZED, Ok(_)) => Err(NoStats::WrongToken { url }),
            (StatusCode::FORBIDDEN, Ok(error)) => Err(NoStats::Forbidden { url, error }),
            _ => Err(NoStats::NoGateway { url, status }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::tls::{Authorities, client_config};

    #[test]
    fn what_somebody_else_says_moves_no_cursor() {
        let url = BaseUrl::parse("http://localhost:7860").unwrap();
        let gateway = Gateway::new(url, None, client_config(&Authorities::default()).unwrap());
        let body = Bytes::from_static(br#"{"error":"no\u001b[2J\r\nyes\u009b"}"#);
        let refused = gateway.read(Fetched { status: StatusCode::FORBIDDEN, body }).unwrap_err().to_string();
        assert_eq!(refused, "the gateway at http://localhost:7860 refuses: no\u{fffd}[2J\u{fffd}\u{fffd}yes\u{fffd}");
    }
}
