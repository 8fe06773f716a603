"""What an OpenAI endpoint answers: by the path and the request's own wishes, plain or as the chunks or events of a stream."""

import base64
import json
import struct

from text import TOWNS, pieces_of

CREATED = 1_700_000_000
#: Numbers that 32 bits hold exactly.
VECTOR = [0.5, -0.25, 1.0, 0.0]
#: By what Codex runs commands, and where those that it is told to run leave a line.
SHELL = "exec_command"
TRACE = "towns.txt"


def whole(path, body):
    """An unstreamed answer, as its reader is to understand it."""
    if path == "/v1/responses":
        return response(body)
    if path == "/v1/embeddings":
        return embeddings(body)
    return completion(body)


def events(path, body):
    """The same answer as a stream's data, without `[DONE]`."""
    return response_events(body) if path == "/v1/responses" else chunks(body)


def on_the_wire(body, answer):
    """Embeddings are sent as base64 to those who ask for it, as the SDKs do of their own accord."""
    if answer.get("object") != "list" or body.get("encoding_format") != "base64":
        return answer
    packed = [
        row | {"embedding": base64.b64encode(struct.pack(f"<{len(row['embedding'])}f", *row["embedding"])).decode()}
        for row in answer["data"]
    ]
    return answer | {"data": packed}


def embeddings(body):
    return {
        "object": "list",
        "model": body["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": [float(index), *VECTOR]}
            for index, _ in enumerate(body["input"])
        ],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }


def arguments_of(town):
    return json.dumps({"town": town, "days": [1, 2]}, ensure_ascii=False)


def in_pieces(text):
    return [text[at : at + 5] for at in range(0, len(text), 5)]


# --- chat completions


def completion(body):
    message = {"role": "assistant", "content": "".join(pieces_of(body)), "refusal": None}
    finish = "stop"
    if body.get("tools"):
        finish = "tool_calls"
        name = body["tools"][0]["function"]["name"]
        message |= {
            "content": None,
            "tool_calls": [
                {
                    "id": f"call_{index}",
                    "type": "function",
                    "function": {"name": name, "arguments": arguments_of(town)},
                }
                for index, town in enumerate(TOWNS)
            ],
        }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def chunks(body):
    given = completion(body)
    base = {
        "id": given["id"],
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": given["model"],
    }

    def chunk(delta, finish=None):
        return base | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    choice = given["choices"][0]
    yield chunk({"role": "assistant", "content": choice["message"]["content"] and "", "refusal": None})
    if choice["message"]["content"] is not None:
        yield from (chunk({"content": piece}) for piece in pieces_of(body))
    for index, call in enumerate(choice["message"].get("tool_calls", [])):
        begin = call | {"function": call["function"] | {"arguments": ""}}
        yield chunk({"tool_calls": [{"index": index} | begin]})
        for piece in in_pieces(call["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield chunk({}, choice["finish_reason"])
    if body.get("stream_options", {}).get("include_usage"):
        yield base | {"choices": [], "usage": given["usage"]}


# --- responses


def response(body):
    return response_frame(body) | {
        "status": "completed",
        "output": outputs(body),
        "usage": {
            "input_tokens": 11,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 18,
        },
    }


def response_frame(body):
    # `"error": null` stands in every sound one: it must not be taken for an error.
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": body["model"],
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "top_p": 1.0,
        "usage": None,
    }


def outputs(body):
    if body.get("tools") and not has_result(body):
        return [
            {
                "type": "function_call",
                "id": f"fc_{index}",
                "call_id": f"call_{index}",
                "status": "completed",
                **call_of(body["tools"], town),
            }
            for index, town in enumerate(TOWNS)
        ]
    part = {"type": "output_text", "text": "".join(pieces_of(body)), "annotations": []}
    return [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}]


def has_result(body):
    return isinstance(body["input"], list) and body["input"][-1].get("type") == "function_call_output"


def call_of(tools, town):
    """Codex is to leave a trace of each call."""
    if any(tool.get("name") == SHELL for tool in tools):
        return {"name": SHELL, "arguments": json.dumps({"cmd": f"echo {town} >> {TRACE}"}, ensure_ascii=False)}
    return {"name": tools[0]["name"], "arguments": arguments_of(town)}


def response_events(body):
    for number, event in enumerate(unnumbered(body)):
        yield event | {"sequence_number": number}


def unnumbered(body):
    yield {"type": "response.created", "response": response_frame(body)}
    yield {"type": "response.in_progress", "response": response_frame(body)}
    for index, item in enumerate(outputs(body)):
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "function_call":
            begun, inner = item | {"arguments": "", "status": "in_progress"}, call_events(place, item)
        else:
            begun, inner = item | {"content": [], "status": "in_progress"}, text_events(place, item["content"][0], body)
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        yield from inner
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": response(body)}


def call_events(place, item):
    kind = "response.function_call_arguments"
    for piece in in_pieces(item["arguments"]):
        yield place | {"type": f"{kind}.delta", "delta": piece}
    yield place | {"type": f"{kind}.done", "name": item["name"], "arguments": item["arguments"]}


def text_events(place, part, body):
    place = place | {"content_index": 0}
    yield place | {"type": "response.content_part.added", "part": part | {"text": ""}}
    for piece in pieces_of(body):
        yield place | {"type": "response.output_text.delta", "delta": piece, "logprobs": []}
    yield place | {"type": "response.output_text.done", "text": part["text"], "logprobs": []}
    yield place | {"type": "response.content_part.done", "part": part}
