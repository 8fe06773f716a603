//! The gateway's own routes are reached by their one spelling, and no other spelling of them reaches an upstream. What a
//! path is taken for is in `src/domain/route/tests.rs`; here the bytes go over the wire.

use crate::support::app::{Setup, TRAFFIC};
use crate::support::upstream::Upstream;

/// Ways to write each part of `/__qcc__/stats`, which some server or proxy on the way might undo.
const BEFORE: [&str; 18] = [
    "",
    "/",
    "//",
    "/.",
    "/./.",
    "/..",
    "/%2e%2e",
    "/%2E.",
    "/.%252e",
    "/..;",
    "/..;a=b",
    "/a/..",
    "/a/b/../..",
    "/a%2f..",
    "/v1/..",
    "/v1/v1/../..",
    "/v1/v1/%2e%2e/%2e%2e",
    "/\\..",
];
const NAMES: [&str; 14] = [
    "/__qcc__",
    "/__QCC__",
    "/__Qcc__",
    "/%5f%5fqcc%5f%5f",
    "/%5F_qcc_%5f",
    "/%255f_qcc__",
    "/%25255f_qcc__",
    "/__%71cc__",
    "/__%51CC__",
    "%2f__qcc__",
    "%252f__qcc__",
    "\\__qcc__",
    "%5c__qcc__",
    "/%20__qcc__",
];
const AFTER: [&str; 6] = ["/stats", "%2fstats", "/../stats", "//stats", "/;x/stats", "/stats?x=/v1/models"];

#[actix_web::test]
async fn no_spelling_of_the_own_routes_is_proxied_or_answered_but_the_one() {
    let upstream = Upstream::anthropic("a").await;
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nother_paths = [\"*\"]";
    let app = Setup::only()
        .section("server", server)
        .section("admin", "token = \"admin-token\"")
        .primary(&upstream)
        .start()
        .await;
    let mut client = app.client().await;
    let mut tried = 0;
    for before in BEFORE {
        for name in NAMES {
            for after in AFTER {
                let path = format!("{before}{name}{after}");
                if !path.starts_with('/') {
                    continue;
                }
                let wanted = match path.split('?').next() {
                    // The one spelling: what it wants is a token.
                    Some("/__qcc__/stats") => 401,
                    _ => 404,
                };
                for method in ["GET", "POST"] {
                    client.send_request(method, &path, &[TRAFFIC], b"").await;
                    let answer = client.answer().await;
                    let wanted = if method == "POST" && wanted == 401 { 405 } else { wanted };
                    assert_eq!(answer.status, wanted, "{method} {path}");
                    tried += 1;
                    if !client.is_reusable() {
                        client = app.client().await;
                    }
                }
            }
        }
    }
    assert!(tried > 2000, "{tried}");
    assert_eq!(upstream.total(), 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_path_that_is_encoded_beyond_measure_is_answered() {
    let upstream = Upstream::anthropic("a").await;
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nother_paths = [\"*\"]";
    let app = Setup::only().section("server", server).primary(&upstream).start().await;
    for (path, status) in [
        (format!("/%{}5f_qcc__/stats", "25".repeat(20_000)), 404),
        (format!("{}/__qcc__/stats", "/..".repeat(15_000)), 404),
        (format!("{}__qcc__", "/".repeat(50_000)), 404),
        (format!("/a{}", "%25".repeat(15_000)), 200),
    ] {
        let answer = app.client().await.get(&path, &[TRAFFIC]).await;
        assert_eq!(answer.status, status, "{}", &path[..20]);
    }
    assert_eq!(upstream.total(), 1);
    app.finish().await;
}
