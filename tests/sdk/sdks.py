"""Both SDKs in each of their manners of calling, behind one verb: `ask` gives the answer's text."""

import asyncio
import json
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

import anthropic
import openai

from gateway import CLIENT_KEY

SDKS = {"anthropic": anthropic, "openai": openai}
MANNERS = ["plain", "streamed", "async plain", "async streamed"]
#: What is asked, in either language.
CALLS = json.loads((Path(__file__).parent / "calls.json").read_text(encoding="utf-8"))


def options(gateway, sdk, key):
    # Their own retries are off: what the gateway does not hide, these tests see.
    base_url = gateway.url if sdk == "anthropic" else f"{gateway.url}/v1"
    return {"base_url": base_url, "api_key": key, "max_retries": 0, "timeout": 30}


def ask(gateway, sdk, manner, times=1, key=CLIENT_KEY):
    """The texts of so many answers, one request after the other, by one client."""
    given = options(gateway, sdk, key)
    if manner.startswith("async"):
        return asyncio.run(ask_async(given, sdk, manner, times))
    make = anthropic.Anthropic if sdk == "anthropic" else openai.OpenAI
    call = {
        ("anthropic", "plain"): anthropic_plain,
        ("anthropic", "streamed"): anthropic_streamed,
        ("openai", "plain"): openai_plain,
        ("openai", "streamed"): openai_streamed,
    }[sdk, manner]
    with make(**given) as client:
        return [call(client) for _ in range(times)]


async def ask_async(given, sdk, manner, times):
    make = anthropic.AsyncAnthropic if sdk == "anthropic" else openai.AsyncOpenAI
    call = {
        ("anthropic", "async plain"): anthropic_async_plain,
        ("anthropic", "async streamed"): anthropic_async_streamed,
        ("openai", "async plain"): openai_async_plain,
        ("openai", "async streamed"): openai_async_streamed,
    }[sdk, manner]
    async with make(**given) as client:
        return [await call(client) for _ in range(times)]


A = CALLS["anthropic"]["text"]["arguments"]
O = CALLS["openai"]["text"]["arguments"]


def anthropic_plain(client):
    return text_of(client.messages.create(**A))


def anthropic_streamed(client):
    with client.messages.stream(**A) as stream:
        text = "".join(stream.text_stream)
        return agreed(text, text_of(stream.get_final_message()))


async def anthropic_async_plain(client):
    return text_of(await client.messages.create(**A))


async def anthropic_async_streamed(client):
    async with client.messages.stream(**A) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        return agreed(text, text_of(await stream.get_final_message()))


def openai_plain(client):
    return client.chat.completions.create(**O).choices[0].message.content


def openai_streamed(client):
    return joined(list(client.chat.completions.create(**O, stream=True)))


async def openai_async_plain(client):
    return (await client.chat.completions.create(**O)).choices[0].message.content


async def openai_async_streamed(client):
    return joined([chunk async for chunk in await client.chat.completions.create(**O, stream=True)])


def text_of(message):
    assert message.stop_reason == "end_turn", message
    assert message.usage.output_tokens == 7, message
    return "".join(block.text for block in message.content)


def agreed(streamed, final):
    assert streamed == final
    return final


def joined(chunks):
    assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def tell(gateway, sdk, call, manner, times=1):
    """What the SDK made of so many answers: one object each, or the list of a stream's objects. One client asks for all."""
    with asking(gateway, sdk, call, manner) as ask_once:
        return [ask_once() for _ in range(times)]


@contextmanager
def asking(gateway, sdk, call, manner):
    """One client, which takes longer to make than to be answered: a function that asks once, and gives what the SDK made of it."""
    given = options(gateway, sdk, CLIENT_KEY)
    is_stream = manner.endswith("streamed")
    if not manner.startswith("async"):
        make = anthropic.Anthropic if sdk == "anthropic" else openai.OpenAI
        with make(**given) as client:
            yield lambda: told(client, call, is_stream)
        return
    make = anthropic.AsyncAnthropic if sdk == "anthropic" else openai.AsyncOpenAI
    loop = asyncio.new_event_loop()
    client = make(**given)
    try:
        yield lambda: loop.run_until_complete(told_async(client, call, is_stream))
    finally:
        loop.run_until_complete(client.close())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def told(client, call, is_stream):
    method = attrgetter(call["method"])(client)
    if not is_stream:
        return method(**call["arguments"]).to_dict()
    with method(**call["arguments"], stream=True) as stream:
        return [event.to_dict() for event in stream]


async def told_async(client, call, is_stream):
    method = attrgetter(call["method"])(client)
    if not is_stream:
        return (await method(**call["arguments"])).to_dict()
    async with await method(**call["arguments"], stream=True) as stream:
        return [event.to_dict() async for event in stream]
