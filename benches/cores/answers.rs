//! Classification: which row of the table an answer belongs to.

use std::hint::black_box;

use criterion::Criterion;
use qcc_gateway::domain::classify::{AnswerHead, WhoseCredential, Words, classify_answer, classify_stream_head};
use qcc_gateway::domain::limits::Limits;
use qcc_gateway::domain::outcome_table::PathKind;
use qcc_gateway::domain::peek::Wanted;
use qcc_gateway::domain::rules::Rules;
use qcc_gateway::domain::usage::Usage;

use super::upstream::{ANSWER, REFUSAL};

const OVERLOADED: &str =
    r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_011"}"#;

pub(super) fn measure(criterion: &mut Criterion) {
    let (limits, rules) = (Limits::none(), Rules::none());
    let head = |status, content_type, wanted| AnswerHead {
        status,
        content_type: Some(content_type),
        credential: WhoseCredential::Gateway,
        wanted,
        model: Some("claude-sonnet-4-5"),
        limits: &limits,
        rules: &rules,
    };
    let mut group = criterion.benchmark_group("classify");
    for (name, status, body) in [("a message", 200, ANSWER), ("a 529", 529, OVERLOADED), ("a 400", 400, REFUSAL)] {
        group.bench_function(name, |bencher| {
            let head = head(status, "application/json", Wanted::Whole);
            let body = Some(body.as_bytes());
            bencher.iter(|| classify_answer(PathKind::Llm, black_box(&head), black_box(body), Words::Left));
        });
    }
    group.bench_function("a stream's head", |bencher| {
        let head = head(200, "text/event-stream; charset=utf-8", Wanted::Stream);
        bencher.iter(|| classify_stream_head(PathKind::Llm, black_box(&head)));
    });
    group
        .bench_function("a message's usage", |bencher| bencher.iter(|| Usage::of_answer(black_box(ANSWER.as_bytes()))));
    group.finish();
}
