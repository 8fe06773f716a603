use super::*;
use proptest::prelude::*;

fn defaults() -> OtherPaths {
    OtherPaths::new(["/v1/models", "/v1/models/*"]).unwrap()
}

fn everything() -> OtherPaths {
    OtherPaths::new(["*"]).unwrap()
}

#[test]
fn a_path_that_a_base_url_has_spoilt_is_known_for_what_was_meant() {
    for (path, meant) in [
        ("/v1/messages/", Some(LlmPath::Messages)),
        ("//v1//messages", Some(LlmPath::Messages)),
        ("/messages/count_tokens", Some(LlmPath::CountTokens)),
        ("/v1/v1/v1/messages", Some(LlmPath::Messages)),
        ("/chat/completions", Some(LlmPath::ChatCompletions)),
        ("/responses", Some(LlmPath::Responses)),
        ("/v2/messages", None),
        ("/v1/messages/batches", None),
        ("/v1", None),
        ("/", None),
    ] {
        assert_eq!(LlmPath::meant_by(path), meant, "{path}");
    }
}

#[test]
fn a_request_goes_where_its_method_and_path_say() {
    use Destination as D;
    let llm = |path, target| D::Llm { path, target };
    for (method, raw, destination) in [
        ("POST", "/v1/messages", llm(LlmPath::Messages, "/v1/messages")),
        ("POST", "/v1/messages?beta=true", llm(LlmPath::Messages, "/v1/messages?beta=true")),
        ("POST", "/v1/v1/messages?a=/v1/v1", llm(LlmPath::Messages, "/v1/messages?a=/v1/v1")),
        ("POST", "/v1/messages/count_tokens", llm(LlmPath::CountTokens, "/v1/messages/count_tokens")),
        ("POST", "/v1/chat/completions", llm(LlmPath::ChatCompletions, "/v1/chat/completions")),
        ("POST", "/v1/completions", llm(LlmPath::Completions, "/v1/completions")),
        ("POST", "/v1/responses", llm(LlmPath::Responses, "/v1/responses")),
        ("POST", "/v1/embeddings", llm(LlmPath::Embeddings, "/v1/embeddings")),
        ("GET", "/v1/messages", D::WrongMethod { path: LlmPath::Messages }),
        ("post", "/v1/messages", D::WrongMethod { path: LlmPath::Messages }),
        ("DELETE", "/v1/v1/embeddings?x", D::WrongMethod { path: LlmPath::Embeddings }),
        ("POST", "/v1/messages/", D::Unknown),
        ("POST", "/V1/messages", D::Unknown),
        ("POST", "//v1/messages", D::Unknown),
        ("POST", "/v1/%6dessages", D::Unknown),
        ("POST", "/v1/v1/v1/messages", D::Unknown),
        ("POST", "/v1/v1", D::Unknown),
        ("POST", "/v1/messages/batches", D::Unknown),
        ("GET", "/v1/models", D::Other { target: "/v1/models" }),
        ("GET", "/v1/models?limit=1000", D::Other { target: "/v1/models?limit=1000" }),
        ("GET", "/v1/v1/models?limit=1", D::Other { target: "/v1/models?limit=1" }),
        ("GET", "/v1/models/org%2Fname", D::Other { target: "/v1/models/org%2Fname" }),
        ("GET", "/v1/models/../models/x", D::Other { target: "/v1/models/../models/x" }),
        ("GET", "/v1/models/../files", D::Unknown),
        ("GET", "/v1/models/%252e%2e/files", D::Unknown),
        ("GET", "/v1/models/..%5cfiles", D::Unknown),
        ("GET", "/v1/models/..;a/files", D::Unknown),
        // These would climb out of a base URL's own path.
        ("GET", "/v1/models/../../../v1/models/x", D::Unknown),
        ("GET", "/v1/models/%2e%2e/../../v1/models/x", D::Unknown),
        ("HEAD", "/", D::Warmup),
        ("HEAD", "/?x", D::Warmup),
        ("HEAD", "/api/hello", D::Warmup),
        ("GET", "/", D::Root),
        ("GET", "/api/hello", D::Unknown),
        ("POST", "/", D::Unknown),
        ("GET", "", D::Unknown),
        ("OPTIONS", "*", D::Unknown),
    ] {
        assert_eq!(route(method, raw, &defaults()), destination, "{method} {raw}");
    }
}

#[test]
fn a_model_path_by_another_method_is_proxied_where_the_operator_opened_it() {
    let target = "/v1/chat/completions";
    assert_eq!(route("GET", target, &everything()), Destination::Other { target });
    let path = LlmPath::ChatCompletions;
    assert_eq!(route("POST", target, &everything()), Destination::Llm { path, target });
}

#[test]
fn only_the_clean_lower_case_prefix_is_the_gateways_own() {
    for (raw, tail) in [
        ("/__qcc__", ""),
        ("/__qcc__?x=/../..", ""),
        ("/__qcc__/", "/"),
        ("/__qcc__/stats?x", "/stats"),
        ("/__qcc__/health/live", "/health/live"),
        ("/__qcc__/endpoints/relay-2_b/verify", "/endpoints/relay-2_b/verify"),
        ("/__qcc__/app.js", "/app.js"),
        ("/__qcc__/assets/", "/assets/"),
    ] {
        assert_eq!(route("GET", raw, &everything()), Destination::Own { tail }, "{raw}");
    }
}

#[test]
fn another_spelling_of_the_prefix_is_never_proxied() {
    for raw in [
        "/__QCC__/stats",
        "/__Qcc__",
        "/__qcc__x",
        "/__qcc__//stats",
        "/__qcc__//",
        "/__qcc__/../v1/messages",
        "/__qcc__/./stats",
        "/__qcc__/%73tats",
        "/__qcc__/a;b",
        "/__qcc__\\stats",
        "//__qcc__/stats",
        "/./__qcc__",
        "/.../__qcc__",
        "/.__qcc__",
        "/\\__qcc__",
        "\\__qcc__",
        "__qcc__",
        "/%5f_qcc__/stats",
        "/%255F_qcc__/stats",
        "/%2525%35f_qcc__",
        "/%2f__qcc__",
        "/a/../__qcc__",
        "/a%2fb/../__qcc__",
        "/a/b/../../__qcc__/stats",
        "/a/%2e%2E/__qcc__",
        "/a/..;x=1/__qcc__",
        "/;x/__qcc__",
        "/%00__qcc__",
        "/%20/__qcc__",
        "/v1/v1/../../__qcc__",
    ] {
        assert_eq!(route("POST", raw, &everything()), Destination::Disguised, "{raw}");
    }
}

#[test]
fn a_path_that_merely_mentions_the_prefix_is_like_any_other() {
    for target in ["/v1/__qcc__", "/v1/files/__qcc__/x", "/v1/files?path=/__qcc__", "/_qcc_", "/a/./__qcc__"] {
        assert_eq!(route("GET", target, &everything()), Destination::Other { target }, "{target}");
    }
}

#[test]
fn a_path_that_is_encoded_many_times_over_is_decoded_in_one_pass() {
    let path = format!("/%{}5f_qcc__", "25".repeat(50_000));
    assert_eq!(route("GET", &path, &everything()), Destination::Disguised);
    assert_eq!(decoded_to_the_end("/%2541%zz%4"), b"/A%zz%4");
}

/// A byte, percent-encoded `times` over.
fn encoded(byte: u8, times: usize, upper: bool) -> String {
    if times == 0 {
        return char::from(byte).to_string();
    }
    let hex = if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    format!("%{}{hex}", "25".repeat(times - 1))
}

fn disguised_text(plain: &'static str) -> impl Strategy<Value = String> {
    let how = (prop_oneof![3 => Just(0_usize), 1 => 1..4_usize], any::<bool>(), any::<bool>());
    prop::collection::vec(how, plain.len()).prop_map(move |hows| {
        let disguise = |(byte, (times, upper, other_case)): (u8, (usize, bool, bool))| {
            let byte = if other_case { byte.to_ascii_uppercase() } else { byte };
            encoded(byte, times, upper)
        };
        plain.bytes().zip(hows).map(disguise).collect()
    })
}

fn noise() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        disguised_text("/"),
        disguised_text("\\"),
        disguised_text("/./"),
        disguised_text("/../"),
        disguised_text("/a/../"),
        disguised_text("/a/b/../../"),
        disguised_text("/..;p/"),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_spelling_of_the_prefix_is_ever_proxied(
        before in noise(),
        slash in disguised_text("/"),
        name in disguised_text("__qcc__"),
        after in "[ -~]{0,12}",
        method in "GET|POST|HEAD|PUT",
    ) {
        let raw = format!("{before}{slash}{name}{after}");
        let destination = route(&method, &raw, &everything());
        prop_assert!(matches!(destination, Destination::Own { .. } | Destination::Disguised), "{raw}: {destination:?}");
        if let Destination::Own { .. } = destination {
            prop_assert!(raw.starts_with(OWN_PREFIX), "{}", raw);
        }
    }

    #[test]
    fn any_target_goes_somewhere_without_panic(raw in "\\PC{0,40}") {
        let _ = route("POST", &raw, &everything());
    }

    #[test]
    fn decoding_to_the_end_is_decoding_again_and_again(path in "[%25fF/.a]{0,24}") {
        let once = |bytes: &[u8]| {
            let mut decoded = Vec::new();
            let mut rest = bytes;
            while let Some((&first, tail)) = rest.split_first() {
                if let Some(plain) = rest.get(..3).and_then(encoded_at_end) {
                    decoded.push(plain);
                    rest = &rest[3..];
                } else {
                    decoded.push(first);
                    rest = tail;
                }
            }
            decoded
        };
        let mut slowly = path.clone().into_bytes();
        loop {
            let next = once(&slowly);
            if next == slowly {
                break;
            }
            slowly = next;
        }
        prop_assert_eq!(decoded_to_the_end(&path), slowly);
    }
}
