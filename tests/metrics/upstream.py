"""A small upstream that answers every message, whole or streamed, and says what it cost.

Argument: a file to which it writes the port that it listens on, once it does.
"""

import json
import pathlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"input_tokens": 40, "output_tokens": 3, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 5}
TEXT = {"type": "text", "text": "Hello."}
EVENTS = [
    {"type": "message_start", "message": {"type": "message", "role": "assistant", "content": [], "usage": USAGE}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if asked.get("stream"):
            kind = "text/event-stream"
            body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
        else:
            kind = "application/json"
            body = json.dumps({"type": "message", "role": "assistant", "content": [TEXT], "usage": USAGE})
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("anthropic-ratelimit-requests-remaining", "59")
        self.send_header("anthropic-ratelimit-unified-5h-utilization", "0.58")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    told = pathlib.Path(sys.argv[1])
    half = told.with_suffix(".half")
    half.write_text(str(server.server_port))
    half.rename(told)
    server.serve_forever()
