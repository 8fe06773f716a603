use super::Wanted::{Stream, Unknown, Whole};
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What is seen of a body, however it is cut into pieces.
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
        // Some servers accept these names, others do not.
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
        // If there are several, the last counts, as everywhere.
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

/// Found with a body of nothing but models: each took more memory than its text in the body.
#[test]
fn of_more_models_than_anybody_needs_no_account_is_kept() {
    for (count, too_many) in [(1, false), (MAX_MODELS, false), (MAX_MODELS + 1, true), (100_000, true)] {
        let peek = seen_of(format!("{{{}\"n\":1}}", "\"model\":\"m\",".repeat(count)));
        assert_eq!((peek.has_too_many_models(), peek.model_spans.len() <= MAX_MODELS + 1), (too_many, true), "{count}");
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
