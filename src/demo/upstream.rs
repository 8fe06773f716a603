//! The demonstration's upstreams: small servers on loopback that speak the Anthropic protocol, can be broken and mended, and
//! keep their own count of what reaches them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, USER_AGENT};
use actix_web::web::{self, Bytes, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use futures_util::stream;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;

use super::answer::{Answer, Question};
use crate::clock::Clock;
use crate::domain::endpoint::Home;

/// How long an upstream thinks before it answers.
const THINKING: Duration = Duration::from_millis(80);
/// The time between two pieces of a streamed answer.
const BETWEEN_PIECES: Duration = Duration::from_millis(4);
/// The largest request that is read, in bytes: the Messages API's own limit.
const MAX_REQUEST: usize = 32 << 20;
/// How long idle connections are kept. The gateway keeps them for less.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How the agent name of the gateway's verifications begins; traffic carries the client's own agent.
const VERIFIER: &str = "qcc-gateway/";

/// One of the three upstreams, as the gateway sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role {
    /// Its id in the gateway's settings.
    pub(super) name: &'static str,
    /// Its home queue.
    pub(super) home: Home,
    /// The key that it wants to see.
    pub(super) key: &'static str,
}

/// All upstreams. The keys are no secrets: what they open is on loopback, and answers with one sentence.
pub(super) const ROLES: [Role; 3] = [
    Role { name: "north", home: Home::Primary, key: "demo-key-of-north" },
    Role { name: "south", home: Home::Primary, key: "demo-key-of-south" },
    Role { name: "spare", home: Home::Secondary, key: "demo-key-of-spare" },
];

/// What an upstream reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A verification by the gateway has come.
    Verification,
    /// Any other request has come.
    Traffic,
    /// A proper answer to a verification is about to go out. Nobody can consider the upstream mended before that.
    Proof,
}

/// What has happened at an upstream. Each of them reports in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    /// The upstream.
    pub(super) upstream: &'static str,
    /// When it happened.
    pub(super) at: SystemTime,
    /// What happened.
    pub(super) occasion: Occasion,
}

/// What an upstream's server knows.
#[derive(Debug)]
struct Book {
    role: Role,
    broken: AtomicBool,
    clock: Clock,
    reports: UnboundedSender<Report>,
}

impl Book {
    fn report(&self, occasion: Occasion) {
        let at = self.clock.time_of_day(self.clock.now());
        // Nobody counts any more once the demonstration has ended.
        let _ = self.reports.send(Report { upstream: self.role.name, at, occasion });
    }
}

/// A running upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) role: Role,
    address: SocketAddr,
    book: Arc<Book>,
    server: ServerHandle,
}

impl Upstream {
    /// Starts an upstream on a free port of loopback. It reports each request before it answers it.
    pub(super) fn start(role: Role, clock: Clock, reports: UnboundedSender<Report>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let book = Arc::new(Book { role, broken: AtomicBool::new(false), clock, reports });
        let shared = Data::from(Arc::clone(&book));
        let server = HttpServer::new(move || App::new().app_data(shared.clone()).default_service(web::to(serve)))
            .workers(1)
            .keep_alive(KEEP_ALIVE)
            .tcp_nodelay(true)
            .disable_signals()
            .listen(listener)?
            .run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(Self { role, address, book, server: handle })
    }

    /// The base URL to reach it by.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its home queue's name.
    pub(super) fn queue(&self) -> &'static str {
        match self.role.home {
            Home::Primary => "primary",
            Home::Secondary => "secondary",
        }
    }

    /// Makes it answer 500 to everything from now on.
    pub(super) fn break_down(&self) {
        self.book.broken.store(true, Ordering::Release);
    }

    /// Makes it answer properly from now on.
    pub(super) fn mend(&self) {
        self.book.broken.store(false, Ordering::Release);
    }

    /// Ends it, together with its connections.
    pub(super) async fn stop(self) {
        self.server.stop(false).await;
    }
}

async fn serve(request: HttpRequest, payload: Payload, book: Data<Book>) -> HttpResponse {
    // Reported at the head, so that a request counts even if its body never comes whole.
    let occasion = occasion(request.headers());
    book.report(occasion);
    let id = format!("req_{:016x}", fastrand::u64(..));
    let body = match payload.to_bytes_limited(MAX_REQUEST).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return refusal(StatusCode::BAD_REQUEST, "invalid_request_error", &error.to_string(), &id),
        Err(_) => {
            return refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                "Request exceeds the maximum size",
                &id,
            );
        }
    };
    if book.broken.load(Ordering::Acquire) {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "api_error", "Internal server error", &id);
    }
    if !shows_key(request.headers(), book.role.key) {
        return refusal(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key", &id);
    }
    match (request.method().as_str(), request.path()) {
        ("POST", "/v1/messages") => messages(request.headers(), occasion, &body, &book, &id).await,
        ("POST", "/v1/messages/count_tokens") => match Question::read(&body) {
            Ok(question) => with_id(&id).json(json!({ "input_tokens": question.input_tokens })),
            Err(fault) => refusal(StatusCode::BAD_REQUEST, "invalid_request_error", &fault, &id),
        },
        ("GET", "/v1/models") => {
            let model = json!({"type": "model", "id": super::client::MODEL, "display_name": "Demonstration",
                "created_at": "2026-01-01T00:00:00Z"});
            let (first, last) = (super::client::MODEL, super::client::MODEL);
            with_id(&id).json(json!({"data": [model], "has_more": false, "first_id": first, "last_id": last}))
        }
        _ => refusal(StatusCode::NOT_FOUND, "not_found_error", "Not found", &id),
    }
}

async fn messages(headers: &HeaderMap, occasion: Occasion, body: &Bytes, book: &Book, id: &str) -> HttpResponse {
    let bad = |fault: &str| refusal(StatusCode::BAD_REQUEST, "invalid_request_error", fault, id);
    if !headers.contains_key("anthropic-version") {
        return bad("anthropic-version: header is required");
    }
    let question = match Question::read(body) {
        Ok(question) => question,
        Err(fault) => return bad(&fault),
    };
    let streamed = question.streamed;
    let answer = match question.answer(book.role.name, format!("msg_{:016x}", fastrand::u64(..))) {
        Ok(answer) => answer,
        Err(fault) => return bad(&fault),
    };
    tokio::time::sleep(THINKING).await;
    match occasion {
        Occasion::Verification => book.report(Occasion::Proof),
        Occasion::Traffic | Occasion::Proof => {}
    }
    if streamed { stream_out(&answer, id) } else { with_id(id).json(answer.message()) }
}

fn stream_out(answer: &Answer, id: &str) -> HttpResponse {
    let pieces = stream::unfold(answer.events().into_iter(), |mut events| async {
        let event = events.next()?;
        tokio::time::sleep(BETWEEN_PIECES).await;
        Some((Ok::<_, actix_web::Error>(Bytes::from(event)), events))
    });
    let mut response = with_id(id);
    response.content_type("text/event-stream; charset=utf-8").insert_header((CACHE_CONTROL, "no-cache"));
    response.streaming(Box::pin(pieces))
}

fn with_id(id: &str) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header(("request-id", id));
    response
}

fn refusal(status: StatusCode, kind: &str, message: &str, id: &str) -> HttpResponse {
    HttpResponse::build(status).insert_header(("request-id", id)).json(json!({
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": id,
    }))
}

fn occasion(headers: &HeaderMap) -> Occasion {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    if agent.is_some_and(|agent| agent.starts_with(VERIFIER)) { Occasion::Verification } else { Occasion::Traffic }
}

fn shows_key(headers: &HeaderMap, key: &str) -> bool {
    let text = |name| headers.get(name).and_then(|value: &actix_web::http::header::HeaderValue| value.to_str().ok());
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    text("x-api-key") == Some(key) || bearer == Some(key)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    const ROLE: Role = ROLES[0];

    fn started() -> (Upstream, UnboundedReceiver<Report>) {
        let (tell, reports) = unbounded_channel();
        (Upstream::start(ROLE, Clock::start(), tell).unwrap(), reports)
    }

    /// Asks, and returns the status, the body, and whether there is a request id.
    async fn ask(upstream: &Upstream, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, String, bool) {
        let client = awc::Client::builder().connector(awc::Connector::new()).finish();
        let mut request = client.post(format!("{}{path}", upstream.url()));
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let mut answer = request.send_json(body).await.unwrap();
        let text = String::from_utf8(answer.body().await.unwrap().to_vec()).unwrap();
        (answer.status().as_u16(), text, answer.headers().contains_key("request-id"))
    }

    fn hello(stream: bool) -> Value {
        json!({"model": "m", "max_tokens": 64, "stream": stream, "messages": [{"role": "user", "content": "Hello"}]})
    }

    #[actix_web::test]
    async fn every_answer_has_the_protocols_status_shape_and_request_id() {
        let (upstream, _reports) = started();
        let (key, version) = (("x-api-key", ROLE.key), ("anthropic-version", "2023-06-01"));
        let bearer = format!("Bearer {}", ROLE.key);
        for (path, headers, body, status, part) in [
            ("/v1/messages?beta=true", vec![key, version], hello(false), 200, "\"end_turn\""),
            ("/v1/messages", vec![("authorization", bearer.as_str()), version], hello(true), 200, "message_stop"),
            ("/v1/messages/count_tokens", vec![key], hello(false), 200, "input_tokens"),
            ("/v1/messages", vec![("x-api-key", "wrong"), version], hello(false), 401, "authentication_error"),
            ("/v1/messages", vec![version], hello(false), 401, "authentication_error"),
            ("/v1/messages", vec![key], hello(false), 400, "anthropic-version"),
            ("/v1/messages", vec![key, version], json!({}), 400, "invalid_request_error"),
            ("/v1/other", vec![key, version], hello(false), 404, "not_found_error"),
        ] {
            let (found, text, has_id) = ask(&upstream, path, &headers, &body).await;
            assert_eq!((found, has_id), (status, true), "{path} {headers:?}: {text}");
            assert!(text.contains(part), "{path} {headers:?}: {text}");
        }
        upstream.stop().await;
    }

    #[actix_web::test]
    async fn a_broken_one_answers_500_until_it_is_mended() {
        let (upstream, _reports) = started();
        let headers = [("x-api-key", ROLE.key), ("anthropic-version", "2023-06-01")];
        upstream.break_down();
        let (status, text, _) = ask(&upstream, "/v1/messages", &headers, &hello(false)).await;
        assert_eq!(status, 500);
        assert!(text.contains("api_error"), "{text}");
        upstream.mend();
        assert_eq!(ask(&upstream, "/v1/messages", &headers, &hello(false)).await.0, 200);
        upstream.stop().await;
    }

    #[actix_web::test]
    async fn traffic_and_verifications_are_counted_apart_even_when_refused() {
        let (upstream, mut reports) = started();
        for (agent, occasion) in [
            ("claude-cli/2", Occasion::Traffic),
            ("qcc-gateway/0.1.0", Occasion::Verification),
            ("not-qcc-gateway/1", Occasion::Traffic),
        ] {
            ask(&upstream, "/v1/messages", &[("user-agent", agent)], &hello(false)).await;
            let report = reports.recv().await.unwrap();
            assert_eq!((report.upstream, report.occasion), (ROLE.name, occasion), "{agent}");
            assert!(reports.try_recv().is_err(), "{agent}");
        }
        upstream.stop().await;
    }

    #[actix_web::test]
    async fn only_a_proper_answer_to_a_verification_is_a_proof() {
        let (upstream, mut reports) = started();
        let headers =
            [("x-api-key", ROLE.key), ("anthropic-version", "2023-06-01"), ("user-agent", "qcc-gateway/0.1.0")];
        upstream.break_down();
        ask(&upstream, "/v1/messages", &headers, &hello(false)).await;
        upstream.mend();
        ask(&upstream, "/v1/messages", &headers, &hello(false)).await;
        let occasions: Vec<Occasion> = std::iter::from_fn(|| Some(reports.try_recv().ok()?.occasion)).collect();
        assert_eq!(occasions, [Occasion::Verification, Occasion::Verification, Occasion::Proof]);
        upstream.stop().await;
    }
}
