//! What is read of a body: the same, whatever pieces it came in. Where a whole parser reads an object, both read the same; where
//! it reads another value, nothing is read. Of what is no JSON anything may be read, but each span is a value.

use bytes::Bytes;
use qcc_gateway::domain::peek::{Peek, Wanted};
use serde_json::Value;
use serde_json::de::IoRead;

/// Longer bodies are for the tests of bounds.
const LONGEST: usize = 4096;

/// The bytes are the body.
pub(crate) fn check(bytes: &[u8]) {
    let body = Bytes::copy_from_slice(bytes);
    let peek = Peek::into_body(&body.clone().into());
    let length = 1 + bytes.len() % 7;
    let pieces = (0..bytes.len()).step_by(length).map(|begin| body.slice(begin..body.len().min(begin + length)));
    assert_eq!(Peek::into_body(&pieces.collect()), peek, "in pieces of {length}");
    for span in &peek.model_spans {
        let value = bytes.get(span.clone()).unwrap();
        assert!(serde_json::from_slice::<&serde_json::value::RawValue>(value).is_ok(), "{value:?} is no value");
    }
    if bytes.len() > LONGEST {
        return;
    }
    match read(bytes) {
        Some(Value::Object(members)) => {
            let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
            // Some servers read a name in any case, by Unicode's folding.
            let is_read_as = |name: &'static str| {
                move |key: &&String| key.as_str() != name && key.replace('\u{17f}', "s").eq_ignore_ascii_case(name)
            };
            if members.keys().any(|key| is_read_as("model")(&key)) {
                assert!(!peek.model_spans.is_empty());
            } else {
                assert_eq!(peek.model.as_deref().map(str::to_owned), text(members.get("model")));
                assert_eq!(peek.model_spans.is_empty(), !members.contains_key("model"));
            }
            let wanted = match members.get("stream") {
                _ if members.keys().any(|key| is_read_as("stream")(&key)) => Wanted::Unknown,
                None | Some(Value::Null | Value::Bool(false)) => Wanted::Whole,
                Some(Value::Bool(true)) => Wanted::Stream,
                Some(_) => Wanted::Unknown,
            };
            assert_eq!(peek.wanted, wanted);
            let user = members.get("metadata").and_then(|metadata| metadata.get("user_id"));
            let filled = |value| text(value).filter(|text| !text.is_empty());
            let sessions = [user, members.get("prompt_cache_key"), members.get("conversation_id")];
            assert_eq!(peek.session, sessions.into_iter().find_map(filled));
            let usage = members.get("stream_options").and_then(|options| options.get("include_usage"));
            assert_eq!(peek.include_usage, usage == Some(&Value::Bool(true)));
            let choices = members.get("n").and_then(Value::as_u64).and_then(|choices| u32::try_from(choices).ok());
            assert_eq!(peek.choices, choices.filter(|choices| *choices > 1));
            let prompts = members.get("prompt").and_then(Value::as_array);
            let prompts = prompts
                .filter(|list| matches!(list.first(), Some(Value::String(_) | Value::Array(_))))
                .filter(|_| wanted != Wanted::Whole);
            assert_eq!(
                peek.prompts,
                prompts.filter(|list| list.len() > 1).map(|list| u32::try_from(list.len()).unwrap())
            );
        }
        Some(_) => assert_eq!(peek, Peek::default()),
        // No JSON, or beyond what that parser takes: too deep, a number too large, half a pair.
        None => {}
    }
}

/// Reads by copies, which is another way through the parser than the one that is tested.
fn read(bytes: &[u8]) -> Option<Value> {
    let mut values = serde_json::Deserializer::new(IoRead::new(bytes)).into_iter::<Value>();
    let value = values.next()?.ok()?;
    values.next().is_none().then_some(value)
}
