//! The dashboard's files. What it does in a browser is shown by `tests/browser/`.

use crate::support::app::{LOCAL, Setup, TestApp};
use crate::support::upstream::Upstream;

const PAGE: &str = "/__qcc__/";

async fn started(admin: &str) -> TestApp {
    let upstream = Upstream::anthropic("a").await;
    Setup::new().primary(&upstream).section("admin", admin).start().await
}

/// The addresses of the files that a page loads.
fn files_of(page: &str) -> Vec<String> {
    let loaded = page.split(['"']).filter(|part| part.starts_with("assets/"));
    let mut files: Vec<String> = loaded.map(|file| format!("{PAGE}{file}")).collect();
    files.sort();
    files.dedup();
    files
}

/// The files that a script loads further.
fn imported(script: &str) -> Vec<String> {
    let names = script.split('"').filter_map(|part| part.strip_prefix("./"));
    names.map(|name| format!("{PAGE}assets/{name}")).collect()
}

#[actix_web::test]
async fn every_file_that_the_pages_load_is_there_with_its_type_for_anybody() {
    for admin in ["", "token = \"t\""] {
        let app = started(admin).await;
        let page = app.client().await.get(PAGE, &LOCAL).await.text();
        let mut to_load = files_of(&page);
        assert!(to_load.len() >= 3, "{to_load:?}");
        let mut loaded = Vec::new();
        while let Some(file) = to_load.pop() {
            let answer = app.client().await.get(&file, &[("x-forwarded-for", "1.2.3.4")]).await;
            assert_eq!((answer.status, answer.header("x-content-type-options")), (200, Some("nosniff")), "{file}");
            let wanted = match file.rsplit('.').next() {
                Some("js") => "text/javascript; charset=utf-8",
                Some("css") => "text/css; charset=utf-8",
                _ => "image/svg+xml",
            };
            assert_eq!(answer.header("content-type"), Some(wanted), "{file}");
            to_load.extend(imported(&answer.text()).into_iter().filter(|next| !loaded.contains(next)));
            loaded.push(file);
        }
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_browser_that_has_a_file_is_told_that_it_still_holds() {
    let app = started("").await;
    let file = "/__qcc__/assets/main.js";
    let first = app.client().await.get(file, &LOCAL).await;
    assert_eq!(first.header("cache-control"), Some("no-cache"), "it asks each time");
    let tag = first.header("etag").unwrap();
    let again = app.client().await.get(file, &[("if-none-match", tag)]).await;
    assert_eq!((again.status, again.text(), again.header("etag")), (304, String::new(), Some(tag)));
    assert_eq!(app.client().await.get(file, &[("if-none-match", "\"another\"")]).await.status, 200);
    assert_ne!(app.client().await.get("/__qcc__/assets/api.js", &LOCAL).await.header("etag"), Some(tag));
    assert_eq!(app.client().await.head(file, &LOCAL).await.status, 200);
    assert_eq!(app.client().await.post(file, &LOCAL, "").await.status, 405);
    for nothing in ["/__qcc__/assets", "/__qcc__/assets/", "/__qcc__/assets/index.html", "/__qcc__/assets/main.js/"] {
        assert_eq!(app.client().await.get(nothing, &LOCAL).await.status, 404, "{nothing}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn the_pages_run_nothing_but_the_gateways_own_files() {
    for admin in ["", "token = \"t\""] {
        let app = started(admin).await;
        let page = app.client().await.get(PAGE, &LOCAL).await;
        let policy = page.header("content-security-policy").unwrap();
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(directive), "{directive} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        app.finish().await;
    }
}

#[actix_web::test]
async fn where_everybody_may_read_the_login_is_there_for_whoever_asks_for_it() {
    let app = started("token = \"t\"\npublic_stats = true").await;
    let shows_login = async |path: &str| app.client().await.get(path, &LOCAL).await.text().contains("name=\"token\"");
    assert!(!shows_login(PAGE).await);
    assert!(shows_login("/__qcc__/?login").await);
    app.finish().await;
}
