use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

fn members(json: &str) -> Result<Vec<(&str, &str)>, NoObject> {
    let mut members = JsonMembers::of(json.as_bytes())?;
    let mut all = Vec::new();
    while let Some(JsonMember { name, value }) = members.next_member()? {
        all.push((&json[name.span()], &json[value.span()]));
    }
    Ok(all)
}

#[test]
fn names_and_values_are_found_as_they_are_written() {
    for (json, expected) in [
        ("{}", vec![]),
        (" { } \n", vec![]),
        (r#"{"a":1}"#, vec![("\"a\"", "1")]),
        (" {\n\"a\" : -1.5e+3 ,\t\"b\":\r\nnull } ", vec![("\"a\"", "-1.5e+3"), ("\"b\"", "null")]),
        (r#"{"a":{"b":["}",{"c":"]"}]},"d":[]}"#, vec![("\"a\"", r#"{"b":["}",{"c":"]"}]}"#), ("\"d\"", "[]")]),
        (r#"{"a\"":"b\\","c":"\\\"}"}"#, vec![(r#""a\"""#, r#""b\\""#), ("\"c\"", r#""\\\"}""#)]),
        ("\u{feff} {\"a\":1}", vec![("\"a\"", "1")]),
        (r#"{"a":"","a":"x"}"#, vec![("\"a\"", "\"\""), ("\"a\"", "\"x\"")]),
    ] {
        assert_eq!(members(json), Ok(expected), "{json}");
    }
}

#[test]
fn what_is_no_object_from_outside_is_told() {
    for json in [
        "",
        " ",
        "null",
        "[]",
        "\"a\"",
        "{",
        "{,}",
        "{,\"a\":1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,}",
        "{\"a\":1 2}",
        "{} x",
        "{\"a\":1}}",
        "{a:1}",
        "{\"a\":\"",
        "{\"a\":\"\\\"}",
        "{\"a\":[1}",
        "{\"a\":1 \"b\":2}",
    ] {
        assert_eq!(members(json), Err(NoObject), "{json}");
    }
}

#[test]
fn a_name_is_what_its_escapes_stand_for() {
    for (written, plain) in [
        (r#""usage""#, "usage"),
        (r#""us\u0061ge""#, "usage"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""a\"b""#, "a\"b"),
        (r#""\ud800""#, r"\ud800"),
        (r#""""#, ""),
    ] {
        assert_eq!(*plain_name(written.as_bytes()), *plain.as_bytes(), "{written}");
    }
    assert_eq!(*plain_name(b"\"\xff\""), *b"\xff");
}

#[test]
fn of_several_values_of_one_name_the_last_counts() {
    for (object, value) in [
        (r#"{"a":1}"#, Some("1")),
        (r#"{"a":1,"b":2,"\u0061":[3]}"#, Some("[3]")),
        (r#"{"b":{"a":1}}"#, None),
        (r#"{"a":1"#, None),
        ("1", None),
    ] {
        assert_eq!(value_of(object.as_bytes(), b"a"), value.map(str::as_bytes), "{object}");
    }
}

#[test]
fn an_object_can_be_read_from_one_of_its_members_on() {
    let mut members = JsonMembers::from_one_on(b"\"a\":1,\"b\":2} ");
    for (name, value) in [(0..3, 4..5), (6..9, 10..11)] {
        let member = members.next_member().unwrap().unwrap();
        assert_eq!((member.name.span(), member.value.span()), (name, value));
    }
    assert!(members.next_member().unwrap().is_none());
    assert!(JsonMembers::from_one_on(b"\"a\"]").next_member().is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\"\\\\{}\\[\\],:]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let name = "[\"\\\\{}a]{0,3}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..5).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_same_members_are_found_as_by_a_parser(json in any_json(), is_pretty in any::<bool>()) {
        let text = if is_pretty { format!("{json:#}") } else { json.to_string() };
        let parsed: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(&text).ok();
        let found = members(&text).ok().map(|members| {
            let read = |(name, value): (&str, &str)| (serde_json::from_str(name).unwrap(), value.to_owned());
            members.into_iter().map(read).collect::<BTreeMap<String, String>>()
        });
        let parsed = parsed.map(|members| members.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect());
        prop_assert_eq!(found, parsed);
    }

    #[test]
    fn nothing_makes_it_panic_or_go_on_for_ever(bytes in prop::collection::vec(prop::sample::select(b"{}[]\"\\,:1 a".to_vec()), 0..64)) {
        let Ok(mut members) = JsonMembers::of(&bytes) else { return Ok(()) };
        let mut before = 0;
        while let Ok(Some(JsonMember { name, value })) = members.next_member() {
            let (name, value) = (name.span().end, value.span().end);
            prop_assert!(before < name && name < value && value <= bytes.len());
            before = value;
        }
    }
}
