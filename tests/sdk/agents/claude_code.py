"""Claude Code itself, in print mode, before the gateway: its user notices no outage while an endpoint is sound, and is told the truth
when none is."""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent import BEFORE_THE_ANSWER, PACKAGES, PATIENCE, run
from gateway import CLIENT_KEY
from text import TEXT
from upstream import BROKEN_500, CUTS_STREAMS, ENDS_AFTER, REFUSES_KEY, SOUND

#: Seconds. It has repeats of its own, which would take minutes.
AT_ONCE = 15
#: For how long trouble goes on, in seconds, and how long it stays of one kind.
TROUBLE = float(os.environ.get("QCC_AGENTS_SECONDS", "15"))
TURN = 0.4
#: What it is.
KINDS = [*BEFORE_THE_ANSWER, CUTS_STREAMS, f"{ENDS_AFTER}5"]


@pytest.fixture
def sdk():
    """What it speaks."""
    return "anthropic"


@pytest.fixture
def ask(gateway, tmp_path):
    """Asks it something, and has its exit status and what it prints."""
    [binary] = PACKAGES.glob("@anthropic-ai/claude-code-*/claude")

    def ask(tools="", key=CLIENT_KEY, within=PATIENCE, folder=tmp_path):
        variables = {
            "ANTHROPIC_BASE_URL": gateway.url,
            "ANTHROPIC_AUTH_TOKEN": key,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        command = [binary, "--print", "--tools", tools, "--", "Say hello."]
        status, told, _ = run(command, folder, variables, within)
        return status, told

    return ask


def are_streamed(upstream):
    return [bool(request["body"].get("stream")) for request in upstream.requests]


@pytest.mark.parametrize("behaviour", BEFORE_THE_ANSWER)
def test_a_failure_before_the_answer_is_not_noticed(gateway, ask, first, second, behaviour):
    first.behaviour = behaviour
    assert ask() == (0, TEXT)
    assert are_streamed(first) == [True]
    assert are_streamed(second) == ([] if behaviour == SOUND else [True])
    stats = gateway.settled()
    assert (stats["total_requests"], stats["successful_requests"], stats["leaks"]) == (1, 1, 0)


def test_a_stream_that_is_cut_is_asked_for_once_more_and_streamed(gateway, ask, first, second):
    first.behaviour = CUTS_STREAMS
    assert ask() == (0, TEXT)
    # Three failures isolate, and from then on the other endpoint serves.
    assert are_streamed(first) == [True] * 3
    assert are_streamed(second) == [True]
    assert gateway.endpoint("first")["standing"] == "failure"
    assert gateway.settled()["leaks"] == 0


def test_a_conversation_with_tools_goes_on_elsewhere_when_its_endpoint_fails(gateway, ask, first, second):
    asked = threading.Thread(target=lambda: first.was_asked(1, PATIENCE) and setattr(first, "behaviour", REFUSES_KEY))
    asked.start()
    assert ask(tools="Bash") == (0, TEXT)
    asked.join()
    assert [len(first.requests), len(second.requests)] == [2, 1]
    results = [block for block in second.requests[0]["body"]["messages"] if block["role"] == "user"][-1]["content"]
    assert results[0]["type"] == "tool_result"
    assert gateway.settled()["leaks"] == 0


def test_what_only_the_operator_can_mend_is_told_at_once(gateway, ask, first, second):
    first.behaviour = second.behaviour = REFUSES_KEY
    status, told = ask(within=AT_ONCE)
    assert status != 0
    assert "the gateway's operator must act" in told
    assert gateway.settled()["leaks"] == 0


def test_a_wrong_key_is_told_at_once_and_asks_nobody(gateway, ask, first, second):
    status, told = ask(key="qcc-client-key-of-nobody", within=AT_ONCE)
    assert status != 0
    assert "key" in told
    assert first.requests == second.requests == []


def test_an_outage_of_all_is_not_noticed_where_one_recovers_in_time(gateway, ask, first, second):
    first.behaviour = BROKEN_500
    for id in ("first", "second"):
        gateway.own(f"/endpoints/{id}/isolate", "POST")
    # That somebody waits hastens the verifications.
    assert ask() == (0, TEXT)
    assert [gateway.endpoint(id)["standing"] for id in ("first", "second")] == ["failure", "secondary"]
    assert len(second.requests) == 2, "the verification, and what waited for it"
    stats = gateway.settled()
    assert (stats["rejected_requests"], stats["leaks"]) == (0, 0)


def trouble(gateway, upstreams, until):
    """Now one endpoint fails and then the other, in ways of chance; one that is in the pool is sound at any moment."""
    dice = random.Random(3)
    while time.monotonic() < until:
        id, other = dice.sample(sorted(upstreams), 2)
        upstreams[other].behaviour = SOUND
        for isolated in [id for id in upstreams if gateway.endpoint(id)["standing"] == "failure"]:
            if upstreams[isolated].behaviour == SOUND:
                gateway.own(f"/endpoints/{isolated}/verify", "POST")
        if gateway.endpoint(other)["standing"] != "failure":
            upstreams[id].behaviour = dice.choice(KINDS)
        time.sleep(TURN)


def test_many_at_a_time_notice_nothing_of_trouble_that_goes_round(gateway, ask, first, second, tmp_path):
    until = time.monotonic() + TROUBLE

    def user(number):
        folder = tmp_path / f"user-{number}"
        folder.mkdir()
        told = []
        while time.monotonic() < until:
            told.append(ask(tools=random.choice(["", "Bash"]), folder=folder))
        return told

    with ThreadPoolExecutor() as threads:
        users = [threads.submit(user, number) for number in range(4)]
        trouble(gateway, {"first": first, "second": second}, until)
    told = [answer for user in users for answer in user.result()]
    assert len(told) >= len(users)
    assert set(told) == {(0, TEXT)}
    assert gateway.settled()["leaks"] == 0
    assert [line for line in gateway.log if "attempts=2" in line], "there was trouble"
