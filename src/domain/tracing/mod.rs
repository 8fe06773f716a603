//! Traces: who called whom for one request, as W3C Trace Context names it and OpenTelemetry takes it.

mod backlog;
mod collector;
mod context;
mod otlp;
mod span;

pub use backlog::{BATCH, Backlog};
pub use collector::Collector;
pub use context::{SpanId, TraceContext, TraceId};
pub use otlp::{Service, export};
pub use span::{Attributes, Kind, Span};
