//! The verification: a code that only an endpoint that understood the question can send back, and the judgement of its answer.
//!
//! The judgement is the only place that creates a [`RecoveryProof`], and nothing else brings an endpoint back.

use std::fmt;
use std::time::Duration;

use super::classify::{Words, note};
use super::conversation::{Answer, Manner, StreamEnd, StreamedAnswer, Tokens};
use super::endpoint::{Auth, Protocol};
use super::error_object::ErrorObject;
use super::finding::{Asked, Finding, Unanswered};
use super::ids::{EndpointId, Epoch};
use super::outcome::ErrorNote;
use super::schedule::Subject;

/// The characters of a code, without the look-alikes 0, O, 1 and I. Letters first.
const CHARACTERS: [char; 32] = [
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'J', 'K', 'L', 'M', 'N', 'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y',
    'Z', '2', '3', '4', '5', '6', '7', '8', '9',
];

const DIGITS: [char; 8] = ['2', '3', '4', '5', '6', '7', '8', '9'];

/// Six capitals and digits, in two halves of three. The middle of each half is a digit.
///
/// The digits ensure two things. No word of any language is a code, so none passes by accident. And no echo of the question
/// passes, for any code: the question has no digits but those of the halves, which stand further apart than a code is long.
/// So no six characters in a row of it hold two digits at a distance of three, as the code does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    halves: [[char; 3]; 2],
}

impl Code {
    /// The code for a random number, of which the lower 26 bits are used.
    #[must_use]
    pub fn from_random(random: u64) -> Self {
        let mut bits = random;
        let mut half = || [pick(&CHARACTERS, &mut bits), pick(&DIGITS, &mut bits), pick(&CHARACTERS, &mut bits)];
        Self { halves: [half(), half()] }
    }

    fn half(&self, index: usize) -> String {
        self.halves.iter().skip(index).take(1).flatten().collect()
    }
}

impl fmt::Display for Code {
    /// The halves joined: what the answer has to contain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.halves.iter().flatten().try_for_each(|c| fmt::Write::write_char(f, *c))
    }
}

/// Picks one of `N` characters by the lowest bits, and removes these bits.
fn pick<const N: usize>(characters: &[char; N], bits: &mut u64) -> char {
    let count = characters.len() as u64;
    let index = usize::try_from(*bits % count).unwrap_or_default();
    *bits /= count;
    characters.get(index).copied().unwrap_or('X')
}

/// One test conversation with one endpoint, in one of its epochs.
#[derive(Debug)]
pub struct Challenge {
    endpoint: EndpointId,
    epoch: Epoch,
    code: Code,
    manner: Manner,
}

/// The body of an answer.
#[derive(Clone, Copy, Debug)]
pub enum ReplyBody<'a> {
    /// In one piece, uncompressed: the body of anything but a successful event stream.
    Whole(&'a [u8]),
    /// A successful event stream, as far as it came.
    Streamed(&'a StreamedAnswer),
}

/// What an endpoint answered to a challenge.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The protocol in which the endpoint was asked.
    pub protocol: Protocol,
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: ReplyBody<'a>,
    /// What was asked.
    pub asked: Asked<'a>,
    /// The time from the request's beginning to the answer's end.
    pub elapsed: Duration,
}

/// How a test conversation ended.
#[derive(Debug)]
pub enum Verdict {
    /// The code came back.
    Proven(RecoveryProof),
    /// It did not.
    Unproven(Unproven),
}

/// Why an endpoint has not shown that it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// The status of its answer; `None` if no answer came.
    pub status: Option<u16>,
    /// The error's type, if it is a short word.
    pub error_type: Option<String>,
    /// What was found: `the code is missing`, `HTTP 401 authentication_error`.
    pub error: ErrorNote,
    /// What that means.
    pub finding: Finding,
    /// How long it took.
    pub elapsed: Duration,
    /// What it cost, as far as the answer says.
    pub tokens: Tokens,
    /// Whether the endpoint may only lack the model that was asked, so that the next model is tried. A 403 may mean that the key
    /// has no access to this model: a client that asks for such a model must not take the endpoint from all others.
    pub lacks_model: bool,
}

impl Unproven {
    /// A conversation to which no whole answer came.
    #[must_use]
    pub fn without_answer(finding: Finding, error: ErrorNote, elapsed: Duration) -> Self {
        Self { status: None, error_type: None, error, finding, elapsed, tokens: Tokens::default(), lacks_model: false }
    }

    /// Whether the endpoint was not asked at all, because the gateway itself could not open a connection.
    #[must_use]
    pub const fn is_unasked(&self) -> bool {
        matches!(self.finding, Finding::Unanswered(Unanswered::Files | Unanswered::Ports))
    }

    /// Whether it says nothing about the endpoint: it was not asked; or it demands a credential, but takes only a client's own,
    /// which the verifier does not have.
    #[must_use]
    pub const fn decides_nothing(&self, auth: &Auth) -> bool {
        self.is_unasked() || matches!((auth, self.status), (Auth::Passthrough, Some(401 | 403)))
    }
}

/// The proof that an isolated endpoint works again: it sent back a fresh code, in the epoch in which it was asked.
///
/// It can't be made up, only earned:
///
/// ```
/// use std::time::Duration;
/// use qcc_gateway::domain::challenge::{Challenge, Code, RecoveryProof, Reply, ReplyBody, Verdict};
/// use qcc_gateway::domain::classify::Words;
/// use qcc_gateway::domain::endpoint::Protocol;
/// use qcc_gateway::domain::finding::Asked;
/// use qcc_gateway::domain::ids::{EndpointId, Epoch};
///
/// let code = Code::from_random(7);
/// let challenge = Challenge::new(EndpointId::new("main")?, Epoch::from_raw(3), code);
/// let body = format!(r#"{{"content":[{{"type":"text","text":"{code}"}}]}}"#);
/// let reply = Reply {
///     protocol: Protocol::Anthropic,
///     status: 200,
///     body: ReplyBody::Whole(body.as_bytes()),
///     asked: Asked::ANYTHING,
///     elapsed: Duration::from_millis(40),
/// };
/// let Verdict::Proven(proof) = challenge.judge(&reply, Words::Left) else { panic!("the code is in the answer") };
/// assert_eq!((proof.endpoint().as_str(), proof.epoch().get(), proof.score()), ("main", 3, 100));
/// # Ok::<(), qcc_gateway::domain::ids::InvalidId>(())
/// ```
///
/// Its fields are private:
///
/// ```compile_fail,E0451
/// use std::time::Duration;
/// use qcc_gateway::domain::challenge::RecoveryProof;
/// use qcc_gateway::domain::conversation::Tokens;
/// use qcc_gateway::domain::ids::{EndpointId, Epoch};
///
/// fn forge(endpoint: EndpointId) -> RecoveryProof {
///     RecoveryProof { endpoint, epoch: Epoch::NONE, status: 200, score: 100, elapsed: Duration::ZERO, tokens: Tokens::default() }
/// }
/// ```
///
/// One proof recovers once: it can't be cloned.
///
/// ```compile_fail,E0599
/// use qcc_gateway::domain::challenge::RecoveryProof;
///
/// fn twice(proof: RecoveryProof) -> (RecoveryProof, RecoveryProof) {
///     (proof.clone(), proof)
/// }
/// ```
///
/// It comes neither from a default nor from serialised data:
///
/// ```compile_fail,E0277
/// use qcc_gateway::domain::challenge::RecoveryProof;
///
/// fn has_default<T: Default>() {}
/// has_default::<RecoveryProof>();
/// ```
///
/// ```compile_fail,E0277
/// use qcc_gateway::domain::challenge::RecoveryProof;
///
/// fn can_be_read<T: serde::de::DeserializeOwned>() {}
/// can_be_read::<RecoveryProof>();
/// ```
#[must_use = "an endpoint recovers only if the registry gets its proof"]
#[derive(Debug)]
pub struct RecoveryProof {
    endpoint: EndpointId,
    epoch: Epoch,
    status: u16,
    score: u8,
    elapsed: Duration,
    tokens: Tokens,
}

impl RecoveryProof {
    /// The endpoint that has passed.
    #[must_use]
    pub const fn endpoint(&self) -> &EndpointId {
        &self.endpoint
    }

    /// The epoch in which the endpoint was asked. In any other epoch the proof is void.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The status of the answer that held the code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// 0 to 100: 50 for the code, up to 30 for speed, up to 20 for brevity.
    #[must_use]
    pub const fn score(&self) -> u8 {
        self.score
    }

    /// How long the conversation took.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// What the conversation cost.
    #[must_use]
    pub const fn tokens(&self) -> Tokens {
        self.tokens
    }
}

impl Challenge {
    /// Begins a conversation with an endpoint in its present epoch, to be answered in one piece. Each conversation needs a fresh
    /// code.
    #[must_use]
    pub const fn new(endpoint: EndpointId, epoch: Epoch, code: Code) -> Self {
        Self { endpoint, epoch, code, manner: Manner::Whole }
    }

    /// Begins a conversation in the subject's manner. If it is to be streamed, only a stream can prove anything.
    #[must_use]
    pub fn of(subject: &Subject, code: Code) -> Self {
        let Subject { endpoint, epoch, manner, .. } = subject;
        Self { endpoint: endpoint.id.clone(), epoch: *epoch, code, manner: *manner }
    }

    /// In which manner to ask for the answer.
    #[must_use]
    pub const fn manner(&self) -> Manner {
        self.manner
    }

    /// The question, for the user's turn. It never contains the code itself.
    #[must_use]
    pub fn prompt(&self) -> String {
        let (first, second) = (self.code.half(0), self.code.half(1));
        format!(
            "This is a connection test. A code was cut into two halves: the first half is {first} while the second half \
             is {second} and they belong together. Please reply with the whole code, the first half directly followed \
             by the second half, without a space between them and without any other words."
        )
    }

    /// Judges the endpoint's answer, which ends the conversation. `words` says whether the note of a failure quotes the endpoint.
    #[must_use]
    pub fn judge(self, reply: &Reply<'_>, words: Words) -> Verdict {
        let Heard { text, tokens, error } = self.hear(reply);
        let Reply { status, elapsed, .. } = *reply;
        let refuses_stream = match reply.body {
            ReplyBody::Whole(body) => self.manner.is_refused(status, body),
            ReplyBody::Streamed(_) => false,
        };
        let unproven = |finding: Finding, note: ErrorNote| {
            let lacks_model = |error: &ErrorObject| {
                error.is_about_channel() || error.lacks_model_in_own_words() || error.stands_for() == 404
            };
            Verdict::Unproven(Unproven {
                status: Some(status),
                error_type: error.as_ref().and_then(ErrorObject::type_word).map(str::to_owned),
                tokens,
                lacks_model: matches!(status, 403 | 404) || refuses_stream || error.as_ref().is_some_and(lacks_model),
                ..Unproven::without_answer(finding, note, elapsed)
            })
        };
        if !(200..300).contains(&status) || error.is_some() {
            return unproven(Finding::of(reply), note(status, error.as_ref(), words));
        }
        let text = match text {
            Ok(text) => text,
            Err(why) => return unproven(Finding::of(reply), why),
        };
        if !holds_code(&text, self.code) {
            return unproven(Finding::NoCode, ErrorNote::new("the code is missing"));
        }
        let score = score(elapsed, &text);
        Verdict::Proven(RecoveryProof { endpoint: self.endpoint, epoch: self.epoch, status, score, elapsed, tokens })
    }

    /// Extracts what is judged of a body. There is text only if the body is whole, and of the manner that was asked for.
    fn hear(&self, reply: &Reply<'_>) -> Heard {
        let no_answer = |what| Err(ErrorNote::new(format!("HTTP {} with {what}", reply.status)));
        match reply.body {
            ReplyBody::Whole(body) => {
                let answer = Answer::read(reply.protocol, body);
                let tokens = answer.as_ref().map(|answer| answer.tokens).unwrap_or_default();
                let text = match (self.manner, answer) {
                    (Manner::Whole | Manner::Either, Some(answer)) => Ok(answer.text),
                    (Manner::Whole | Manner::Either, None) => no_answer("a body that is no answer of the protocol"),
                    (Manner::Streamed, _) => no_answer("no event stream, though one was asked for"),
                };
                Heard { text, tokens, error: ErrorObject::of_answer(reply.status, body) }
            }
            ReplyBody::Streamed(stream) => {
                let (text, error) = match (self.manner, stream.end()) {
                    (_, StreamEnd::Failed(Some(error))) => (no_answer("an error event"), Some(error.clone())),
                    (_, StreamEnd::Failed(None)) => (no_answer("an error event"), None),
                    (Manner::Whole, _) => (no_answer("an event stream that was not asked for"), None),
                    // As for traffic: a stream that says why it ended is whole, even without its closing event.
                    (Manner::Either | Manner::Streamed, StreamEnd::Closed | StreamEnd::Complete) => {
                        (Ok(stream.text().to_owned()), None)
                    }
                    (Manner::Either | Manner::Streamed, StreamEnd::Open) => {
                        (Err(ErrorNote::new("the stream ended without its closing event")), None)
                    }
                    (Manner::Either | Manner::Streamed, StreamEnd::Garbled) => {
                        (Err(ErrorNote::new("an event of the stream is no JSON")), None)
                    }
                };
                Heard { text, tokens: stream.tokens(), error }
            }
        }
    }
}

/// What a reply says.
struct Heard {
    /// The text, or why there is none.
    text: Result<String, ErrorNote>,
    tokens: Tokens,
    error: Option<ErrorObject>,
}

/// Whether the code is anywhere in the text, regardless of case and of punctuation and spaces in between.
fn holds_code(text: &str, code: Code) -> bool {
    let bare: String = text.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_uppercase()).collect();
    bare.contains(&code.to_string())
}

fn score(elapsed: Duration, text: &str) -> u8 {
    let speed = match elapsed.as_millis() {
        0..500 => 30,
        500..1000 => 20,
        1000..2000 => 10,
        _ => 0,
    };
    let brevity = match text.trim().chars().count() {
        0..50 => 20,
        50..100 => 15,
        _ => 10,
    };
    50 + speed + brevity
}

#[cfg(test)]
mod tests;
