"""An image of five megabytes, and the question about it in each protocol."""

import base64
import random

MEGABYTE = 1_000_000


def picture():
    """Always the same bytes, of every value."""
    return b"\x89PNG\r\n\x1a\n" + random.Random(5).randbytes(5 * MEGABYTE)


def asking_about(sdk, image):
    data = base64.b64encode(image).decode()
    question = {"type": "text", "text": "What is this?"}
    if sdk == "anthropic":
        source = {"type": "base64", "media_type": "image/png", "data": data}
        content = [{"type": "image", "source": source}, question]
        arguments = {"model": "claude-opus-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": content}]}
        return {"method": "messages.create", "arguments": arguments}
    content = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}, question]
    arguments = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}
    return {"method": "chat.completions.create", "arguments": arguments}
