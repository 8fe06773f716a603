//! What to do about an endpoint that did not pass a verification.

use super::challenge::Unproven;
use super::classify::Words;
use super::conversation::Dialect;
use super::endpoint::{Auth, Endpoint};
use super::finding::{Finding, Handshake, Lack, Unanswered};
use super::outcome_table::Class;

/// The operator's next step, given what was found at this endpoint. `words` says whether the error shown above it quotes the
/// endpoint.
#[must_use]
pub fn next_step(unproven: &Unproven, endpoint: &Endpoint, words: Words) -> String {
    match unproven.finding {
        Finding::Answer(class) => of_answer(class, unproven.status, endpoint, words),
        Finding::OtherProtocol => {
            "set the other protocol: what answers there does not speak the one that it was asked in".to_owned()
        }
        Finding::NoProtocol => place(endpoint),
        Finding::NoCode => {
            "see that the model answers briefly and does as it is told (verify_model), and has the tokens to think \
             before it does (verify_max_tokens)"
                .to_owned()
        }
        Finding::Unanswered(why) => of_silence(why).to_owned(),
        Finding::Unaskable(Lack::Credential) => key(endpoint).to_owned(),
        Finding::Unaskable(Lack::Model) => "name a model to ask (verify_model)".to_owned(),
    }
}

fn of_answer(class: Class, status: Option<u16>, endpoint: &Endpoint, words: Words) -> String {
    match (class, status) {
        (Class::Account, _) => account(endpoint).to_owned(),
        (Class::Credential | Class::ClientCredential, _) => key(endpoint).to_owned(),
        // Not in the protocol's error shape: it may also come from something in front of the API.
        (Class::NotTheApi, Some(401)) => format!("{}; or {}", key(endpoint), place(endpoint)),
        (Class::Forbidden, _) => match endpoint.auth {
            Auth::Passthrough => key(endpoint).to_owned(),
            Auth::Own { .. } | Auth::Missing => {
                "see what this key may do, and from where; a relay that wants only its usual client needs verify_system \
                 or verify_headers"
                    .to_owned()
            }
        },
        (Class::ModelMissing | Class::RelayModelMissing, _) => {
            "name a model that it has (verify_model), or see that this key may use it".to_owned()
        }
        (Class::ClientError, Some(404 | 405)) => {
            format!("{}; or name a model that it has (verify_model)", place(endpoint))
        }
        (Class::NotTheApi | Class::Unsupported | Class::Body, _) => place(endpoint),
        (Class::Redirected, _) => "set base_url to where it redirects to".to_owned(),
        (Class::RateLimited, _) => match endpoint.auth {
            Auth::Own { .. } => "wait until its limit is over; the key is in order".to_owned(),
            Auth::Passthrough | Auth::Missing => "wait until its limit is over".to_owned(),
        },
        (Class::Overloaded, _) => "wait until it is less busy; the key is in order".to_owned(),
        (Class::RequestTimeout | Class::Timeout, _) => of_silence(Unanswered::Timeout).to_owned(),
        (Class::ClientError, _) => match words {
            Words::Left => "see what its error says; log.upstream_errors = true shows it".to_owned(),
            Words::Kept => "do as its error above says; where it says nothing, ask the provider".to_owned(),
        },
        (Class::Connect, _) => of_silence(Unanswered::NoHttp).to_owned(),
        (Class::OutOfFiles, _) => of_silence(Unanswered::Files).to_owned(),
        (Class::OutOfPorts, _) => of_silence(Unanswered::Ports).to_owned(),
        (Class::Stream, _) => of_silence(Unanswered::Body).to_owned(),
        (Class::UpstreamStatus | Class::Success | Class::Cancelled, _) => "wait for the provider, or ask it".to_owned(),
    }
}

fn of_silence(why: Unanswered) -> &'static str {
    match why {
        Unanswered::Url => "see that base_url is a URL with a host's name or address",
        Unanswered::Name => "see that base_url names the right host, and that its name can be resolved from here",
        Unanswered::Files => "raise the limit of open files (ulimit -n); the endpoint was not asked",
        Unanswered::Ports => "widen net.ipv4.ip_local_port_range; the endpoint was not asked",
        Unanswered::Refused => {
            "see that base_url names the right host and port, and that it runs and can be reached from here: directly, \
             for no proxy is used"
        }
        Unanswered::ConnectTimeout => {
            "see that base_url names the right host and port, and that no firewall is between: it has to be reached \
             directly, for no proxy is used; or raise timeouts.connect"
        }
        Unanswered::Tls(Handshake::Untrusted) => {
            "name the authority that has signed its certificate in upstream.ca_file, or see that nothing stands between"
        }
        Unanswered::Tls(Handshake::OtherName) => "set base_url to the name that its certificate is for",
        Unanswered::Tls(Handshake::Outdated) => "see that its certificate is valid, and that the clock here is right",
        Unanswered::Tls(Handshake::Certificate) => {
            "give it a certificate for a server that an authority has signed, the system's or one in upstream.ca_file; an \
             authority's own, as `openssl req -x509` makes it, is refused"
        }
        Unanswered::Tls(Handshake::NoTls) => {
            "see whether it listens without TLS: base_url with http:// or another port"
        }
        Unanswered::Tls(Handshake::Other) => {
            "see that it speaks TLS 1.2 or 1.3, and wants no certificate of the gateway"
        }
        Unanswered::NoHttp => {
            "see that an HTTP server listens at base_url, and that the URL has http:// or https:// as that server wants it"
        }
        Unanswered::Timeout => {
            "see that it is the right model and not too slow (verify_model), or raise verifier.timeout"
        }
        Unanswered::Body => "see what stands between, which may alter answers or cut them short; or ask the provider",
    }
}

fn key(endpoint: &Endpoint) -> &'static str {
    match endpoint.auth {
        Auth::Passthrough if endpoint.verify.headers.is_empty() => {
            "set a key for verifications in verify_headers: here there is no client that brings one"
        }
        Auth::Passthrough => "set the right key in verify_headers; here there is no client that brings one",
        Auth::Own { .. } | Auth::Missing => {
            "set the right key (api_key_env, api_key_file), and see whether it belongs in another header (auth)"
        }
    }
}

fn account(endpoint: &Endpoint) -> &'static str {
    match endpoint.auth {
        Auth::Passthrough => "top up the account behind the key in verify_headers, or raise its limit",
        Auth::Own { .. } | Auth::Missing => "top up the account behind the key, or raise its limit",
    }
}

/// What to do if the endpoint seems to be no API, or another one than the settings say.
fn place(endpoint: &Endpoint) -> String {
    let path = endpoint.base_url.target(Dialect::first(endpoint.protocol).path().as_str());
    format!(
        "see that base_url is that of the API and no web page (it was asked at {path}), and that it speaks protocol = {:?}",
        endpoint.protocol.as_str()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::challenge::{Challenge, Code, Reply, ReplyBody, Verdict};
    use super::super::endpoint::{ExtraHeader, Home, Protocol};
    use super::super::finding::Asked;
    use super::super::ids::Epoch;
    use super::super::outcome::ErrorNote;
    use super::super::rules::{Meaning, Rule, Rules};
    use super::super::secret::Secret;
    use super::super::testing::endpoint;
    use super::*;

    fn subject(auth: Auth) -> Endpoint {
        Endpoint { auth, ..endpoint("main", Home::Primary) }
    }

    fn judged(endpoint: &Endpoint, status: u16, body: &str, rules: &Rules) -> Unproven {
        let reply = Reply {
            protocol: endpoint.protocol,
            status,
            body: ReplyBody::Whole(body.as_bytes()),
            asked: Asked { model: Some("claude-haiku-4-5"), rules },
            elapsed: Duration::ZERO,
        };
        let challenge = Challenge::new(endpoint.id.clone(), Epoch::NONE, Code::from_random(1));
        match challenge.judge(&reply, Words::Left) {
            Verdict::Unproven(unproven) => unproven,
            Verdict::Proven(_) => panic!("{body}"),
        }
    }

    fn of(kind: &str, message: &str) -> String {
        format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#)
    }

    #[test]
    fn the_next_step_goes_by_what_an_answer_means_and_not_by_its_status() {
        let endpoint = endpoint("main", Home::Primary);
        let quota = r#"{"error":{"message":"You exceeded your current quota","type":"x","code":"insufficient_quota"}}"#;
        let completion = r#"{"choices":[{"message":{"role":"assistant","content":"x"}}]}"#;
        let message = r#"{"content":[{"type":"text","text":"something else"}]}"#;
        for (status, body, words, not) in [
            (429, quota, "top up", "wait"),
            (400, &of("invalid_request_error", "Your credit balance is too low to access"), "top up", "error"),
            (402, &of("billing_error", "m"), "top up", "error"),
            (429, &of("rate_limit_error", "m"), "wait until its limit is over; the key is in order", "top up"),
            (529, &of("overloaded_error", "m"), "less busy", "limit"),
            (200, &of("overloaded_error", "m"), "less busy", "web page"),
            (401, &of("authentication_error", "m"), "set the right key (api_key_env", "web page"),
            (401, "<html>", "set the right key (api_key_env", "verify_headers"),
            (401, "<html>", "web page", "verify_headers"),
            (403, &of("permission_error", "m"), "verify_system", "web page"),
            (404, &of("not_found_error", "model: claude-haiku-4-5"), "verify_model", "base_url"),
            (404, r#"{"error":{"message":"model 'claude-haiku-4-5' not found"}}"#, "verify_model", "base_url"),
            (503, r#"{"error":{"message":"m","code":"model_not_found"}}"#, "verify_model", "provider"),
            (404, &of("invalid_request_error", "Invalid URL"), "speaks protocol = \"anthropic\"", "wait"),
            (404, "404 page not found", "it was asked at /v1/messages", "verify_model"),
            (405, "", "speaks protocol = \"anthropic\"", "verify_model"),
            (200, "<html>", "no web page", "verify_model"),
            (200, "{}", "speaks protocol = \"anthropic\"", "verify_model"),
            (200, completion, "set the other protocol", "web page"),
            (200, message, "verify_max_tokens", "base_url"),
            (302, "", "redirects", "wait"),
            (408, "", "verifier.timeout", "web page"),
            (400, &of("invalid_request_error", "m"), "log.upstream_errors = true", "top up"),
            (413, "", "log.upstream_errors = true", "web page"),
            (503, "<html>", "wait for the provider", "web page"),
        ] {
            let step = next_step(&judged(&endpoint, status, body, &Rules::none()), &endpoint, Words::Left);
            assert!(step.contains(words) && !step.contains(not), "{status} {body}: {step}");
        }
    }

    #[test]
    fn the_operators_rules_say_what_an_error_means_here_too() {
        let rule = Rule { status: Some(403), kind: None, code: None, contains: None, meaning: Meaning::Account };
        let endpoint = endpoint("main", Home::Primary);
        let found = judged(&endpoint, 403, &of("permission_error", "m"), &Rules::new([rule]));
        assert!(next_step(&found, &endpoint, Words::Left).contains("top up"));
    }

    #[test]
    fn nobody_is_sent_to_words_that_stand_above() {
        let endpoint = endpoint("main", Home::Primary);
        let refused = judged(&endpoint, 400, &of("invalid_request_error", "m"), &Rules::none());
        let step = next_step(&refused, &endpoint, Words::Kept);
        assert!(step.contains("error above") && !step.contains("log.upstream_errors"), "{step}");
    }

    #[test]
    fn who_passes_credentials_through_is_told_of_the_key_for_verifications() {
        let bare = subject(Auth::Passthrough);
        let header: ExtraHeader = ("x-api-key".to_owned(), Secret::new("k"));
        let mut dressed = bare.clone();
        dressed.verify.headers = vec![header];
        for (status, kind) in [(401, "authentication_error"), (403, "permission_error")] {
            for (endpoint, words) in
                [(&bare, "set a key for verifications in verify_headers"), (&dressed, "right key in")]
            {
                let step = next_step(&judged(endpoint, status, &of(kind, "m"), &Rules::none()), endpoint, Words::Left);
                assert!(step.contains(words) && !step.contains("api_key"), "{status}: {step}");
            }
        }
        let limited = judged(&bare, 429, &of("rate_limit_error", "m"), &Rules::none());
        assert!(!next_step(&limited, &bare, Words::Left).contains("key is in order"));
    }

    #[test]
    fn each_reason_for_which_no_answer_came_has_a_step_of_its_own() {
        use Handshake::{Certificate, NoTls, Other, OtherName, Outdated, Untrusted};
        let endpoint = endpoint("main", Home::Primary);
        let mut steps = Vec::new();
        for (why, words) in [
            (Unanswered::Url, "base_url"),
            (Unanswered::Name, "resolved"),
            (Unanswered::Files, "ulimit -n"),
            (Unanswered::Ports, "ip_local_port_range"),
            (Unanswered::Refused, "host and port"),
            (Unanswered::ConnectTimeout, "timeouts.connect"),
            (Unanswered::Tls(Untrusted), "upstream.ca_file"),
            (Unanswered::Tls(OtherName), "name that its certificate is for"),
            (Unanswered::Tls(Outdated), "clock"),
            (Unanswered::Tls(Certificate), "certificate for a server"),
            (Unanswered::Tls(NoTls), "http://"),
            (Unanswered::Tls(Other), "TLS 1.2"),
            (Unanswered::NoHttp, "https://"),
            (Unanswered::Timeout, "verifier.timeout"),
            (Unanswered::Body, "stands between"),
        ] {
            let silence = Unproven::without_answer(Finding::Unanswered(why), ErrorNote::new(""), Duration::ZERO);
            let step = next_step(&silence, &endpoint, Words::Left);
            assert!(step.contains(words), "{why:?}: {step}");
            assert!(!steps.contains(&step), "{why:?}: {step}");
            steps.push(step);
        }
    }

    #[test]
    fn an_openai_endpoint_is_told_of_its_own_path_and_of_the_other_protocol() {
        let openai = Endpoint { protocol: Protocol::OpenAi, ..endpoint("main", Home::Primary) };
        let step = |body| next_step(&judged(&openai, 200, body, &Rules::none()), &openai, Words::Left);
        let nothing = step("{}");
        assert!(nothing.contains("/v1/chat/completions") && nothing.contains("\"openai\""), "{nothing}");
        let message = step(r#"{"content":[{"type":"text","text":"x"}]}"#);
        assert!(message.contains("set the other protocol"), "{message}");
    }
}
