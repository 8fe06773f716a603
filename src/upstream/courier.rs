//! Posts notices to a webhook's receiver.

use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use bytes::Bytes;
use futures_util::StreamExt;

use super::body::Body;
use super::client::{AGENT, Always, Client, Request};
use super::error::SendError;
use super::lines::HeaderLines;
use super::request::insert_basic;
use crate::clock::Clock;
use crate::domain::limits::Limits;
use crate::domain::webhook::{SIGNATURE, Webhook};

/// The longest time for name, connection and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time for a whole exchange.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many bytes of an answer are read, so that its connection can be used again; the text is ignored.
const MAX_ANSWER: usize = 16 * 1024;

/// What a receiver answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its status.
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// Why a receiver did not answer.
#[derive(Debug, thiserror::Error)]
pub enum NoReceipt {
    /// There is no answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It takes too long.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
}

/// Posts notices, by a client of its own.
#[derive(Debug)]
pub struct Courier {
    client: Client,
}

impl Courier {
    /// A courier with a client of its own, so that it shares no connection with traffic.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Posts a body, signed if there is a key, and waits for the answer's head. Redirects are not followed.
    ///
    /// # Errors
    ///
    /// [`NoReceipt`]; the notice may have arrived all the same.
    pub async fn post(&self, webhook: &Webhook, body: Bytes, clock: Clock) -> Result<Receipt, NoReceipt> {
        let mut headers = HeaderLines::default();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(signature) = webhook.signature(&body).and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(HeaderName::from_static(SIGNATURE), signature);
        }
        if let Some(userinfo) = webhook.receiver.userinfo() {
            insert_basic(&mut headers, userinfo);
        }
        let request = Request {
            origin: webhook.receiver.origin(),
            method: Method::POST,
            target: webhook.receiver.target().expose().into(),
            headers,
            body: body.into(),
            // A notice that comes twice has the same id.
            resend_stale: true,
        };
        let mut receipt = None;
        let exchange = async {
            let response = self.client.send(request, &Always, CONNECT_TIMEOUT).await?;
            let headers = response.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            let retry_after = Limits::of(headers, clock.since_1970()).retry_after();
            let known = *receipt.insert(Receipt { status: response.status.as_u16(), retry_after });
            read_away(response.body).await;
            Ok(known)
        };
        let ended = tokio::time::timeout(TIMEOUT, exchange).await;
        match (ended, receipt) {
            (Ok(answer), _) => answer,
            // The head has said everything.
            (Err(_), Some(receipt)) => Ok(receipt),
            (Err(_), None) => Err(NoReceipt::TimedOut),
        }
    }
}

/// Reads a short body to its end, so that its connection can be used again; a longer one closes it.
async fn read_away(mut body: Body) {
    let mut read = 0;
    while let Some(Ok(piece)) = body.next().await {
        read += piece.len();
        if read > MAX_ANSWER {
            return;
        }
    }
}
