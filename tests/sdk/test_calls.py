"""The official SDKs are told what the upstream said, each event of it, also while another upstream fails."""

import hashlib

import anthropic
import openai
import pytest

from anthropic_answers import SIGNATURE, THOUGHTS
from gateway import CLIENT_KEY
from images import asking_about, picture
from sdks import CALLS, MANNERS, options, tell
from text import TEXT, TOWNS
from upstream import BROKEN_500, CLOSES, LATE_LAST_CHUNK, SOUND

REQUESTS = 4
#: How many requests meet a failure before it isolates the endpoint.
THRESHOLD = 3
ROWS = [
    pytest.param(sdk, name, manner, id=f"{sdk} {name} {manner}")
    for sdk, calls in CALLS.items()
    for name, call in calls.items()
    for manner in MANNERS
    if not (call.get("only_plain") and manner.endswith("streamed"))
]


def shown(answer):
    """What an SDK shows of what was said: all of it but pings."""
    if isinstance(answer, list):
        return [event for event in answer if event.get("type") != "ping"]
    return answer


@pytest.mark.parametrize("failure", [SOUND, BROKEN_500])
@pytest.mark.parametrize(("sdk", "name", "manner"), ROWS)
def test_what_the_upstream_said_is_what_the_sdk_shows(gateway, sdk, name, manner, failure, first, second):
    first.behaviour = failure
    call = CALLS[sdk][name]
    answers = tell(gateway, sdk, call, manner, REQUESTS)

    speaker = first if failure == SOUND else second
    assert answers == [shown(request["answer"]) for request in speaker.requests]
    assert len(answers) == len(speaker.requests) == REQUESTS
    for request in speaker.requests:
        assert call["arguments"] == {name: request["body"][name] for name in call["arguments"]}

    stats = gateway.settled()
    assert (stats["successful_requests"], stats["failed_requests"], stats["leaks"]) == (REQUESTS, 0, 0)
    if failure != SOUND:
        never_counts = call.get("never_counts", False)
        assert len(first.requests) == (REQUESTS if never_counts else THRESHOLD)
        assert gateway.endpoint("first")["standing"] == ("primary" if never_counts else "failure")


@pytest.mark.parametrize(("sdk", "name", "manner"), [row for row in ROWS if row.values[2].endswith("streamed")])
def test_a_stream_whose_last_chunk_comes_late_is_a_success_even_for_those_who_do_not_wait_for_it(
    gateway, sdk, name, manner, first, second
):
    first.behaviour = LATE_LAST_CHUNK
    answers = tell(gateway, sdk, CALLS[sdk][name], manner, REQUESTS)
    assert answers == [shown(request["answer"]) for request in first.requests]
    stats = gateway.settled()
    assert (stats["successful_requests"], stats["cancelled_requests"], stats["failed_requests"]) == (REQUESTS, 0, 0)
    row = gateway.endpoint("first")
    assert (row["successes"], row["cancelled"], row["failures"], row["standing"]) == (REQUESTS, 0, 0, "primary")


# --- what the SDKs put together from the events


@pytest.mark.parametrize("sdk", ["anthropic"])
def test_streamed_thoughts_keep_their_signature(gateway, sdk):
    with anthropic.Anthropic(**options(gateway, sdk, CLIENT_KEY)) as client:
        with client.messages.stream(**CALLS[sdk]["thinking"]["arguments"]) as stream:
            message = stream.get_final_message()
    thinking, redacted, text = message.content
    assert (thinking.type, thinking.thinking, thinking.signature) == ("thinking", "".join(THOUGHTS), SIGNATURE)
    assert (redacted.type, text.text) == ("redacted_thinking", TEXT)


@pytest.mark.parametrize("sdk", ["anthropic"])
def test_streamed_tool_uses_have_their_input(gateway, sdk):
    with anthropic.Anthropic(**options(gateway, sdk, CLIENT_KEY)) as client:
        with client.messages.stream(**CALLS[sdk]["tools"]["arguments"]) as stream:
            message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    uses = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert uses == [("weather", {"town": town, "days": [1, 2]}) for town in TOWNS]


@pytest.mark.parametrize("sdk", ["openai"])
def test_streamed_tool_calls_have_their_arguments(gateway, sdk):
    with openai.OpenAI(**options(gateway, sdk, CLIENT_KEY)) as client:
        with client.chat.completions.stream(
            **CALLS[sdk]["tools"]["arguments"], stream_options={"include_usage": True}
        ) as stream:
            completion = stream.get_final_completion()
    assert completion.usage.total_tokens == 18
    calls = [call.function for call in completion.choices[0].message.tool_calls]
    assert [(call.name, call.arguments) for call in calls] == [
        ("weather", f'{{"town": "{town}", "days": [1, 2]}}') for town in TOWNS
    ]


@pytest.mark.parametrize("sdk", ["openai"])
def test_a_streamed_response_is_put_together(gateway, sdk):
    with openai.OpenAI(**options(gateway, sdk, CLIENT_KEY)) as client:
        with client.responses.stream(**CALLS[sdk]["responses"]["arguments"]) as stream:
            response = stream.get_final_response()
    assert (response.status, response.output_text, response.usage.total_tokens) == ("completed", TEXT, 18)


# --- images


@pytest.mark.parametrize("failure", [SOUND, BROKEN_500, CLOSES])
@pytest.mark.parametrize("manner", ["plain", "async streamed"])
def test_an_image_of_five_megabytes_arrives_to_the_byte(gateway, sdk, manner, failure, first, second):
    first.behaviour = failure
    image = picture()
    call = asking_about(sdk, image)
    (answer,) = tell(gateway, sdk, call, manner)

    (request,) = second.requests if failure != SOUND else first.requests
    assert answer == shown(request["answer"])
    sent = call["arguments"]["messages"]
    assert request["body"]["messages"] == sent, "the image is another one"
    assert request["length"] > len(image)
    if failure != SOUND:
        # Whom it was sent to before got the very same bytes.
        (before,) = first.requests
        assert before["sha256"] == request["sha256"]


@pytest.mark.parametrize("failure", [SOUND, BROKEN_500])
def test_the_body_is_the_one_that_the_sdk_wrote(gateway, sdk, failure, first, second):
    first.behaviour = failure
    call = asking_about(sdk, picture())
    if sdk == "anthropic":
        with anthropic.Anthropic(**options(gateway, sdk, CLIENT_KEY)) as client:
            written = client.messages.with_raw_response.create(**call["arguments"]).http_request.read()
    else:
        with openai.OpenAI(**options(gateway, sdk, CLIENT_KEY)) as client:
            written = client.chat.completions.with_raw_response.create(**call["arguments"]).http_request.read()
    (request,) = second.requests if failure != SOUND else first.requests
    assert (request["length"], request["sha256"]) == (len(written), hashlib.sha256(written).hexdigest())
