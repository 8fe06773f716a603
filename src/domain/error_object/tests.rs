use super::*;

fn read(body: &str) -> Option<ErrorObject> {
    ErrorObject::read(body.as_bytes())
}

#[test]
fn both_protocols_shapes_are_read_and_nothing_else() {
    for shape in [
        r#"{"type":"error","error":{"type":"api_error","message":"m"},"request_id":"r"}"#,
        r#"{"error":{"message":"m","type":"server_error","param":null,"code":null}}"#,
        r#"{"error":{"message":"m"}}"#,
        r#"{"error":{"message":"m","code":502}}"#,
        r#"{"error":{"type":"new_api_error"}}"#,
        r#"{"\u0065rror":{"message":"m"}}"#,
        r#"{"a":"\u00e9","er\u0072\u006Fr":{"message":"m"}}"#,
        r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#,
    ] {
        assert!(read(shape).is_some(), "{shape}");
    }
    for other in [
        "",
        "null",
        "[]",
        "<html>",
        "{}",
        r#"{"error":null}"#,
        r#"{"error":"Unauthorized"}"#,
        r#"{"error":{}}"#,
        r#"{"error":{"type":"","message":"","code":null},"choices":[]}"#,
        r#"{"error":{"code":"x"}}"#,
        r#"{"detail":"Not Found"}"#,
        r#"{"message":"error","code":404}"#,
        r#"{"object":"error","code":404}"#,
        r#"{"object":"list","message":"error"}"#,
        r#"{"error":{"message":"m"}"#,
    ] {
        assert!(read(other).is_none(), "{other}");
    }
}

/// Found by review: the list's elements were taken for the members, in the order in which the code declares them.
#[test]
fn a_list_where_an_object_is_meant_says_nothing() {
    for body in [
        r#"{"error":["api_error",500,"m"]}"#,
        r#"{"base_resp":[1008,"insufficient balance"]}"#,
        r#"{"choices":[[{"message":"m","type":"error"},"stop"]]}"#,
    ] {
        assert_eq!(ErrorObject::of_answer(200, body.as_bytes()), None, "{body}");
    }
}

#[test]
fn a_good_answer_is_not_parsed_for_an_error() {
    for body in [
        r#"{"text":"\u4f60\u597d\u00e9\u000a"}"#,
        r#"{"text":"an \"error\" in a text"}"#,
        r#"{"text":"\u00"#,
        r#"{"object":"response","error":null,"output":[{"error" : null}]}"#,
    ] {
        assert!(!may_hold_error(body.as_bytes()), "{body}");
    }
    for body in [r#"{"error":null,"error":{}}"#, r#"{"error":"null"}"#, r#"{"error""#] {
        assert!(may_hold_error(body.as_bytes()), "{body}");
    }
}

#[test]
fn the_type_is_shown_only_where_it_is_a_short_word() {
    for (body, shown) in [
        (r#"{"error":{"type":"api_error"}}"#, Some("api_error")),
        (r#"{"error":{"type":"Some sentence","code":"bad_thing"}}"#, Some("bad_thing")),
        (r#"{"error":{"type":"<b>","message":"m"}}"#, None),
        (r#"{"error":{"type":"","message":"m"}}"#, None),
    ] {
        assert_eq!(read(body).unwrap().type_word(), shown, "{body}");
    }
    let long = format!(r#"{{"error":{{"type":"{}"}}}}"#, "x".repeat(MAX_WORD + 1));
    assert_eq!(read(&long).unwrap().type_word(), None);
}

#[test]
fn the_message_is_not_in_the_debug_print() {
    let error = read(r#"{"error":{"message":"said in private","type":"api_error"}}"#).unwrap();
    assert!(!format!("{error:?}").contains("private"));
}
