//! What the gateway needs to know of a request's JSON body, found in one pass, and the one thing that it changes there.
//!
//! Nothing is validated: what can't be read is left to the endpoint, which knows its API better.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::members::{Member, Written, plain_name, value_of};
use super::request_body::RequestBody;

/// What kind of answer a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// One in one piece.
    Whole,
    /// An event stream.
    Stream,
    /// It can't be seen: the body can't be read, or its `stream` is neither true nor false, which some APIs take for one of them.
    /// Either kind is an answer then.
    #[default]
    Unknown,
}

impl Wanted {
    /// By the value of `stream` as it is written.
    fn by(stream: &[u8]) -> Self {
        match stream {
            b"true" => Self::Stream,
            b"false" | b"null" => Self::Whole,
            _ => Self::Unknown,
        }
    }
}

/// What was seen of a request's body. Empty where the body is no JSON object.
///
/// Values other than these are passed over unread ([`RequestBody::members`]), so however deep a body is nested, it is read; and so may be
/// one that is JSON but for such a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// The model that the request names. Of several top-level `model` the last counts, as for most parsers; none where that
    /// is no text.
    pub model: Option<Arc<str>>,
    /// The kind of answer that is asked for by `stream`. Of several the last counts.
    pub wanted: Wanted,
    /// The conversation that the request names: its `metadata.user_id`, else its `prompt_cache_key`, else its
    /// `conversation_id`.
    pub session: Option<String>,
    /// Whether a chat's stream is to end with a chunk that tells the usage (`stream_options.include_usage`).
    pub include_usage: bool,
    /// How many choices are asked for (`n`), where more than one.
    pub choices: Option<u32>,
    /// How many prompts a completion has that may be streamed, where it has more than one: each is answered by choices of its own.
    pub prompts: Option<u32>,
    /// Whether two spellings of `model` name different ones.
    is_ambiguous: bool,
    /// Where the values of all top-level `model` stand, quotation marks included, in the order of the body.
    pub model_spans: Vec<Range<usize>>,
}

/// The longest model name that is kept and shown, in bytes. What is longer is no name.
const LONGEST_MODEL: usize = 200;

/// The longest value that is read, in bytes as it is written. What is longer names neither a model nor a session.
const LONGEST_READ: usize = 4 << 10;

/// So many top-level `model` a request may have. Each has a place of its own and is written anew, so that a body of nothing
/// else would cost a multiple of its length.
const MOST_MODELS: usize = 64;

impl Peek {
    /// The model, if it is a name that can be kept, shown and asked for again: not what a client may have put in its place.
    pub fn model_name(&self) -> Option<&Arc<str>> {
        let is_name = |model: &&Arc<str>| model.len() <= LONGEST_MODEL && !model.chars().any(char::is_control);
        self.model.as_ref().filter(is_name)
    }

    /// Whether it can't be said which model is asked for. The body has more top-level `model` than can be looked after: some of them
    /// were not noted, so that it can't be sent to an endpoint that calls the model by another name. Or it names one for servers that
    /// read `model` alone, and another for those that read `Model` too.
    pub fn has_no_one_model(&self) -> bool {
        self.has_too_many_models() || self.is_ambiguous
    }

    fn has_too_many_models(&self) -> bool {
        self.model_spans.len() > MOST_MODELS
    }

    /// Looks into a body.
    #[must_use]
    pub fn into_body(body: &RequestBody) -> Self {
        Self::read(body).unwrap_or_default()
    }

    fn read(body: &RequestBody) -> Option<Self> {
        let mut members = body.members().ok()?;
        let mut peek = Self::default();
        let (mut wanted, mut may_be_other) = (Wanted::Whole, false);
        let (mut exactly, mut otherwise) = (None, None);
        let (mut user, mut cache_key, mut conversation, mut prompt) = (None, None, None, None);
        while let Some(Member { name, value }) = members.next_member().ok()? {
            match Name::of(&plain_name(&name.bytes())) {
                Name::Model(spelling) => {
                    let written = value.bytes();
                    // Another name may be written in its place, so it is to be a value, and not what only looks like one.
                    serde_json::from_slice::<&RawValue>(&written).ok()?;
                    if !peek.has_too_many_models() {
                        peek.model_spans.push(value.span());
                    }
                    peek.model = read(&written).map(Arc::from);
                    match spelling {
                        Spelling::Exact => exactly = Some(written),
                        Spelling::Folded => otherwise = Some(written),
                    }
                }
                Name::Stream => wanted = Wanted::by(&value.bytes()),
                Name::StreamOtherwise => may_be_other = true,
                Name::Metadata => user = user_of(&value.bytes()),
                Name::PromptCacheKey => cache_key = short_text(&value),
                Name::ConversationId => conversation = short_text(&value),
                Name::StreamOptions => {
                    peek.include_usage = value_of(&value.bytes(), b"include_usage") == Some(b"true");
                }
                Name::Choices => {
                    peek.choices = serde_json::from_slice(&value.bytes()).ok().filter(|choices| *choices > 1);
                }
                Name::Prompt => prompt = Some(value),
                Name::Other => {}
            }
        }
        peek.is_ambiguous = otherwise.is_some() && exactly.is_some_and(|exactly| Some(exactly) != otherwise);
        peek.wanted = if may_be_other { Wanted::Unknown } else { wanted };
        if peek.wanted != Wanted::Whole {
            // A list is read as slowly as by a parser, and only the end of a stream depends on how long it is.
            peek.prompts = prompt.as_ref().and_then(prompts).filter(|prompts| *prompts > 1);
        }
        peek.session = user.or(cache_key).or(conversation);
        Some(peek)
    }
}

/// The body with every top-level model replaced by `new`, and each other byte as it was. Where the spans are not those of
/// this body, it is returned unchanged.
#[must_use]
pub fn rewrite_model(body: &RequestBody, peek: &Peek, new: &str) -> RequestBody {
    let quoted = Bytes::from(serde_json::Value::from(new).to_string());
    body.with_replaced(&peek.model_spans, &quoted).unwrap_or_else(|| body.clone())
}

/// How a name is spelt.
#[derive(Clone, Copy)]
enum Spelling {
    Exact,
    /// In another case: some servers take it for the name, and others do not.
    Folded,
}

/// A member's name, as far as it matters.
enum Name {
    Model(Spelling),
    Stream,
    /// What some servers take for it, and others do not.
    StreamOtherwise,
    Metadata,
    PromptCacheKey,
    ConversationId,
    StreamOptions,
    Choices,
    Prompt,
    Other,
}

impl Name {
    /// Relays written in Go read names in any case, by Unicode's folding (package encoding/json): of the letters here only the long s
    /// is another one. A model that only they read is one all the same: it may be of another endpoint, and have its price.
    fn of(plain: &[u8]) -> Self {
        match plain {
            b"model" => Self::Model(Spelling::Exact),
            b"stream" => Self::Stream,
            b"metadata" => Self::Metadata,
            b"prompt_cache_key" => Self::PromptCacheKey,
            b"conversation_id" => Self::ConversationId,
            b"stream_options" => Self::StreamOptions,
            b"n" => Self::Choices,
            b"prompt" => Self::Prompt,
            other if other.eq_ignore_ascii_case(b"model") => Self::Model(Spelling::Folded),
            other if reads_as_stream(other) => Self::StreamOtherwise,
            _ => Self::Other,
        }
    }
}

/// Whether a server that folds names reads this one as `stream`.
fn reads_as_stream(name: &[u8]) -> bool {
    let first = ["s", "S", "\u{17f}"].into_iter().find_map(|letter| name.strip_prefix(letter.as_bytes()));
    first.is_some_and(|rest| rest.eq_ignore_ascii_case(b"tream"))
}

/// A text that is not too long.
fn read(value: &[u8]) -> Option<Cow<'_, str>> {
    if value.len() > LONGEST_READ {
        return None;
    }
    let written = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    match memchr(b'\\', written) {
        Some(_) => unescaped(written).or_else(|| serde_json::from_slice(value).ok()).map(Cow::Owned),
        None => str::from_utf8(written).ok().map(Cow::Borrowed),
    }
}

/// A text in which nothing but quotation marks and backslashes are escaped, as in JSON within a text: `metadata.user_id` is
/// mostly that. None where there is more to it, or less.
fn unescaped(written: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(written.len());
    let mut bytes = written.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(*bytes.next().filter(|escaped| matches!(escaped, b'"' | b'\\'))?),
            // Neither may stand in a text as it is.
            0..b' ' | b'"' => return None,
            _ => plain.push(byte),
        }
    }
    String::from_utf8(plain).ok()
}

/// A text that is not empty.
fn text(value: &[u8]) -> Option<String> {
    read(value).filter(|text| !text.is_empty()).map(Cow::into_owned)
}

/// Likewise; one that is too long is not even copied together.
fn short_text(value: &Written<'_>) -> Option<String> {
    if value.length() > LONGEST_READ { None } else { text(&value.bytes()) }
}

/// How many prompts there are in a list of them. A text is one prompt, and so is a list of tokens.
fn prompts(value: &Written<'_>) -> Option<u32> {
    struct Counted;
    impl<'de> Visitor<'de> for Counted {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut count = 0_u32;
            while list.next_element::<IgnoredAny>()?.is_some() {
                count = count.saturating_add(1);
            }
            Ok(count)
        }
    }
    if value.first() != Some(b'[') {
        return None;
    }
    let value = value.bytes();
    let first = value.strip_prefix(b"[")?.trim_ascii_start().first()?;
    if !matches!(first, b'"' | b'[') {
        return None;
    }
    serde_json::Deserializer::from_slice(&value).deserialize_seq(Counted).ok()
}

fn user_of(metadata: &[u8]) -> Option<String> {
    text(value_of(metadata, b"user_id")?)
}

#[cfg(test)]
mod tests {
    use super::Wanted::{Stream, Unknown, Whole};
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// What is seen of a body, whatever pieces it came in.
    fn seen_of(body: impl AsRef<[u8]>) -> Peek {
        let body = Bytes::copy_from_slice(body.as_ref());
        let peek = Peek::into_body(&body.clone().into());
        let cuts: Vec<usize> =
            if body.len() < 200 { (0..=body.len()).collect() } else { vec![1, body.len() / 3, body.len() - 1] };
        for cut in cuts {
            let pieces = [body.slice(..cut), body.slice(cut..)];
            assert_eq!(Peek::into_body(&pieces.into_iter().collect()), peek, "cut at {cut}");
        }
        if body.len() < 200 {
            let bytes = (0..body.len()).map(|at| body.slice(at..=at));
            assert_eq!(Peek::into_body(&bytes.collect()), peek, "byte by byte");
        }
        peek
    }

    /// The body with another name for its model.
    fn renamed(body: &[u8], peek: &Peek, new: &str) -> Bytes {
        rewrite_model(&Bytes::copy_from_slice(body).into(), peek, new).into_one()
    }

    fn check(body: &str, model: Option<&str>, wanted: Wanted, spans: usize) {
        let peek = seen_of(body);
        assert_eq!((peek.model.as_deref(), peek.wanted, peek.model_spans.len()), (model, wanted, spans), "{body}");
    }

    #[test]
    fn model_and_stream_are_found_at_the_top_level_only() {
        for (body, model, wanted, spans) in [
            (r#"{"model":"m","stream":true}"#, Some("m"), Stream, 1),
            (" {\n \"stream\" : false ,\t\"model\" :\r\n \"m\" } \n", Some("m"), Whole, 1),
            (r#"{"messages":[{"model":"inner","stream":true}],"model":"m"}"#, Some("m"), Whole, 1),
            (r#"{"metadata":{"model":"inner"}}"#, None, Whole, 0),
            (r#"{"mod\u0065l":"\u006d","str\u0065am":true}"#, Some("m"), Stream, 1),
            (r#"{"model":"a","model":"b","stream":true,"stream":false}"#, Some("b"), Whole, 2),
            (r#"{"model":"a","model":7}"#, None, Whole, 2),
            (r#"{"model":null,"stream":"true"}"#, None, Unknown, 1),
            (r#"{"model":{"model":"x"},"stream":1}"#, None, Unknown, 1),
            (r#"{"stream":null}"#, None, Whole, 0),
            (r#"{"stream":1,"stream":true}"#, None, Stream, 0),
            ("\u{feff}{\"model\":\"m\",\"stream\":true}", Some("m"), Stream, 1),
            // Some servers read these, and others do not.
            (r#"{"Model":"m","STREAM":true}"#, Some("m"), Unknown, 1),
            (r#"{"stream":false,"Stream":true,"model":"a","MODEL":"a"}"#, Some("a"), Unknown, 2),
            (r#"{"model":"m","\u017ftream":true}"#, Some("m"), Unknown, 1),
            (r#"{"model":"m","dream":true,"xstream":true,"models":"n"}"#, Some("m"), Whole, 1),
            (r#"{"\ud800":1,"model":"m"}"#, Some("m"), Whole, 1),
            (r#"{"model":"\ud800"}"#, None, Whole, 1),
            (r"{}", None, Whole, 0),
        ] {
            check(body, model, wanted, spans);
        }
    }

    /// Found by reading: a client could name a dear model to one server, and a cheap one, or none, to the gateway.
    #[test]
    fn a_body_that_names_another_model_in_another_case_names_no_one() {
        for (body, has_none) in [
            (r#"{"model":"a","Model":"b"}"#, true),
            (r#"{"Model":"b","model":"a"}"#, true),
            (r#"{"model":"a","MODEL":null}"#, true),
            (r#"{"model":"a","Model":"a"}"#, false),
            (r#"{"model":"a","model":"b"}"#, false),
            (r#"{"Model":"a"}"#, false),
        ] {
            assert_eq!(seen_of(body).has_no_one_model(), has_none, "{body}");
        }
    }

    #[test]
    fn a_session_is_named_by_the_first_of_three_members() {
        for (body, session) in [
            (r#"{"metadata":{"user_id":"u"},"prompt_cache_key":"k","conversation_id":"c"}"#, Some("u")),
            (r#"{"conversation_id":"c","prompt_cache_key":"k","metadata":{}}"#, Some("k")),
            (r#"{"conversation_id":"c","metadata":{"user_id":7},"prompt_cache_key":""}"#, Some("c")),
            (r#"{"metadata":"u","messages":[{"conversation_id":"c"}]}"#, None),
            // Of several the last counts, here as everywhere.
            (r#"{"metadata":{"user_id":"a","user_id":"b"},"prompt_cache_key":"k"}"#, Some("b")),
            (r#"{"metadata":{"user_id":"a"},"metadata":{"user_id":"b"}}"#, Some("b")),
        ] {
            assert_eq!(seen_of(body).session.as_deref(), session, "{body}");
        }
    }

    #[test]
    fn what_a_chats_stream_has_to_tell_is_found() {
        for (body, include_usage, choices) in [
            (r#"{"stream_options":{"include_usage":true},"n":3}"#, true, Some(3)),
            (r#"{"stream_options":{"include_usage":false},"n":1}"#, false, None),
            (r#"{"stream_options":{"include_usage":"true"},"n":"3"}"#, false, None),
            (r#"{"stream_options":null,"n":null}"#, false, None),
            (r#"{"stream_options":[1],"n":-1}"#, false, None),
            (r#"{"include_usage":true,"x":{"n":2}}"#, false, None),
            (r#"{"stream_options":{"include_usage":false,"include_usage":true},"n":2,"n":4}"#, true, Some(4)),
        ] {
            let peek = seen_of(body);
            assert_eq!((peek.include_usage, peek.choices), (include_usage, choices), "{body}");
        }
    }

    #[test]
    fn the_prompts_of_a_completion_are_counted_where_it_has_several() {
        let deep = format!("[{}1{}, []]", "[".repeat(100_000), "]".repeat(100_000));
        for (prompt, prompts) in [
            (r#""a, b""#, None),
            (r#"["a"]"#, None),
            (r#"[ "a,\"]", "b" ]"#, Some(2)),
            ("[1,2,3]", None),
            ("[[1,2],[3],[]]", Some(3)),
            ("[]", None),
            ("null", None),
            (r#"{"id":"x","variables":{"a":["b","c"]}}"#, None),
            (&deep, Some(2)),
        ] {
            let peek = |stream: bool| seen_of(format!(r#"{{"prompt":{prompt},"model":"m","stream":{stream}}}"#));
            assert_eq!((peek(true).prompts, peek(true).model.as_deref()), (prompts, Some("m")), "{prompt:.20}");
            assert_eq!(peek(false).prompts, None, "{prompt:.20}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_a_parser_reads_it(written in r#"([a-zä{}:, \x00-\x1f]|\\\\|\\"|"|\\|\\n|\\/|\\u00e4|\\ud800){0,8}"#) {
            let value = format!("\"{written}\"");
            let parsed: Option<String> = serde_json::from_str(&value).ok();
            if written.contains('\\') {
                prop_assert_eq!(read(value.as_bytes()).map(Cow::into_owned), parsed);
            }
        }
    }

    #[test]
    fn what_is_no_json_object_is_an_empty_peek() {
        for body in
            ["", " ", "null", "[]", r#"["model"]"#, r#""model""#, r#"{"model":"m""#, r#"{"model":"m"} x"#, "{model:1}"]
        {
            assert_eq!(seen_of(body), Peek::default(), "{body}");
        }
        assert_eq!(seen_of(b"{\"model\":\"\xff\"}"), Peek::default());
    }

    #[test]
    fn bytes_that_are_no_text_matter_only_in_the_model() {
        assert_eq!(seen_of(b"{\"x\":\"\xff\",\"\xff\":1,\"model\":\"m\"}").model.as_deref(), Some("m"));
    }

    #[test]
    fn a_body_is_read_however_deep_it_is_nested() {
        let depth = 200_000;
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            check(&format!(r#"{{"deep":{nested},"model":"m","stream":true}}"#), Some("m"), Stream, 1);
            check(&format!(r#"{{"model":{nested},"stream":true}}"#), None, Stream, 1);
        }
    }

    /// Found with a body of nothing but models: each took more room than it had in the body.
    #[test]
    fn of_more_models_than_anybody_needs_no_account_is_kept() {
        for (count, too_many) in [(1, false), (MOST_MODELS, false), (MOST_MODELS + 1, true), (100_000, true)] {
            let peek = seen_of(format!("{{{}\"n\":1}}", "\"model\":\"m\",".repeat(count)));
            assert_eq!(
                (peek.has_too_many_models(), peek.model_spans.len() <= MOST_MODELS + 1),
                (too_many, true),
                "{count}"
            );
        }
    }

    #[test]
    fn what_is_too_long_names_neither_a_model_nor_a_session() {
        let long = "x".repeat(LONGEST_READ);
        let body = json!({ "model": long, "metadata": { "user_id": long }, "conversation_id": "c" }).to_string();
        let peek = seen_of(body);
        assert_eq!((peek.model.as_deref(), peek.session.as_deref(), peek.model_spans.len()), (None, Some("c"), 1));
    }

    #[test]
    fn every_top_level_model_is_rewritten_and_nothing_else() {
        let body = Bytes::from_static(
            b" { \"model\" : \"a\", \"x\":{\"model\":\"a\"},\n\"mod\\u0065l\":7 ,\"y\":1.50e+01, \"y\":2 }\n",
        );
        let rewritten = renamed(&body, &seen_of(&body), "b\"\\é");
        let wanted = " { \"model\" : \"b\\\"\\\\é\", \"x\":{\"model\":\"a\"},\n\"mod\\u0065l\":\"b\\\"\\\\é\" ,\"y\":1.50e+01, \"y\":2 }\n";
        assert_eq!(std::str::from_utf8(&rewritten).unwrap(), wanted);
    }

    #[test]
    fn spans_of_another_body_change_nothing() {
        let longer = seen_of(br#"{"something":"else","model":"m"}"#);
        let body = Bytes::from_static(b"{}");
        assert_eq!(renamed(&body, &longer, "x"), body);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("model|stream|[a-z\"\\\\é]{0,3}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// One member of an object: how its name is written, its value, and whether that is a model.
    fn any_member() -> impl Strategy<Value = (String, Value, bool)> {
        prop_oneof![
            ("\"model\"|\"mod\\\\u0065l\"|\"\\\\u006Dodel\"", any_json()).prop_map(|(name, value)| (name, value, true)),
            ("[a-z\"\\\\é]{0,8}", any_json())
                .prop_filter("another name", |(name, _)| name != "model")
                .prop_map(|(name, value)| (json!(name).to_string(), value, false)),
        ]
    }

    proptest! {
        #[test]
        fn rewriting_keeps_every_other_byte(
            members in prop::collection::vec((any_member(), "[ \t\r\n]{0,2}", "[ \t\r\n]{0,2}"), 0..6),
            new in any::<String>(),
        ) {
            let written = |replaced: bool| {
                let member = |((name, value, is_model), a, b): &((String, Value, bool), String, String)| {
                    let value = if replaced && *is_model { json!(new) } else { value.clone() };
                    format!("{a}{name}{b}:{a}{value}{b}")
                };
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            };
            let body = Bytes::from(written(false));
            let rewritten = renamed(&body, &seen_of(&body), &new);
            prop_assert_eq!(std::str::from_utf8(&rewritten).unwrap(), written(true));
        }

        #[test]
        fn nothing_that_is_sent_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let body = Bytes::from(body);
            let peek = seen_of(&body);
            let _ = renamed(&body, &peek, "m");
        }
    }
}
