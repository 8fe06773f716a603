//! A test conversation over the real wire: it goes the way of real traffic, with the same URL, credential, headers and
//! model names.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::timeout_at;

use super::client::{AGENT, Always, Client, Request};
use super::content::{Content, ContentError, Legibility};
use super::error::{BodyError, SendError};
use super::lines::HeaderLines;
use super::request::dress;
use crate::clock::Clock;
use crate::domain::challenge::{Challenge, Code, Reply, ReplyBody, Unproven, Verdict};
use crate::domain::classify::{Words, is_event_stream};
use crate::domain::conversation::{self, Dialect, ModelsToTry, Question, StreamEnd, StreamedAnswer, Tokens};
use crate::domain::endpoint::{Auth, Endpoint, Protocol};
use crate::domain::finding::{Asked, Finding, Lack, Unanswered};
use crate::domain::outcome::ErrorNote;
use crate::domain::rules::Rules;
use crate::domain::schedule::{Subject, Suffices};
use crate::domain::time::{Moment, respite};

/// The longest answer to a verification that is read, in bytes once decompressed.
const MAX_ANSWER: usize = 1 << 20;

/// How conversations are held.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// The longest time for a whole conversation; if another model's answer suffices too, as long again for that one.
    pub timeout: Duration,
    /// The longest time for name, connection and TLS.
    pub connect_timeout: Duration,
    /// The model to ask if the endpoint names none.
    pub model: Option<String>,
    /// The model for anthropic endpoints if nothing else is known.
    pub anthropic_model: String,
    /// The model for openai endpoints if nothing else is known.
    pub openai_model: String,
    /// The bound on the answer's length, in tokens.
    pub max_tokens: u32,
    /// Whether an endpoint's own words are kept in notes.
    pub words: Words,
    /// The operator's rules for what an endpoint's errors mean.
    pub rules: Rules,
}

/// Holds test conversations.
#[derive(Debug)]
pub struct Probe {
    client: Client,
    settings: ProbeSettings,
}

/// What a conversation has cost so far, in all its exchanges. It outlives a conversation that is broken off.
#[derive(Debug, Default)]
pub struct Bill {
    total: Cell<Tokens>,
    /// The model that was asked last. If the endpoint lacks it, which costs nothing, the next one follows.
    model: RefCell<Option<String>>,
}

impl Bill {
    /// The sum so far.
    pub fn total(&self) -> Tokens {
        self.total.get()
    }

    /// The model whose answer the bill is for, by the name that was sent.
    pub fn model(&self) -> Option<String> {
        self.model.borrow().clone()
    }

    fn add(&self, tokens: Tokens) {
        let mut total = self.total.get();
        total += tokens;
        self.total.set(total);
    }

    fn is_for(&self, model: &str) {
        self.model.replace(Some(model.to_owned()));
    }
}

/// How long a conversation may still take.
struct Deadline {
    clock: Clock,
    /// When the conversation began.
    began: Moment,
    /// Until when the present model may answer.
    until: Cell<Moment>,
}

impl Deadline {
    fn elapsed(&self) -> Duration {
        self.clock.now().since(self.began)
    }

    /// Gives the next model this long, from now on.
    fn renew(&self, time: Duration) {
        self.until.set(self.clock.now() + time);
    }

    /// Waits, but not beyond the deadline. If the process itself was held up, the deadline is put off: a sound endpoint
    /// must not fail for that.
    async fn bound<T>(&self, wait: impl Future<Output = T>) -> Result<T, NoAnswer> {
        let mut wait = pin!(wait);
        loop {
            if let Ok(output) = timeout_at(self.clock.instant(self.until.get()).into(), wait.as_mut()).await {
                return Ok(output);
            }
            let now = self.clock.now();
            self.until.set(now + respite(now.since(self.until.get())).ok_or(NoAnswer::TimedOut)?);
        }
    }
}

/// An answer as far as it is read.
struct Answer {
    status: u16,
    body: AnswerBody,
}

enum AnswerBody {
    Whole(Bytes),
    Streamed(StreamedAnswer),
}

impl Answer {
    /// The body of an answer, or nothing if it is a stream.
    fn bytes(&self) -> &[u8] {
        match &self.body {
            AnswerBody::Whole(body) => body,
            AnswerBody::Streamed(_) => &[],
        }
    }

    fn tokens(&self, protocol: Protocol) -> Tokens {
        match &self.body {
            AnswerBody::Whole(body) => {
                conversation::Answer::read(protocol, body).map(|answer| answer.tokens).unwrap_or_default()
            }
            AnswerBody::Streamed(stream) => stream.tokens(),
        }
    }
}

/// Why no answer came that could be judged.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error("no answer within the verifier's time-out")]
    TimedOut,
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    #[error("the answer is compressed, though identity was asked, in a way that the gateway does not know")]
    Coded,
}

impl NoAnswer {
    fn meaning(&self) -> Unanswered {
        match self {
            Self::Send(error) => error.meaning(),
            Self::Content(_) | Self::TooLong | Self::Coded => Unanswered::Body,
            Self::TimedOut => Unanswered::Timeout,
        }
    }
}

impl Probe {
    /// A probe with a client of its own, so that verifications share no connection with traffic.
    pub fn new(client: Client, settings: ProbeSettings) -> Self {
        Self { client, settings }
    }

    /// A probe on the same connections, with other settings.
    #[must_use]
    pub fn with(&self, settings: ProbeSettings) -> Self {
        Self::new(self.client.clone(), settings)
    }

    /// Asks an endpoint for a fresh code and judges its answer. What that costs is added to the bill as it comes.
    pub async fn converse(&self, subject: &Subject, code: Code, clock: Clock, bill: &Bill) -> Verdict {
        let began = clock.now();
        let deadline = Deadline { clock, began, until: Cell::new(began + self.settings.timeout) };
        let failed = |finding, note: &str| {
            Verdict::Unproven(Unproven::without_answer(finding, ErrorNote::new(note), deadline.elapsed()))
        };
        match &subject.endpoint.auth {
            Auth::Missing => {
                return failed(Finding::Unaskable(Lack::Credential), "the endpoint's credential is missing");
            }
            Auth::Passthrough | Auth::Own { .. } => {}
        }
        self.talk(subject, code, &deadline, bill).await
    }

    /// Tries one model after another while the endpoint only lacks the model, or where another one's answer suffices.
    async fn talk(&self, subject: &Subject, code: Code, deadline: &Deadline, bill: &Bill) -> Verdict {
        let mut found: Option<Unproven> = None;
        for model in self.models(subject) {
            let unproven = match self.ask_and_judge(subject, &model, code, deadline, bill).await {
                Verdict::Unproven(unproven) => unproven,
                proven @ Verdict::Proven(_) => return proven,
            };
            let is_in_question = subject.model.as_deref() == Some(model.as_str());
            let (lacks_model, is_unasked) = (unproven.lacks_model, unproven.is_unasked());
            // That the endpoint lacks this model says nothing of why another one has failed.
            found = found.filter(|found| lacks_model && !found.lacks_model).or(Some(unproven));
            match subject.suffices {
                _ if lacks_model => {}
                Suffices::AnyModel if is_in_question && !is_unasked => {
                    deadline.renew(self.settings.timeout);
                }
                Suffices::AnyModel | Suffices::ThatModel | Suffices::ItAlone => break,
            }
        }
        let no_model = || {
            let note = ErrorNote::new("no model is named to verify it with");
            Unproven::without_answer(Finding::Unaskable(Lack::Model), note, deadline.elapsed())
        };
        Verdict::Unproven(found.unwrap_or_else(no_model))
    }

    fn models(&self, Subject { endpoint, model, suffices, .. }: &Subject) -> ModelsToTry {
        let default = match endpoint.protocol {
            Protocol::Anthropic => &self.settings.anthropic_model,
            Protocol::OpenAi => &self.settings.openai_model,
        };
        match (suffices, model.as_deref()) {
            (Suffices::ItAlone, Some(model)) => ModelsToTry::only(model),
            (Suffices::ItAlone | Suffices::ThatModel | Suffices::AnyModel, failed) => {
                let (own, all) = (endpoint.verify.model.as_deref(), self.settings.model.as_deref());
                ModelsToTry::new(own, all, failed, default, endpoint.models.names())
            }
        }
    }

    async fn ask_and_judge(
        &self,
        subject: &Subject,
        model: &str,
        code: Code,
        deadline: &Deadline,
        bill: &Bill,
    ) -> Verdict {
        let endpoint = &subject.endpoint;
        let challenge = Challenge::of(subject, code);
        let answer = match self.ask(endpoint, model, &challenge, deadline, bill).await {
            Ok(answer) => answer,
            Err(error) => {
                let (finding, note) = (Finding::Unanswered(error.meaning()), ErrorNote::new(error.to_string()));
                return Verdict::Unproven(Unproven::without_answer(finding, note, deadline.elapsed()));
            }
        };
        let body = match &answer.body {
            AnswerBody::Whole(body) => ReplyBody::Whole(body),
            AnswerBody::Streamed(stream) => ReplyBody::Streamed(stream),
        };
        let sent = endpoint.model_map.sent(model).unwrap_or(model);
        let asked = Asked { model: Some(sent), rules: &self.settings.rules };
        let (protocol, status, elapsed) = (endpoint.protocol, answer.status, deadline.elapsed());
        let reply = Reply { protocol, status, body, asked, elapsed };
        challenge.judge(&reply, self.settings.words)
    }

    async fn ask(
        &self,
        endpoint: &Arc<Endpoint>,
        model: &str,
        challenge: &Challenge,
        deadline: &Deadline,
        bill: &Bill,
    ) -> Result<Answer, NoAnswer> {
        let prompt = challenge.prompt();
        let mut question = Question {
            model: endpoint.model_map.sent(model).unwrap_or(model),
            max_tokens: endpoint.verify.max_tokens.map_or(self.settings.max_tokens, NonZeroU32::get),
            system: endpoint.verify.system.as_deref(),
            prompt: &prompt,
            manner: challenge.manner(),
        };
        bill.is_for(question.model);
        let mut dialect = Dialect::first(endpoint.protocol);
        loop {
            let answer = self.exchange(endpoint, dialect, &question, deadline, bill).await?;
            let (status, body) = (answer.status, answer.bytes());
            match (dialect.after_refusal(status, body), question.manner.after_refusal(status, body)) {
                (Some(next), _) => dialect = next,
                (None, Some(next)) => question.manner = next,
                (None, None) => return Ok(answer),
            }
        }
    }

    async fn exchange(
        &self,
        endpoint: &Arc<Endpoint>,
        dialect: Dialect,
        question: &Question<'_>,
        deadline: &Deadline,
        bill: &Bill,
    ) -> Result<Answer, NoAnswer> {
        let mut headers = HeaderLines::default();
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
            body: Bytes::from(question.body(dialect)).into(),
            resend_stale: true,
        };
        // Nobody's permission is needed: the registry has named the endpoint.
        let mut response = deadline.bound(self.client.send(request, &Always, self.settings.connect_timeout)).await??;
        let (status, is_success) = (response.status.as_u16(), response.status.is_success());
        let content = Content::decoded(response.body, &mut response.headers).map_err(ContentError::from)?;
        // A failure's status says what is wrong, even if its text can't be read.
        let mut content = match content {
            (content, Legibility::Readable) => content,
            (_, Legibility::Coded) if is_success => return Err(NoAnswer::Coded),
            (_, Legibility::Coded) => return Ok(Answer { status, body: AnswerBody::Whole(Bytes::new()) }),
        };
        let content_type = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_called_stream = is_event_stream(content_type);
        let is_stream = is_success && deadline.bound(content.beginning(|| {})).await?.is_event_stream(is_called_stream);
        let body = if is_stream {
            let mut stream = StreamedAnswer::new(Arc::clone(endpoint));
            let end = read_stream(content, &mut stream, deadline).await;
            bill.add(stream.tokens());
            end?;
            AnswerBody::Streamed(stream)
        } else {
            AnswerBody::Whole(match read_whole(content, deadline).await {
                Err(NoAnswer::Content(ContentError::Undecodable(_))) if !is_success => Bytes::new(),
                read => endpoint.hidden_in(read?),
            })
        };
        let answer = Answer { status, body };
        if !is_stream {
            bill.add(answer.tokens(endpoint.protocol));
        }
        Ok(answer)
    }
}

async fn read_whole(mut body: Content, deadline: &Deadline) -> Result<Bytes, NoAnswer> {
    let mut received = BytesMut::new();
    while let Some(piece) = deadline.bound(body.next()).await? {
        match piece {
            Ok(piece) => received.extend_from_slice(&piece),
            // If TLS was not closed properly, only its JSON proves it whole.
            Err(ContentError::Body(BodyError::Unclosed)) => break,
            Err(error) => return Err(error.into()),
        }
        if received.len() > MAX_ANSWER {
            return Err(NoAnswer::TooLong);
        }
    }
    Ok(received.freeze())
}

/// Reads a stream to its closing event or its error event; what the upstream does after that is no matter. Nor is how it ends
/// behind a complete answer that lacks only the closing event: as for traffic.
async fn read_stream(mut body: Content, stream: &mut StreamedAnswer, deadline: &Deadline) -> Result<(), NoAnswer> {
    let mut received = 0_usize;
    loop {
        let piece = match deadline.bound(body.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) if *stream.end() == StreamEnd::Complete => return Ok(()),
            Ok(Some(Err(error))) => return Err(error.into()),
            Err(timed_out) => return Err(timed_out),
        };
        received = received.saturating_add(piece.len());
        if received > MAX_ANSWER {
            return Err(NoAnswer::TooLong);
        }
        stream.push(&piece);
        match stream.end() {
            StreamEnd::Open | StreamEnd::Complete => {}
            StreamEnd::Closed | StreamEnd::Failed(_) | StreamEnd::Garbled => return Ok(()),
        }
    }
    stream.finish();
    Ok(())
}

#[cfg(test)]
mod tests;
