"""Codex itself, where it asks without being asked, before the gateway: its user notices no outage while an endpoint is sound."""

import threading

import pytest

from agent import BEFORE_THE_ANSWER, PACKAGES, PATIENCE, run
from gateway import CLIENT_KEY
from openai_answers import TRACE
from text import TEXT, TOWNS
from upstream import CLOSES_AFTER, CUTS_STREAMS, REFUSES_KEY, SOUND

CONFIGURATION = """
model = "gpt-5"
model_provider = "gateway"

[model_providers.gateway]
name = "gateway"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "GATEWAY_KEY"
"""


@pytest.fixture
def sdk():
    """What it speaks."""
    return "openai"


@pytest.fixture
def ask(gateway, first, second, tmp_path):
    """Asks it something, and has its exit status, what it prints, and what it complains of."""
    # It always offers tools, so whether they are called is up to the test.
    folder = tmp_path / "home" / ".codex"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIGURATION.format(url=gateway.url))
    [binary] = PACKAGES.glob("@openai/codex-*/vendor/*/bin/codex")
    command = [binary, "exec", "--skip-git-repo-check", "--color", "never", "Say hello."]

    def ask(key=CLIENT_KEY, tools=False):
        first.calls_tools = second.calls_tools = tools
        freely = ["--dangerously-bypass-approvals-and-sandbox"] if tools else []
        return run([*command, *freely], tmp_path, {"GATEWAY_KEY": key})

    return ask


@pytest.mark.parametrize("behaviour", BEFORE_THE_ANSWER)
def test_a_failure_before_the_answer_is_not_noticed(gateway, ask, first, second, behaviour):
    first.behaviour = behaviour
    status, told, complaints = ask()
    assert (status, told) == (0, TEXT)
    assert "Reconnecting" not in complaints
    assert len(first.requests) == 1
    assert len(second.requests) == (behaviour != SOUND)
    stats = gateway.settled()
    assert (stats["total_requests"], stats["successful_requests"], stats["leaks"]) == (1, 1, 0)


def test_a_stream_that_is_cut_is_asked_for_once_more(gateway, ask, first, second):
    first.behaviour = CUTS_STREAMS
    status, told, _ = ask()
    assert (status, told) == (0, TEXT)
    # Three failures isolate, and from then on the other endpoint serves.
    assert (len(first.requests), len(second.requests)) == (3, 1)
    assert gateway.endpoint("first")["standing"] == "failure"
    assert gateway.settled()["leaks"] == 0


def traces(tmp_path):
    """What its calls have done, in whatever order: it makes them at a time."""
    return sorted((tmp_path / "work" / TRACE).read_text().split())


def test_a_conversation_with_tools_goes_on_elsewhere_when_its_endpoint_fails(gateway, ask, first, second, tmp_path):
    asked = threading.Thread(target=lambda: first.was_asked(1, PATIENCE) and setattr(first, "behaviour", REFUSES_KEY))
    asked.start()
    status, told, _ = ask(tools=True)
    asked.join()
    assert (status, told, traces(tmp_path)) == (0, TEXT, sorted(TOWNS))
    assert [len(first.requests), len(second.requests)] == [2, 1]
    kinds = [item.get("type") for item in second.requests[0]["body"]["input"]]
    assert (kinds.count("function_call"), kinds.count("function_call_output")) == (2, 2)
    assert gateway.settled()["leaks"] == 0


def test_a_call_that_is_cut_within_its_arguments_is_made_once(gateway, ask, first, second, tmp_path):
    first.behaviour = f"{CLOSES_AFTER}6"
    status, told, _ = ask(tools=True)
    assert (status, told, traces(tmp_path)) == (0, TEXT, sorted(TOWNS))
    # Three failures isolate, and from then on the other endpoint serves.
    assert (len(first.requests), len(second.requests)) == (3, 2)
    assert gateway.settled()["leaks"] == 0


def test_what_is_the_matter_is_told(gateway, ask, first, second):
    first.behaviour = second.behaviour = REFUSES_KEY
    status, _, complaints = ask()
    assert status != 0
    assert "the gateway's operator must act" in complaints
    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert gateway.settled()["leaks"] == 0


def test_a_wrong_key_asks_nobody(gateway, ask, first, second):
    status, _, complaints = ask(key="qcc-client-key-of-nobody")
    assert status != 0
    assert "401" in complaints
    assert first.requests == second.requests == []
