//! The names of headers that are read or written for every request. As constants they need not be parsed again each time.

use actix_web::http::header::{HeaderName, HeaderValue};

pub(super) const ATTEMPTS: HeaderName = HeaderName::from_static("x-qcc-attempts");
pub(super) const ENDPOINT: HeaderName = HeaderName::from_static("x-qcc-endpoint");
pub(super) const ESTIMATED: HeaderName = HeaderName::from_static("x-qcc-estimated");
/// The client's key, in the header that is the gateway's alone.
pub(super) const GATEWAY_KEY: HeaderName = HeaderName::from_static("x-qcc-key");
/// The request's id on answers.
pub(super) const OWN_REQUEST_ID: HeaderName = HeaderName::from_static("x-qcc-request-id");
pub(super) const TRAIL: HeaderName = HeaderName::from_static("x-qcc-trail");

/// Makes proxies between here and the client pass events on at once.
pub(super) const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// How long an SDK waits: the header of most SDKs, and the one of `OpenAI`'s for Python, which is for the next piece (an
/// answer that is not streamed has one).
pub(super) const CLIENT_TIMEOUTS: [HeaderName; 2] =
    [HeaderName::from_static("x-stainless-timeout"), HeaderName::from_static("x-stainless-read-timeout")];
/// A request's id, from clients and from upstreams.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// The names of a session, in order of precedence.
pub(super) const SESSIONS: [HeaderName; 2] =
    [HeaderName::from_static("x-claude-code-session-id"), HeaderName::from_static("x-conversation-id")];
/// The name of a session if neither these nor the body give one. `OpenCode` sends it.
pub(super) const AFFINITY: HeaderName = HeaderName::from_static("x-session-affinity");

/// Tell browsers where to report what happens to their requests, and for which host.
pub(super) const NEL: HeaderName = HeaderName::from_static("nel");
pub(super) const REPORT_TO: HeaderName = HeaderName::from_static("report-to");
pub(super) const REPORTING_ENDPOINTS: HeaderName = HeaderName::from_static("reporting-endpoints");

/// Whether a client's library may try again by itself. Anthropic's API sends it, and its SDKs and `OpenAI`'s heed it.
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// `retry-after` in milliseconds, which SDKs read first.
pub(super) const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// What browsers say of a request (Fetch Metadata).
pub(super) const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
pub(super) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The content types of what is passed on in another form than it came.
pub(super) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
