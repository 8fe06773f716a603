"""The official SDKs against the gateway, while its upstreams fail."""

import pytest

from sdks import MANNERS, SDKS, ask
from text import TEXT
from upstream import (
    BAD_REQUEST,
    BROKEN_500,
    CLOSES,
    CUTS_STREAMS,
    REFUSES_KEY,
    REFUSES_REQUEST,
    SOUND,
)

#: A failure, how many requests meet it before the endpoint is isolated, and what for.
FAILURES = [(BROKEN_500, 3, "upstream_status"), (CLOSES, 3, "connect"), (REFUSES_KEY, 1, "credential")]
REQUESTS = 6


def standings(gateway):
    queues = gateway.stats()["queues"]
    return {id: queue for queue, ids in queues.items() for id in ids}


@pytest.mark.parametrize("manner", MANNERS)
def test_answers_come_whole_from_a_sound_endpoint(gateway, sdk, manner, first, second):
    assert ask(gateway, sdk, manner, REQUESTS) == [TEXT] * REQUESTS
    assert (len(first.requests), len(second.requests)) == (REQUESTS, 0)
    stats = gateway.stats()
    assert (stats["successful_requests"], stats["failed_requests"], stats["leaks"]) == (REQUESTS, 0, 0)


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize(("failure", "met", "reason"), FAILURES)
def test_no_caller_sees_one_endpoint_fail(gateway, sdk, manner, failure, met, reason, first, second):
    first.behaviour = failure
    assert ask(gateway, sdk, manner, REQUESTS) == [TEXT] * REQUESTS

    assert standings(gateway) == {"first": "failure", "second": "secondary"}
    row = gateway.endpoint("first")
    assert (row["isolated_reason"], row["breaker"], row["status"]) == (reason, "open", "unhealthy")
    stats = gateway.stats()
    assert (stats["successful_requests"], stats["failed_requests"], stats["leaks"]) == (REQUESTS, 0, 0)
    # The upstream itself bears witness: after its isolation nobody has spoken to it.
    assert (len(first.requests), len(second.requests)) == (met, REQUESTS)


def test_an_endpoint_that_is_mended_stays_out_until_it_has_passed_a_verification(gateway, sdk, first, second):
    first.behaviour = BROKEN_500
    ask(gateway, sdk, "plain", 3)
    verdict = gateway.own("/endpoints/first/verify", "POST")
    assert (verdict["ok"], verdict["status"], verdict["endpoint"]["standing"]) == (False, 500, "failure")

    first.behaviour = SOUND
    before = len(first.requests)
    assert ask(gateway, sdk, "plain", REQUESTS) == [TEXT] * REQUESTS
    assert (len(first.requests), standings(gateway)["first"]) == (before, "failure")

    verdict = gateway.own("/endpoints/first/verify", "POST")
    assert (verdict["ok"], verdict["endpoint"]["standing"]) == (True, "primary")
    assert ask(gateway, sdk, "plain") == [TEXT]
    assert len(first.requests) == before + 2
    assert gateway.stats()["leaks"] == 0


def test_an_endpoint_sees_its_own_key_and_never_the_clients(gateway, sdk, first, second):
    ask(gateway, sdk, "plain")
    headers = {name.lower(): value for name, value in first.requests[0]["headers"].items()}
    shown = headers["x-api-key"] if sdk == "anthropic" else headers["authorization"].removeprefix("Bearer ")
    assert shown == first.key
    assert not [value for value in headers.values() if "qcc-client-key" in value]


@pytest.mark.parametrize("manner", MANNERS)
def test_a_bad_request_is_told_in_the_upstreams_own_words_and_counts_against_nobody(
    gateway, sdk, manner, first, second
):
    first.behaviour = second.behaviour = REFUSES_REQUEST
    for _ in range(REQUESTS):
        with pytest.raises(SDKS[sdk].BadRequestError) as caught:
            ask(gateway, sdk, manner)
        assert caught.value.response.json() == BAD_REQUEST[sdk]
        assert caught.value.request_id == "req_upstream"
    assert standings(gateway) == {"first": "primary", "second": "secondary"}
    assert (len(first.requests), len(second.requests)) == (REQUESTS, 0)
    assert gateway.stats()["rejected_requests"] == REQUESTS


@pytest.mark.parametrize("manner", MANNERS)
def test_a_wrong_client_key_is_an_authentication_error_and_goes_nowhere(gateway, sdk, manner, first, second):
    with pytest.raises(SDKS[sdk].AuthenticationError) as caught:
        ask(gateway, sdk, manner, key="not-the-key")
    assert caught.value.response.json()["error"]["type"] == "authentication_error"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (first.requests, second.requests) == ([], [])


@pytest.mark.parametrize("manner", MANNERS)
def test_with_every_endpoint_out_the_gateway_says_so_itself(gateway, sdk, manner, first, second):
    first.behaviour = second.behaviour = BROKEN_500
    statuses = []
    for _ in range(10):
        with pytest.raises(SDKS[sdk].InternalServerError) as caught:
            ask(gateway, sdk, manner)
        statuses.append(caught.value.status_code)
        if statuses[-1] == 503:
            break
    # The upstreams' own answer, as long as there is one to pass on.
    assert (statuses[0], statuses[-1], set(statuses)) == (500, 503, {500, 503})
    assert set(standings(gateway).values()) == {"failure"}
    check_refusal(sdk, caught.value.response)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 59
    assert "x-qcc-endpoint" not in caught.value.response.headers
    assert gateway.stats()["leaks"] == 0


def test_where_only_the_operator_can_help_clients_are_told_not_to_try_again(gateway, sdk, first, second):
    first.behaviour = second.behaviour = REFUSES_KEY
    with pytest.raises(SDKS[sdk].InternalServerError) as caught:
        ask(gateway, sdk, "plain")
    # An upstream's 401 would tell the developer that their own key is wrong.
    assert caught.value.status_code == 502

    with pytest.raises(SDKS[sdk].APIStatusError) as caught:
        ask(gateway, sdk, "plain")
    assert caught.value.status_code == 503
    check_refusal(sdk, caught.value.response)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in caught.value.response.headers
    assert "operator" in caught.value.response.json()["error"]["message"]


def check_refusal(sdk, response):
    body = response.json()
    own_id = response.headers["x-qcc-request-id"]
    assert own_id in body["error"]["message"]
    if sdk == "anthropic":
        assert (body["type"], body["error"]["type"], body["request_id"]) == ("error", "api_error", own_id)
    else:
        error = body["error"]
        assert (error["type"], error["code"], error["param"]) == ("server_error", "no_usable_endpoint", None)


@pytest.mark.parametrize("manner", ["streamed", "async streamed"])
def test_a_stream_that_breaks_is_never_taken_for_a_whole_answer(gateway, sdk, manner, first, second):
    first.behaviour = CUTS_STREAMS
    with pytest.raises(SDKS[sdk].APIError):
        ask(gateway, sdk, manner)
    row = gateway.endpoint("first")
    assert (row["failures"], row["consecutive_failures"], len(second.requests)) == (1, 1, 0)
