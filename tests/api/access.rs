//! Who may use the gateway's own routes where there are tokens.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, TestApp, body};
use crate::support::raw_client::{Answer, RawClient};
use crate::support::upstream::Upstream;

const STATS: (&str, &str) = ("GET", "/__qcc__/stats");
const EVENTS: (&str, &str) = ("GET", "/__qcc__/events");
const METRICS: (&str, &str) = ("GET", "/__qcc__/metrics");
const USAGE: (&str, &str) = ("GET", "/__qcc__/usage");
const DISABLE: (&str, &str) = ("POST", "/__qcc__/endpoints/a/disable");
const ENABLE: (&str, &str) = ("POST", "/__qcc__/endpoints/a/enable");
const READY: (&str, &str) = ("GET", "/__qcc__/health/ready");
const PAGE: (&str, &str) = ("GET", "/__qcc__/");

async fn asked(app: &TestApp, (method, path): (&str, &str), headers: &[(&str, &str)]) -> Answer {
    let mut client = app.client().await;
    client.send_request(method, path, headers, b"").await;
    client.answer().await
}

async fn with_tokens(lines: &str) -> TestApp {
    let upstream = Upstream::anthropic("a").await;
    Setup::new().primary(&upstream).section("admin", lines).start().await
}

#[actix_web::test]
async fn with_a_token_set_it_is_needed_even_at_this_machine() {
    let app = with_tokens("token = \"admin-token\"").await;
    for route in [STATS, EVENTS, METRICS, USAGE, DISABLE] {
        for headers in [
            vec![],
            vec![("authorization", "Bearer wrong")],
            vec![("authorization", "Basic admin-token")],
            vec![("authorization", "Bearer ")],
            vec![("x-api-key", "admin-token")],
        ] {
            let refused = asked(&app, route, &headers).await;
            assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")), "{headers:?}");
            assert!(refused.json()["error"].as_str().unwrap().contains("token"), "{}", refused.text());
            assert!(!refused.text().contains("wrong"), "{}", refused.text());
        }
        assert_eq!(asked(&app, route, &[("authorization", "bearer admin-token")]).await.status, 200, "{route:?}");
    }
    for route in [READY, PAGE] {
        assert_eq!(asked(&app, route, &[]).await.status, 200, "{route:?} is for anyone");
    }
    let through_a_proxy = [("authorization", "Bearer admin-token"), ("x-forwarded-for", "1.2.3.4")];
    assert_eq!(asked(&app, STATS, &through_a_proxy).await.status, 200, "who shows it may come from anywhere");
    app.finish().await;
}

#[actix_web::test]
async fn a_token_is_known_by_its_digest_too() {
    // printf %s abc | sha256sum
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let app = with_tokens(&format!("token_sha256 = \"{digest}\"")).await;
    assert_eq!(asked(&app, DISABLE, &[("authorization", "Bearer abc")]).await.status, 200);
    let with_digest = format!("Bearer {digest}");
    assert_eq!(asked(&app, DISABLE, &[("authorization", &with_digest)]).await.status, 401, "the digest is no token");
    app.finish().await;
}

#[actix_web::test]
async fn the_read_token_reads_every_route_and_changes_nothing() {
    let app = with_tokens("token = \"admin-token\"\nread_token = \"read-token\"").await;
    let reader = [("authorization", "Bearer read-token")];
    for route in [STATS, EVENTS, METRICS, USAGE, READY] {
        assert_eq!(asked(&app, route, &reader).await.status, 200, "{route:?}");
    }
    let verify = ("POST", "/__qcc__/endpoints/a/verify");
    for route in [DISABLE, ENABLE, verify, ("POST", "/__qcc__/endpoints/a/isolate")] {
        let refused = asked(&app, route, &reader).await;
        assert_eq!(refused.status, 403, "{route:?}");
        assert!(refused.json()["error"].as_str().unwrap().contains("read token"));
    }
    let admin = [("authorization", "Bearer admin-token")];
    let stats = asked(&app, STATS, &admin).await.json();
    assert_eq!(stats["endpoints"][0]["standing"], "primary");
    assert_eq!(asked(&app, DISABLE, &admin).await.json()["standing"], json!("disabled"));
    app.finish().await;
}

#[actix_web::test]
async fn a_read_token_alone_leaves_changes_to_this_machine() {
    let app = with_tokens("read_token = \"read-token\"").await;
    assert_eq!(asked(&app, DISABLE, &[]).await.status, 200);
    let afar = ("x-forwarded-for", "1.2.3.4");
    assert_eq!(asked(&app, STATS, &[afar]).await.status, 403);
    assert_eq!(asked(&app, STATS, &[afar, ("authorization", "Bearer read-token")]).await.status, 200);
    assert_eq!(asked(&app, ENABLE, &[afar, ("authorization", "Bearer read-token")]).await.status, 403);
    app.finish().await;
}

#[actix_web::test]
async fn public_stats_may_be_read_without_any_token() {
    let app = with_tokens("token = \"admin-token\"\npublic_stats = true").await;
    for route in [STATS, EVENTS, METRICS] {
        assert_eq!(asked(&app, route, &[]).await.status, 200, "{route:?}");
        assert_eq!(asked(&app, route, &[("x-forwarded-for", "1.2.3.4")]).await.status, 200, "{route:?}");
    }
    for route in [USAGE, DISABLE] {
        assert_eq!(asked(&app, route, &[]).await.status, 401, "{route:?}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn another_sites_post_is_refused_whatever_token_it_shows() {
    let app = with_tokens("token = \"admin-token\"").await;
    let own = format!("http://{}", app.address());
    for (header, status) in [
        (("origin", "http://evil.example"), 403),
        (("origin", "null"), 403),
        (("sec-fetch-site", "cross-site"), 403),
        (("sec-fetch-site", "same-site"), 403),
        (("sec-fetch-site", "same-origin"), 200),
        (("origin", own.as_str()), 200),
    ] {
        let headers = [("authorization", "Bearer admin-token"), header];
        assert_eq!(asked(&app, ENABLE, &headers).await.status, status, "{header:?}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn the_page_may_not_be_framed_and_shows_nothing_of_the_state() {
    let app = with_tokens("token = \"admin-token\"").await;
    let page = asked(&app, PAGE, &[]).await;
    assert_eq!((page.status, page.header("x-frame-options")), (200, Some("DENY")));
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    assert!(page.text().contains("qcc-gateway") && !page.text().contains("127.0.0.1"));
    app.finish().await;
}

/// A token as the dashboard's form sends it.
async fn log_in(app: &TestApp, token: &str, headers: &[(&str, &str)]) -> Answer {
    let form = [&[("content-type", "application/x-www-form-urlencoded")], headers].concat();
    app.client().await.post("/__qcc__/login", &form, format!("token={token}")).await
}

/// The cookie of an answer, as a browser sends it back.
fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[actix_web::test]
async fn a_login_is_worth_as_much_as_its_token_until_the_logout() {
    let app = with_tokens("token = \"admin-token\"\nread_token = \"read-token\"").await;
    let own = format!("http://{}", app.address());
    for (token, change) in [("admin-token", 200), ("read-token", 403)] {
        let login = log_in(&app, token, &[("origin", &own)]).await;
        assert_eq!((login.status, login.header("location")), (303, Some("/__qcc__/")));
        let set = login.header("set-cookie").unwrap();
        for part in ["; Path=/__qcc__", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43200"] {
            assert!(set.contains(part), "{set}");
        }
        assert!(!set.contains(token), "the token itself is not in it");
        let cookie = cookie(&login);
        let session = ("cookie", cookie.as_str());
        assert_eq!(asked(&app, STATS, &[session]).await.status, 200, "{token}");
        assert_eq!(asked(&app, ENABLE, &[session, ("origin", &own)]).await.status, change, "{token}");
        assert!(asked(&app, PAGE, &[session]).await.text().contains("Log out"));
        let logout = asked(&app, ("POST", "/__qcc__/logout"), &[session, ("origin", &own)]).await;
        assert!(logout.header("set-cookie").unwrap().contains("Max-Age=0"));
        assert_eq!(asked(&app, STATS, &[session]).await.status, 401, "a cookie that was copied is void too");
    }
    assert!(asked(&app, PAGE, &[]).await.text().contains("Log in"));
    let token_itself = format!("qcc_session_{}=admin-token", app.address().port());
    assert_eq!(asked(&app, STATS, &[("cookie", &token_itself)]).await.status, 401);
    app.finish().await;
}

/// Browsers keep cookies for a host, whatever the port.
#[actix_web::test]
async fn a_login_to_one_gateway_of_a_host_leaves_that_to_another_alone() {
    let apps = [with_tokens("token = \"admin-token\"").await, with_tokens("token = \"admin-token\"").await];
    let mut jar = BTreeMap::new();
    for app in &apps {
        let cookie = cookie(&log_in(app, "admin-token", &[]).await);
        let (name, value) = cookie.split_once('=').unwrap();
        jar.insert(name.to_owned(), value.to_owned());
    }
    let shown: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for app in apps {
        assert_eq!(asked(&app, STATS, &[("cookie", &shown.join("; "))]).await.status, 200, "{:?}", jar.keys());
        app.finish().await;
    }
}

#[actix_web::test]
async fn with_a_cookie_another_sites_page_changes_nothing() {
    let app = with_tokens("token = \"admin-token\"").await;
    let cookie = cookie(&log_in(&app, "admin-token", &[]).await);
    let own = format!("http://{}", app.address());
    for (headers, status) in [
        (vec![], 200),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "http://127.0.0.1:1")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "none")], 200),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![("origin", own.as_str())], 200),
    ] {
        let headers = [vec![("cookie", cookie.as_str())], headers].concat();
        assert_eq!(asked(&app, ENABLE, &headers).await.status, status, "{headers:?}");
    }
    assert_eq!(log_in(&app, "admin-token", &[("origin", "http://evil.example")]).await.status, 403);
    app.finish().await;
}

#[actix_web::test]
async fn wrong_tokens_are_limited_and_the_bearer_is_not_locked_out() {
    let app = with_tokens("token = \"admin-token\"").await;
    for _ in 0..10 {
        let refused = log_in(&app, "guess", &[]).await;
        assert_eq!((refused.status, refused.header("set-cookie")), (401, None));
    }
    for token in ["guess", "admin-token"] {
        let refused = log_in(&app, token, &[]).await;
        assert_eq!(refused.status, 429, "{token}");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=59).contains(&wait), "{wait}");
    }
    assert_eq!(asked(&app, STATS, &[("authorization", "Bearer admin-token")]).await.status, 200);
    app.finish().await;
}

#[actix_web::test]
async fn a_login_form_that_is_none_is_refused() {
    let app = with_tokens("token = \"admin-token\"").await;
    for (body, status) in [("", 400), ("token=", 400), ("name=x", 400), (&*"x".repeat(9000), 413)] {
        assert_eq!(app.client().await.post("/__qcc__/login", &[], body).await.status, status, "{}", body.len());
    }
    assert_eq!(asked(&app, ("GET", "/__qcc__/login"), &[]).await.status, 405);
    app.finish().await;
}

#[actix_web::test]
async fn the_own_routes_may_have_an_address_of_their_own_and_health_is_on_both() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).section("admin", "listen = \"127.0.0.1:0\"").start().await;
    let admin = app.admin_address().unwrap();
    assert_ne!(admin, app.address());
    for (path, common, own) in [
        ("/__qcc__/health/live", 200, 200),
        ("/__qcc__/health/ready", 200, 200),
        ("/__qcc__/stats", 404, 200),
        ("/__qcc__/", 404, 200),
        ("/__qcc__/nothing", 404, 404),
        ("/", 200, 404),
    ] {
        assert_eq!(app.client().await.get(path, &[]).await.status, common, "{path}");
        assert_eq!(RawClient::connect(admin).await.get(path, &[]).await.status, own, "{path}");
    }
    let page = app.client().await.get("/", &[]).await.text();
    assert!(page.contains("/__qcc__/health/ready") && !page.contains("/__qcc__/stats"), "{page}");
    assert_eq!(asked(&app, DISABLE, &[]).await.status, 404);
    for (address, status) in [(app.address(), 200), (admin, 404)] {
        let answer = RawClient::connect(address).await.post("/v1/messages", &[TRAFFIC], body(false)).await;
        assert_eq!(answer.status, status, "{address}");
    }
    app.finish().await;
}

/// Found by reading: a probe of the health waited behind long streams, and what asks for it kills a gateway that does not answer.
#[actix_web::test]
async fn a_door_of_their_own_is_open_to_operators_while_clients_take_all_places() {
    let upstream = Upstream::anthropic("a").await;
    let admin = "listen = \"127.0.0.1:0\"";
    let server = "host = \"127.0.0.1\"\nport = 0\nmax_connections = 1";
    let app = Setup::only().section("server", server).primary(&upstream).section("admin", admin).start().await;
    let mut client = app.client().await;
    assert_eq!(client.get("/", &[]).await.status, 200);
    let own = app.admin_address().unwrap();
    for _ in 0..3 {
        assert_eq!(RawClient::connect(own).await.get("/__qcc__/health/ready", &[]).await.status, 200);
    }
    assert_eq!(client.get("/", &[]).await.status, 200, "it has its place still");
    app.finish().await;
}
