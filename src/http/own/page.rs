//! What somebody sees who opens the gateway's own routes in a browser. It shows nothing of the state, so that anyone may.

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::super::access::{Denied, recognise};
use super::super::state::Serving;

const HEAD: &str = "\
<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>qcc-gateway</title>
<h1>qcc-gateway</h1>
";

const CONTENTS: &str = "\
<ul>
<li><a href=\"stats\">stats</a>: queues, counters, one row per endpoint
<li><a href=\"events\">events</a>: the latest queue moves and verifications
<li><a href=\"health/ready\">health</a>: whether it takes requests
</ul>
<form method=\"post\" action=\"logout\"><button>Log out</button></form>
";

const LOGIN: &str = "\
<form method=\"post\" action=\"login\">
<label>Admin or read token <input type=\"password\" name=\"token\" autocomplete=\"current-password\" required></label>
<button>Log in</button>
</form>
";

/// Logs in by the link that is shown at start, whose token stands behind the `#`, and takes it out of the address.
const SCRIPT: &str = "\
const token = new URLSearchParams(location.hash.slice(1)).get('token');
if (token) {
  history.replaceState(null, '', location.pathname);
  const form = document.forms[0];
  form.token.value = token;
  form.submit();
}
";

/// The page, or the login where a token is needed and none is shown. It may not be framed, and runs nothing but its own.
pub(super) async fn page(worker: &Serving<'_>, request: &HttpRequest) -> HttpResponse {
    let (body, script) = match recognise(worker, request).await {
        Err(Denied::NoToken | Denied::WrongToken) => {
            let allowed = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(SCRIPT)));
            (format!("{HEAD}{LOGIN}<script>{SCRIPT}</script>\n</html>\n"), allowed)
        }
        Ok(_) | Err(Denied::CrossSite | Denied::ReadOnly | Denied::NotLocal | Denied::Stopping) => {
            (format!("{HEAD}{CONTENTS}</html>\n"), "'none'".to_owned())
        }
    };
    let policy =
        format!("default-src 'none'; script-src {script}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'");
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // With no referrer at all a browser would send its posts' origin as `null`.
        .insert_header((REFERRER_POLICY, "same-origin"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(body)
}
