"""What is measured: the kinds of work, and the figures that are read off each."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

#: What the proxies under test are compared with.
PEERS = ("direct", "nginx", "haproxy", "gateway")


@dataclass(frozen=True)
class Figure:
    """One number of a measurement. `against` says how it is held beside the others': by ratio, by difference, or not."""

    label: str
    read: Callable[[dict], float]
    against: str = "ratio"
    digits: int = 0
    #: Told as the sum over all rounds, for what must not happen even once.
    is_sum: bool = False
    #: Not to be had of the upstream itself, where it stands for no proxy.
    of_proxies: bool = False

    def of(self, result):
        """The number in a result; nan where it has none."""
        try:
            return self.read(result)
        except (TypeError, ZeroDivisionError):
            return math.nan


def cpu_per(what):
    return lambda result: result["cpu_us"] / result[what]


def micros(kind, part):
    return lambda result: result[kind][part]


RATE = Figure("requests/s", lambda result: result["answers"] / result["seconds"])
CPU = Figure("CPU µs/request", cpu_per("answers"), digits=1, of_proxies=True)
P50 = Figure("p50 µs", micros("latency_us", "p50"), against="difference")
P99 = Figure("p99 µs", micros("latency_us", "p99"), against="difference")
EVENT_RATE = Figure("events/s", lambda result: result["events"] / result["seconds"])
EVENT_CPU = Figure("CPU µs/event", cpu_per("events"), digits=2, of_proxies=True)
GAP = Figure("gap p99 ms", lambda result: result["gap_us"]["p99"] / 1000, against="difference", digits=1)
LATE = Figure("late p99 ms", lambda result: result["age_us"]["p99"] / 1000, against="difference", digits=1)
MEMORY = Figure(
    "KiB/stream",
    lambda result: (result["loaded_kib"] - result["idle_kib"]) / result["connections"],
    digits=1,
    of_proxies=True,
)
ERRORS = Figure("errors", lambda result: result["errors"], against="none", is_sum=True)


@dataclass(frozen=True)
class Work:
    """One measurement: what is asked of whom, and what is told of it."""

    name: str
    label: str
    mode: str
    figures: tuple
    options: dict = field(default_factory=dict)
    targets: tuple = PEERS
    #: What the last target is compared with.
    bases: tuple = ("nginx", "haproxy")
    #: Seconds to warm up, and at least so many measured, in a full run.
    warm: float = 0.5
    seconds: float = 0
    #: The same in a quick one, with at most so many connections, and with these options in place of the full run's.
    quick_warm: float = 0.1
    quick_seconds: float = 0.3
    quick_connections: int = 100_000
    quick_options: dict = field(default_factory=dict)
    #: Measured with processes that have done nothing before, for the sake of their memory, in a quick run too.
    is_fresh: bool = False
    #: Goes to the upstream that hangs up.
    is_flaky: bool = False
    #: Whose errors are a figure, and no fault of the measurement.
    may_err: tuple = ()


CLOSED = (CPU, RATE, P50, P99, ERRORS)


def closed(connections, **more):
    return Work(
        f"closed-{connections}", f"{connections} connection{'s' if connections > 1 else ''}, small JSON", "closed", CLOSED, {"connections": connections}, **more
    )


def body(kib, connections):
    options = {"connections": connections, "body": kib * 1024}
    return Work(f"body-{kib}k", f"{kib} KB request bodies, {connections} connections", "closed", CLOSED, options)


def beside_plain(name, label, target, **options):
    """A gateway with other settings beside the plain one."""
    options = {"connections": 64, **options}
    return Work(name, label, "closed", (CPU, RATE, ERRORS), options, targets=("gateway", target), bases=("gateway",))


def beside_other(kind):
    """A peer that is measured on request; some do so little in a second that they are given more of them."""
    options = {"connections": 64}
    more = {"targets": ("gateway", kind.name), "bases": (kind.name,), "seconds": 8, "warm": 4, "quick_seconds": 4, "quick_warm": 2}
    yield Work(f"{kind.name}-64", f"{kind.label}: 64 connections, small JSON", "closed", CLOSED, options, **more)
    if kind.has_streams:
        figures = (EVENT_CPU, EVENT_RATE, ERRORS)
        options = options | {"events": 50, "connections": kind.stream_connections}
        label = f"{kind.label}: {kind.stream_connections} streams flat out"
        yield Work(f"{kind.name}-stream", label, "stream", figures, options, **more)


WORKS = (
    closed(1),
    closed(8),
    closed(64),
    closed(256),
    Work("open-2000", "2,000 requests/s, open loop", "open", CLOSED, {"connections": 64, "rate": 2000}),
    body(64, 32),
    body(256, 16),
    Work("stream-64", "64 streams flat out", "stream", (EVENT_CPU, EVENT_RATE, GAP, ERRORS), {"connections": 64, "events": 50}),
    Work(
        "stream-500",
        "500 streams of 50 events/s",
        "stream",
        (EVENT_CPU, EVENT_RATE, GAP, LATE, ERRORS),
        {"connections": 500, "events": 100, "delay-us": 20_000},
        warm=2.5,
        seconds=4,
        quick_warm=0.3,
        quick_seconds=0.5,
        quick_connections=100,
        quick_options={"events": 20},
    ),
    Work(
        "stream-5000",
        "5,000 open streams of 1 event/s",
        "held",
        (EVENT_CPU, LATE, MEMORY, ERRORS),
        {"connections": 5000, "delay-us": 1_000_000},
        warm=6,
        seconds=5,
        quick_warm=1.5,
        quick_seconds=0.6,
        quick_connections=300,
        quick_options={"delay-us": 500_000},
        is_fresh=True,
    ),
    beside_plain("isolated", "one endpoint of three isolated, 64 connections", "isolated"),
    beside_plain("endpoints-1000", "1,000 endpoints configured, 64 connections", "thousand"),
    beside_plain("endpoints-1000-unbound", "1,000 endpoints, requests without a session", "thousand", sessions=0),
    Work(
        "stale",
        "upstream that hangs up unasked, 16 connections",
        "closed",
        (ERRORS, RATE),
        {"connections": 16},
        targets=("direct", "nginx", "haproxy", "flaky"),
        is_flaky=True,
        may_err=("direct", "nginx", "haproxy"),
    ),
)
