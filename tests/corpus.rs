//! What the fuzz targets check, within `cargo test`: their seeds are played again, and their checks hold for bytes of chance.

#[cfg(test)]
#[path = "fuzz/checks/peek.rs"]
mod peek;
#[cfg(test)]
#[path = "fuzz/checks/rewrite.rs"]
mod rewrite;
#[cfg(test)]
#[path = "fuzz/checks/settings.rs"]
mod settings;
#[cfg(test)]
#[path = "fuzz/checks/sse.rs"]
mod sse;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    /// Plays all seeds of a target.
    fn replay(target: &str, check: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
        let seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(seeds.len() >= 5, "{} seeds in {}", seeds.len(), folder.display());
        for seed in seeds {
            let bytes = std::fs::read(&seed).unwrap();
            let checked = std::panic::catch_unwind(|| check(&bytes));
            assert!(checked.is_ok(), "{} fails its check, see above", seed.display());
        }
    }

    #[test]
    fn every_seed_passes_its_targets_check() {
        replay("sse", crate::sse::check);
        replay("peek", crate::peek::check);
        replay("rewrite", crate::rewrite::check);
        replay("settings", crate::settings::check);
    }

    #[test]
    fn each_target_has_its_check_and_its_seeds_here() {
        let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/targets");
        let mut names: Vec<String> = std::fs::read_dir(targets)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["peek", "rewrite", "settings", "sse"]);
    }

    /// Text put together from these parts, so that it is often nearly right.
    fn text_of(parts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            20 => prop::sample::select(parts).prop_map(|part| part.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..3),
        ];
        prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
    }

    const JSON: &[&str] = &[
        "{",
        "}",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        ",",
        ":",
        " ",
        "\n",
        "\"model\"",
        "\"model\":\"m\"",
        "\"mod\\u0065l\":",
        "\"stream\":true",
        "\"stream\":false",
        "\"metadata\":{",
        "\"user_id\":\"u\"",
        "\"user_id\":",
        "\"prompt_cache_key\":\"k\"",
        "\"conversation_id\":",
        "\"stream_options\":{",
        "\"include_usage\":true",
        "\"n\":",
        "2",
        "-1",
        "1.5e3",
        "null",
        "true",
        "\"\\ud800\"",
        "\"ä😀\"",
        "\"\"",
        "4294967296",
    ];

    const STREAM: &[&str] = &[
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "\r\n\r\n",
        "\r\r",
        "data: ",
        "data:",
        "event: ",
        "event: ping",
        "event: error",
        "event: message_start",
        "event: message_stop",
        "event: content_block_delta",
        "event: message_delta",
        "event: response.failed",
        "event: response.completed",
        "event: response.output_text.delta",
        "data: [DONE]",
        ": comment",
        "{",
        "}",
        "\"type\":\"error\"",
        "{\"delta\":{\"stop_reason\":\"end_turn\"}}",
        "{\"delta\":{\"type\":\"text_delta\",\"text\":\"ä\"}}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}",
        "{\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}",
        "{\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}",
        "{\"type\":\"message_stop\"}",
        "{\"sequence_number\":7}",
        "\u{feff}",
    ];

    const SETTINGS: &[&str] = &[
        "\n",
        "\n",
        "[server]\n",
        "[endpoints.a]\n",
        "[clients.b]\n",
        "[admin]\n",
        "[[rules]]\n",
        "[prices.\"x\"]\n",
        "[log]\n",
        "base_url = ",
        "\"https://a.example\"",
        "\"http://u:p@[::1]:1/v1\"",
        "api_key = \"k\"",
        "port = ",
        "host = ",
        "key = ",
        "1",
        "-1",
        "true",
        "\"5s\"",
        "\"32MiB\"",
        "[\"a\", \"b\"]",
        "{ a = \"b\" }",
        "headers = ",
        "model_map = ",
        "token = ",
        "\0QCC__SERVER__PORT=",
        "\0QCC__ENDPOINTS__A__API_KEY=k",
        "\0QCC__ENDPOINTS__A__BASE_URL=https://b.example",
        "8080",
        "=",
        ".",
        "\"",
        "#",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_body_is_read_as_a_whole_parser_reads_it(body in text_of(JSON), in_braces: bool) {
            let body = if in_braces { [b"{", &*body, b"}"].concat() } else { body };
            crate::peek::check(&body);
        }

        #[test]
        fn a_new_name_changes_nothing_else(name in "[^\0]{0,8}", body in text_of(JSON)) {
            for body in [body.clone(), [b"{", &*body, b"}"].concat()] {
                crate::rewrite::check(&[name.as_bytes(), b"\0", &*body].concat());
            }
        }

        #[test]
        fn a_stream_is_the_same_however_it_is_cut(how: u8, stream in text_of(STREAM)) {
            crate::sse::check(&[&[how], &*stream].concat());
        }

        #[test]
        fn nothing_that_comes_makes_any_of_them_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            crate::peek::check(&bytes);
            crate::rewrite::check(&bytes);
            crate::sse::check(&bytes);
        }
    }
    proptest! {
        // Each case is a file.
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn settings_end_in_an_answer(text in text_of(SETTINGS), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            crate::settings::check(&text);
            crate::settings::check(&bytes);
        }
    }
}
