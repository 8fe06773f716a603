//! What an upstream says of its limits. Whatever that is, the gateway goes on, and tells of it.

use crate::support::app::{LOCAL, Setup};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::status_with;

/// Names of headers that are looked into.
const NAMES: [&str; 14] = [
    "retry-after",
    "retry-after-ms",
    "anthropic-ratelimit-unified-5h-utilization",
    "anthropic-ratelimit-unified-5h-reset",
    "anthropic-ratelimit-unified-7d-utilization",
    "anthropic-ratelimit-unified-7d-reset",
    "anthropic-ratelimit-unified-reset",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-reset",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-limit-tokens",
];

/// Values that are no limit, too much of one, or one in another unit.
const VALUES: [&str; 22] = [
    "",
    "-1",
    "+0",
    "0.5",
    "1e308",
    "NaN",
    "inf",
    "4102444800",
    "4102444800000",
    "4102444800000000",
    "4102444800000000000",
    "999999999999999999999999999999999999999999999999",
    "0000-00-00T00:00:00Z",
    "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999999Z",
    "2100-02-30T25:61:61Z",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "584542046090y",
    "99999999999999999999h9999999999999999999m",
    "ms",
    "\u{1f552}",
];

#[actix_web::test]
async fn no_word_of_a_limit_takes_the_gateway_or_its_routes_away() {
    let hostile = Upstream::anthropic("hostile").await;
    // Those that are told to rest are not asked again, so there are enough.
    let setup = (0..3 * VALUES.len()).fold(Setup::new(), |setup, number| {
        setup.endpoint(&format!("e{number}"), &hostile.base_url(), "queue = \"primary\"\nprotocol = \"anthropic\"")
    });
    let app = setup.start().await;
    for value in VALUES {
        let headers: Vec<_> = NAMES.map(|name| (name, value)).into();
        hostile.script_traffic([429, 529, 200].map(|status| {
            let body = if status == 200 { "{\"type\":\"message\",\"content\":[]}" } else { "" };
            status_with(status, &headers, body)
        }));
        assert_eq!(app.message().await.status, 200, "{value:?}");
        for route in ["stats", "metrics", "usage", "events", "health/ready"] {
            let answer = app.client().await.get(&format!("/__qcc__/{route}"), &LOCAL).await;
            assert_eq!(answer.status, 200, "{route} after {value:?}");
        }
    }
    app.finish().await;
}
