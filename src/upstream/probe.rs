//! A test conversation over the real wire: it goes the way of real traffic, with the same URL, credential, headers and names
//! of models.

use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::client::{Client, Request, Withdrawn, WritePermit};
use super::error::{BodyError, SendError};
use super::request::dress;
use crate::clock::Clock;
use crate::domain::challenge::{Challenge, Code, Reply, Unproven, Verdict};
use crate::domain::classify::Words;
use crate::domain::conversation::{Dialect, ModelsToTry, Question};
use crate::domain::endpoint::{Auth, Endpoint, Protocol};
use crate::domain::outcome::ErrorNote;
use crate::domain::schedule::VerifyJob;
use crate::domain::time::Moment;

/// The longest answer to a verification that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// What a verification calls itself.
const AGENT: &str = concat!("qcc-gateway/", env!("CARGO_PKG_VERSION"));

/// How conversations are held.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// The longest time for a whole conversation.
    pub timeout: Duration,
    /// The longest time for name, connection and TLS.
    pub connect_timeout: Duration,
    /// The model to ask, where the endpoint names none.
    pub model: Option<String>,
    /// The model for anthropic endpoints where nothing else is known.
    pub anthropic_model: String,
    /// The model for openai endpoints where nothing else is known.
    pub openai_model: String,
    /// The bound on the answer's length, in tokens.
    pub max_tokens: u32,
    /// Whether an endpoint's own words are kept in notes.
    pub words: Words,
}

/// Holds test conversations.
#[derive(Debug)]
pub struct Probe {
    client: Client,
    settings: ProbeSettings,
}

/// A verification needs nobody's permission: the registry has named the endpoint.
struct Always;

impl WritePermit for Always {
    fn may_write(&self) -> Result<(), Withdrawn> {
        Ok(())
    }
}

/// A whole answer.
struct Answer {
    status: u16,
    body: Bytes,
}

/// Why no whole answer came.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
}

impl Probe {
    /// A probe with a client of its own, so that verifications share no connection with traffic.
    pub fn new(client: Client, settings: ProbeSettings) -> Self {
        Self { client, settings }
    }

    /// Asks an endpoint for a fresh code and judges its answer.
    pub async fn converse(&self, job: &VerifyJob, code: Code, clock: Clock) -> Verdict {
        let began = clock.now();
        let failed = |note: &str| {
            let elapsed = clock.now().since(began);
            Verdict::Unproven(Unproven::without_answer(ErrorNote::new(note), elapsed))
        };
        match &job.endpoint.auth {
            Auth::Missing => return failed("the endpoint's credential is missing"),
            Auth::Passthrough | Auth::Own { .. } => {}
        }
        match tokio::time::timeout(self.settings.timeout, self.talk(job, code, clock, began)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => failed(&error.to_string()),
            Err(_) => failed("no answer within the verifier's time-out"),
        }
    }

    /// Tries one model after another while the endpoint only lacks the model, each in the dialects that it may know.
    async fn talk(&self, job: &VerifyJob, code: Code, clock: Clock, began: Moment) -> Result<Verdict, NoAnswer> {
        let endpoint = &job.endpoint;
        let default = match endpoint.protocol {
            Protocol::Anthropic => &self.settings.anthropic_model,
            Protocol::OpenAi => &self.settings.openai_model,
        };
        let models = ModelsToTry::new(
            endpoint.verify.model.as_deref(),
            self.settings.model.as_deref(),
            job.model.as_deref(),
            default,
        );
        let mut models = models.peekable();
        let mut verdict = None;
        while let Some(model) = models.next() {
            let challenge = Challenge::new(endpoint.id.clone(), job.epoch, code);
            let answer = self.ask(endpoint, &model, &challenge.prompt()).await?;
            let reply = Reply {
                protocol: endpoint.protocol,
                status: answer.status,
                body: &answer.body,
                elapsed: clock.now().since(began),
            };
            let judged = challenge.judge(&reply, self.settings.words);
            let try_next = matches!(&judged, Verdict::Unproven(unproven) if unproven.lacks_model);
            verdict = Some(judged);
            if !try_next || models.peek().is_none() {
                break;
            }
        }
        let elapsed = clock.now().since(began);
        let no_model = || Unproven::without_answer(ErrorNote::new("no model is named to verify it with"), elapsed);
        Ok(verdict.unwrap_or_else(|| Verdict::Unproven(no_model())))
    }

    async fn ask(&self, endpoint: &Endpoint, model: &str, prompt: &str) -> Result<Answer, NoAnswer> {
        let sent = endpoint.model_map.sent(model).unwrap_or(model);
        let max_tokens = endpoint.verify.max_tokens.map_or(self.settings.max_tokens, NonZeroU32::get);
        let question = Question { model: sent, max_tokens, system: endpoint.verify.system.as_deref(), prompt };
        let mut dialect = Dialect::first(endpoint.protocol);
        loop {
            let answer = self.exchange(endpoint, dialect, &question).await?;
            match dialect.after_refusal(answer.status, &answer.body) {
                Some(next) => dialect = next,
                None => return Ok(answer),
            }
        }
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        dialect: Dialect,
        question: &Question<'_>,
    ) -> Result<Answer, NoAnswer> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        dress(&mut headers, endpoint, &endpoint.verify.headers);
        let request = Request {
            origin: endpoint.base_url.origin(),
            method: Method::POST,
            target: endpoint.base_url.target(dialect.path().as_str()),
            headers,
            body: question.body(dialect).into(),
            resend_stale: true,
        };
        let mut response = self.client.send(request, &Always, self.settings.connect_timeout).await?;
        let mut body = BytesMut::new();
        while let Some(piece) = response.body.next().await {
            match piece {
                Ok(piece) => body.extend_from_slice(&piece),
                // That it is whole is proved by its JSON alone, where TLS was not closed as it should be.
                Err(BodyError::Unclosed) => break,
                Err(error) => return Err(error.into()),
            }
            if body.len() > MAX_ANSWER {
                return Err(NoAnswer::TooLong);
            }
        }
        Ok(Answer { status: response.status.as_u16(), body: body.freeze() })
    }
}
