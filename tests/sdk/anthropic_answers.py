"""What an Anthropic endpoint answers: by the path and the request's own wishes, plain or as the events of a stream."""

from text import TOWNS, pieces_of

SIGNATURE = "EqQBCkYIBRgCKkDw/ZQ0+x8b4Z5nQw+L7d3k9a=="
THOUGHTS = ["Woher ", "schreibe ich? ", "Aus dem Norden: 挪威."]
COUNTED = {"input_tokens": 2095}


def whole(path, body):
    """An unstreamed answer."""
    if path.endswith("/count_tokens"):
        return COUNTED
    content = list(blocks(body))
    calls_tools = content[-1]["type"] == "tool_use"
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": "tool_use" if calls_tools else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 7},
    }


def blocks(body):
    if body.get("thinking", {}).get("type") == "enabled":
        yield {"type": "thinking", "thinking": "".join(THOUGHTS), "signature": SIGNATURE}
        yield {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"}
    yield {"type": "text", "text": "".join(pieces_of(body))}
    if body.get("tools") and not has_result(body):
        for number, town in enumerate(TOWNS):
            yield {
                "type": "tool_use",
                "id": f"toolu_{number}",
                "name": body["tools"][0]["name"],
                "input": {"town": town, "days": [1, 2]},
            }


def has_result(body):
    content = body["messages"][-1]["content"]
    return isinstance(content, list) and content[0]["type"] == "tool_result"


def events(path, body):
    """The same answer as a stream's events."""
    message = whole(path, body)
    yield {
        "type": "message_start",
        "message": message | {"content": [], "stop_reason": None, "usage": {"input_tokens": 11, "output_tokens": 1}},
    }
    for index, block in enumerate(message["content"]):
        start, deltas = parts_of(block, pieces_of(body))
        yield {"type": "content_block_start", "index": index, "content_block": start}
        yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": 7},
    }
    yield {"type": "message_stop"}


def parts_of(block, pieces):
    """How a block begins in a stream, and the deltas that fill it."""
    match block["type"]:
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": thought} for thought in THOUGHTS]
            return block | {"thinking": "", "signature": ""}, [*deltas, {"type": "signature_delta", "signature": SIGNATURE}]
        case "text":
            return block | {"text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]
        case "tool_use":
            texts = ["", '{"town": "', block["input"]["town"], '", "days"', ": [1, 2]}"]
            return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": text} for text in texts]
        case _:
            return block, []
