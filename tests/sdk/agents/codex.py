"""Codex itself, where it asks without being asked, before the gateway: its user notices no outage while an endpoint is sound."""

import pytest

from agent import BEFORE_THE_ANSWER, PACKAGES, run
from gateway import CLIENT_KEY
from text import TEXT
from upstream import CUTS_STREAMS, REFUSES_KEY, SOUND

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
    # It always offers tools.
    first.calls_tools = second.calls_tools = False
    folder = tmp_path / "home" / ".codex"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIGURATION.format(url=gateway.url))
    [binary] = PACKAGES.glob("@openai/codex-*/vendor/*/bin/codex")
    command = [binary, "exec", "--skip-git-repo-check", "--color", "never", "Say hello."]
    return lambda key=CLIENT_KEY: run(command, tmp_path, {"GATEWAY_KEY": key})


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
