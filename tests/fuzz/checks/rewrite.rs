//! The model's new name: it stands where the old one stood, and every other byte is as it was.

use bytes::Bytes;
use qcc_gateway::domain::peek::{Peek, rewrite_model};
use qcc_gateway::domain::request_body::RequestBody;
use serde_json::{Map, Value};

fn object(body: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(body).ok()
}

/// Up to the first NUL the bytes are the new name; the rest is the body.
pub(crate) fn check(bytes: &[u8]) {
    let (name, body) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or_default());
    let name = String::from_utf8_lossy(name);
    let body = Bytes::copy_from_slice(body.strip_prefix(b"\0").unwrap_or(body));
    let cut = body.len() / 2;
    let pieces: RequestBody = [body.slice(..cut), body.slice(cut..)].into_iter().collect();
    let peek = Peek::into_body(&pieces);
    let rewritten = rewrite_model(&pieces, &peek, &name).into_one();
    let quoted = serde_json::to_vec(&name).unwrap();
    let (mut old, mut new) = (&*body, &*rewritten);
    let mut at = 0;
    for span in &peek.model_spans {
        let between = span.start - at;
        assert_eq!(old.get(..between), new.get(..between));
        assert_eq!(new.get(between..between + quoted.len()), Some(&*quoted));
        old = old.get(between + span.len()..).unwrap();
        new = new.get(between + quoted.len()..).unwrap();
        at = span.end;
    }
    assert_eq!(old, new);
    if let Some(before) = object(&body).filter(|_| !peek.has_no_one_model()) {
        let after = object(&rewritten).unwrap();
        assert!(before.keys().eq(after.keys()));
        for (key, value) in after {
            let renamed = key.eq_ignore_ascii_case("model");
            assert_eq!(value, if renamed { Value::from(&*name) } else { before[&key].clone() });
        }
    }
}
