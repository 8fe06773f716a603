//! Requests as clients send them.

use std::fmt::Write as _;

use dialogue::api::Api;
use dialogue::client::SESSION_DIGITS;

use crate::options::Options;

/// One connection's request: its bytes, in which the session changes from one sending to the next.
pub struct Request {
    bytes: Vec<u8>,
    session_at: Option<usize>,
    sessions: usize,
    next: usize,
}

impl Request {
    /// The request of the connection with this number.
    pub fn new(options: &Options, connection: usize) -> Self {
        let api = options.api;
        let body = api.body(options.body, options.mode.is_streamed(), options.sessions > 0);
        // A proxy that writes answers anew may compress them, and they are not looked into then.
        let encodings = if options.is_lenient { "identity" } else { "gzip, deflate, br, zstd" };
        let (query, credential, further) = match api {
            Api::Messages => ("?beta=true", "x-api-key: ", "anthropic-version: 2023-06-01\r\nx-app: cli\r\n"),
            Api::Chat => ("", "authorization: Bearer ", ""),
        };
        let mut head = format!(
            "POST {}{} HTTP/1.1\r\nhost: {}\r\nuser-agent: loadgen/0.0 (external, bench)\r\naccept: application/json\r\naccept-encoding: {}\r\ncontent-type: application/json\r\n{}{}\r\n{}x-stainless-retry-count: 0\r\nx-stainless-timeout: 600\r\n{}",
            api.path(),
            query,
            options.address,
            encodings,
            credential,
            options.key,
            further,
            options.headers
        );
        if options.mode.is_streamed() {
            let _ =
                write!(head, "x-mock-events: {}\r\nx-mock-delay-us: {}\r\n", options.events, options.delay.as_micros());
        }
        let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
        let session_at = body.find(api.session_mark()).map(|at| head.len() + at + api.session_mark().len());
        let bytes = [head.into_bytes(), body.into_bytes()].concat();
        // Connections begin far from each other, so that a session is seldom on two of them at a time.
        let next = connection * 61;
        Self { bytes, session_at, sessions: options.sessions, next }
    }

    /// The next request's bytes.
    pub fn next(&mut self) -> &[u8] {
        if let Some(at) = self.session_at {
            let session = format!("{:0width$}", self.next % self.sessions, width = SESSION_DIGITS);
            self.bytes[at..at + SESSION_DIGITS].copy_from_slice(session.as_bytes());
            self.next += 1;
        }
        &self.bytes
    }
}
