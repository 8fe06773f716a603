"""A caller that leaves takes the upstream's request along, and nobody is blamed."""

import asyncio

import anthropic
import openai
import pytest

from gateway import CLIENT_KEY
from sdks import CALLS, ask, options
from text import TEXT
from upstream import HOLDS, SOUND

#: More than it takes to isolate an endpoint that fails.
TIMES = 4
#: Seconds in which the upstream's request has to be closed.
SOON = 1
#: Seconds for what is no matter of speed.
LONG = 20


def check_that_nobody_is_blamed(gateway, sdk, first, second):
    stats = gateway.settled()
    assert (stats["cancelled_requests"], stats["successful_requests"], stats["failed_requests"]) == (TIMES, 0, 0)
    row = gateway.endpoint("first")
    assert (row["cancelled"], row["failures"], row["consecutive_failures"], row["in_flight"]) == (TIMES, 0, 0, 0)
    assert (row["standing"], row["breaker"]) == ("primary", "closed")
    assert (len(first.requests), len(second.requests)) == (TIMES, 0)
    # And the next one is served as if nothing had been.
    first.behaviour = SOUND
    assert ask(gateway, sdk, "streamed") == [TEXT]
    assert len(first.requests) == TIMES + 1


def create_of(client, sdk):
    return client.messages.create if sdk == "anthropic" else client.chat.completions.create


def test_leaving_a_stream_half_way_closes_the_upstreams_request_at_once(gateway, sdk, first, second):
    first.behaviour = HOLDS
    call = CALLS[sdk]["text"]["arguments"]
    given = options(gateway, sdk, CLIENT_KEY)
    with anthropic.Anthropic(**given) if sdk == "anthropic" else openai.OpenAI(**given) as client:
        for left in range(1, TIMES + 1):
            with create_of(client, sdk)(**call, stream=True) as stream:
                next(iter(stream))
                assert not first.was_left(left, within=0)
            assert first.was_left(left, within=SOON)
    check_that_nobody_is_blamed(gateway, sdk, first, second)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_a_cancelled_task_closes_the_upstreams_request_at_once(gateway, sdk, is_stream, first, second):
    first.behaviour = HOLDS
    call = CALLS[sdk]["text"]["arguments"]
    given = options(gateway, sdk, CLIENT_KEY)

    async def wait_for_ever(client, begun):
        if not is_stream:
            await create_of(client, sdk)(**call)
            return
        async with await create_of(client, sdk)(**call, stream=True) as stream:
            async for _ in stream:
                begun.set()

    async def cancel_all():
        async with anthropic.AsyncAnthropic(**given) if sdk == "anthropic" else openai.AsyncOpenAI(**given) as client:
            for left in range(1, TIMES + 1):
                begun = asyncio.Event()
                task = asyncio.create_task(wait_for_ever(client, begun))
                assert await asyncio.to_thread(first.was_asked, left, LONG)
                if is_stream:
                    await asyncio.wait_for(begun.wait(), LONG)
                assert not first.was_left(left, within=0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await asyncio.to_thread(first.was_left, left, SOON)

    asyncio.run(cancel_all())
    check_that_nobody_is_blamed(gateway, sdk, first, second)
