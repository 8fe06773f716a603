//! Where a request goes, by its method and its raw path.
//!
//! Paths are compared as they came. They are resolved only to refuse some: nothing is ever proxied that an upstream or a proxy
//! could take for one of the gateway's own paths, or whose dot segments lead out of the paths that are served.

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::endpoint::Protocol;
use super::outcome_table::PathKind;

/// The prefix of the gateway's own paths.
pub const OWN_PREFIX: &str = "/__qcc__";

/// A path that runs a model, or counts its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LlmPath {
    /// `/v1/messages`
    Messages,
    /// `/v1/messages/count_tokens`
    CountTokens,
    /// `/v1/chat/completions`
    ChatCompletions,
    /// `/v1/completions`
    Completions,
    /// `/v1/responses`
    Responses,
    /// `/v1/embeddings`
    Embeddings,
}

impl LlmPath {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Messages,
        Self::CountTokens,
        Self::ChatCompletions,
        Self::Completions,
        Self::Responses,
        Self::Embeddings,
    ];

    /// The path as clients write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// The protocol of the endpoints that serve it.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Messages | Self::CountTokens => Protocol::Anthropic,
            Self::ChatCompletions | Self::Completions | Self::Responses | Self::Embeddings => Protocol::OpenAi,
        }
    }

    /// Which rows of the outcome table apply to it.
    #[must_use]
    pub const fn kind(self) -> PathKind {
        match self {
            Self::CountTokens => PathKind::CountTokens,
            Self::Messages | Self::ChatCompletions | Self::Completions | Self::Responses | Self::Embeddings => {
                PathKind::Llm
            }
        }
    }

    fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|llm| llm.as_str() == path)
    }

    /// The LLM path that is meant by a path with extra slashes, or with no `/v1` or too many of them, as wrong base URLs make it.
    #[must_use]
    pub fn meant_by(path: &str) -> Option<Self> {
        fn told(path: &str) -> impl Iterator<Item = &str> {
            path.split('/').filter(|segment| !segment.is_empty()).skip_while(|segment| *segment == "v1")
        }
        Self::ALL.into_iter().find(|llm| told(llm.as_str()).eq(told(path)))
    }
}

/// What is proxied besides the LLM paths: the globs of `server.other_paths`.
#[derive(Clone, Debug, Default)]
pub struct OtherPaths {
    globs: Vec<String>,
    set: GlobSet,
}

impl PartialEq for OtherPaths {
    fn eq(&self, other: &Self) -> bool {
        self.globs == other.globs
    }
}

impl OtherPaths {
    /// Compiles the globs. A `*` also matches slashes, so that `["*"]` is everything.
    ///
    /// # Errors
    ///
    /// The error of the first pattern that is no glob.
    pub fn new<G: AsRef<str>>(globs: impl IntoIterator<Item = G>) -> Result<Self, globset::Error> {
        let globs: Vec<String> = globs.into_iter().map(|glob| glob.as_ref().to_owned()).collect();
        let mut set = GlobSetBuilder::new();
        for glob in &globs {
            set.add(Glob::new(glob)?);
        }
        Ok(Self { set: set.build()?, globs })
    }

    /// The globs as written in the settings.
    pub fn globs(&self) -> &[String] {
        &self.globs
    }

    /// Whether this path is proxied. If it has dot segments, the path that they lead to must be allowed too: else
    /// `/v1/models/../files` would pass for a model.
    fn serve(&self, path: &str) -> bool {
        self.set.is_match(path)
            && match resolved(path) {
                Resolved::AsItIs => true,
                Resolved::To(resolved) => self.set.is_match(resolved),
                Resolved::AboveTheRoot => false,
            }
    }
}

/// Where a request goes. Targets are path and query as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// One of the gateway's own routes.
    Own {
        /// The path after `/__qcc__`, without the query: empty, or beginning with a slash.
        tail: &'a str,
    },
    /// A path that spells `/__qcc__` differently, or is unclean after it: not found, never proxied.
    Disguised,
    /// An LLM path, by POST.
    Llm {
        /// Which one.
        path: LlmPath,
        /// What is asked of the endpoint.
        target: &'a str,
    },
    /// A path of `server.other_paths`.
    Other {
        /// What is asked of the endpoint.
        target: &'a str,
    },
    /// A client's warm-up: `HEAD /` or `HEAD /api/hello`.
    Warmup,
    /// `GET /`
    Root,
    /// An LLM path by a method other than POST.
    WrongMethod {
        /// Which one, so that the refusal has its protocol's shape.
        path: LlmPath,
    },
    /// A path that is not served.
    Unknown,
}

/// Finds where a request goes. `raw` is the request's target in origin form: path and query, byte for byte.
#[must_use]
pub fn route<'a>(method: &str, raw: &'a str, other_paths: &OtherPaths) -> Destination<'a> {
    let path = path_of(raw);
    if let Some(tail) = path.strip_prefix(OWN_PREFIX).filter(|tail| is_clean_tail(tail)) {
        return Destination::Own { tail };
    }
    if is_disguised(path) {
        return Destination::Disguised;
    }
    match (method, path) {
        ("HEAD", "/" | "/api/hello") => return Destination::Warmup,
        ("GET", "/") => return Destination::Root,
        _ => {}
    }
    let target = without_doubled_version(raw);
    let path = path_of(target);
    match LlmPath::of(path) {
        Some(path) if method == "POST" => Destination::Llm { path, target },
        Some(_) | None if other_paths.serve(path) => Destination::Other { target },
        Some(path) => Destination::WrongMethod { path },
        None => Destination::Unknown,
    }
}

/// The LLM path of a request's target in origin form, whatever the method.
#[must_use]
pub fn llm_path(raw: &str) -> Option<LlmPath> {
    LlmPath::of(path_of(without_doubled_version(raw)))
}

fn path_of(raw: &str) -> &str {
    raw.split('?').next().unwrap_or_default()
}

/// The target with `/v1/v1/…` read as `/v1/…`, for clients whose base URL ends in `/v1`.
fn without_doubled_version(raw: &str) -> &str {
    match raw.strip_prefix("/v1") {
        Some(rest) if rest.starts_with("/v1/") => rest,
        Some(_) | None => raw,
    }
}

/// Whether what follows the prefix is nothing, or segments of plain characters that no server would resolve differently.
fn is_clean_tail(tail: &str) -> bool {
    let Some(segments) = tail.strip_prefix('/') else { return tail.is_empty() };
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let is_clean =
        |segment: &str| !segment.is_empty() && segment.bytes().all(is_plain) && !segment.bytes().all(|b| b == b'.');
    // A trailing slash is not an empty segment.
    let segments = segments.strip_suffix('/').unwrap_or(segments);
    tail == "/" || segments.split('/').all(is_clean)
}

/// Whether some server could take the path for one of the gateway's own. It is decoded until nothing is left to decode, and
/// read regardless of case. Empty segments and segments of dots are skipped, and after a `..` any segment may turn out to be
/// the first.
fn is_disguised(path: &str) -> bool {
    let own = OWN_PREFIX.trim_start_matches('/').as_bytes();
    let first = own.first().copied().unwrap_or_default();
    if memchr::memchr3(b'%', first, first.to_ascii_uppercase(), path.as_bytes()).is_none() {
        // There is nothing to decode, and no byte with which the prefix could begin.
        return false;
    }
    let decoded = decoded_to_the_end(path).to_ascii_lowercase();
    let mut may_be_first = true;
    let mut led_back = false;
    for segment in decoded.split(|&b| is_separator(b)) {
        let segment = Segment::read(segment);
        if (may_be_first || led_back) && segment.bare.starts_with(own) {
            return true;
        }
        led_back |= segment.leads_back();
        may_be_first &= segment.is_skipped();
    }
    false
}

/// How many dots a segment begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    None,
    One,
    More,
}

/// A decoded segment: the leading dots, which a server may drop, and the rest.
struct Segment<'a> {
    dots: Dots,
    bare: &'a [u8],
}

impl<'a> Segment<'a> {
    fn read(segment: &'a [u8]) -> Self {
        let is_dropped = |b: u8| b == b'.' || b <= b' ';
        let bare_from = segment.iter().position(|&b| !is_dropped(b)).unwrap_or(segment.len());
        let (dropped, bare) = segment.split_at(bare_from);
        let mut dots = dropped.iter().filter(|&&b| b == b'.');
        let dots = match (dots.next(), dots.next()) {
            (None, _) => Dots::None,
            (Some(_), None) => Dots::One,
            (Some(_), Some(_)) => Dots::More,
        };
        Self { dots, bare }
    }

    /// Whether nothing is left, or only a path parameter, which some servers cut off.
    fn is_skipped(&self) -> bool {
        self.bare.first().is_none_or(|&b| b == b';')
    }

    fn leads_back(&self) -> bool {
        self.dots == Dots::More && self.is_skipped()
    }
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

/// Percent-decodes the path until nothing is left to decode, in one pass: each byte is pushed on a stack, and an encoded byte on
/// its top is replaced by the decoded one, which may complete another encoded byte. A path can be encoded thousands of times
/// over, so repeated passes would be a gift to an attacker.
fn decoded_to_the_end(path: &str) -> Vec<u8> {
    let mut decoded: Vec<u8> = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        decoded.push(byte);
        while let Some(plain) = encoded_at_end(&decoded) {
            decoded.truncate(decoded.len().saturating_sub(3));
            decoded.push(plain);
        }
    }
    decoded
}

fn encoded_at_end(bytes: &[u8]) -> Option<u8> {
    let [.., b'%', high, low] = bytes else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? * 16 + digit(low)?)
}

/// A path as resolved by a server that decodes it and follows its dot segments.
enum Resolved {
    /// It has no dot segments.
    AsItIs,
    /// It leads here.
    To(String),
    /// It leads above the root, and so perhaps out of the base URL's path.
    AboveTheRoot,
}

fn resolved(path: &str) -> Resolved {
    let decoded = decoded_to_the_end(path);
    let segments = || decoded.split(|&b| is_separator(b)).skip(1);
    let is_dot_segment = |segment: &[u8]| {
        let segment = Segment::read(segment);
        segment.dots != Dots::None && segment.is_skipped()
    };
    if !segments().any(is_dot_segment) {
        return Resolved::AsItIs;
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in segments() {
        if Segment::read(segment).leads_back() {
            if kept.pop().is_none() {
                return Resolved::AboveTheRoot;
            }
        } else if !segment.is_empty() && !is_dot_segment(segment) {
            kept.push(segment);
        }
    }
    let texts = kept.into_iter().map(String::from_utf8_lossy);
    Resolved::To(texts.flat_map(|text| ["/".into(), text]).collect())
}

#[cfg(test)]
mod tests;
