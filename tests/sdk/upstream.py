"""A scripted upstream: it speaks both protocols truly, counts what it is asked, and fails as it is told."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "Grüße aus dem Fjord"
PIECES = ["Grüße ", "aus dem", " Fjord"]
#: What a verification asks to be joined: two halves whose middle is a digit. Nothing else in the question has digits.
HALF = re.compile(r"\b[A-Z2-9][2-9][A-Z2-9]\b")

SOUND = "sound"
BROKEN_500 = "500"
REFUSES_KEY = "401"
REFUSES_REQUEST = "400"
CLOSES = "closes"
CUTS_STREAMS = "cuts streams"

BAD_REQUEST = {
    "anthropic": {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "messages.0.content: Field required"},
        "request_id": "req_upstream",
    },
    "openai": {
        "error": {
            "message": "Invalid 'messages[0].content': field required",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "missing_required_parameter",
        }
    },
}


class Upstream:
    """One upstream on a free port of loopback, from `with` to the end of its block."""

    def __init__(self, name):
        self.name = name
        self.behaviour = SOUND
        self.key = f"sk-upstream-{name}-0123456789"
        self._lock = threading.Lock()
        self._requests = []
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                upstream._note({"path": self.path, "headers": dict(self.headers.items()), "body": body})
                Answer(self, upstream.behaviour, body).send()

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """The gateway may leave whenever it likes."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def requests(self):
        with self._lock:
            return list(self._requests)

    def _note(self, request):
        with self._lock:
            self._requests.append(request)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Answer:
    """The answer to one request."""

    def __init__(self, handler, behaviour, body):
        self.handler = handler
        self.behaviour = behaviour
        self.model = body.get("model")
        self.is_stream = bool(body.get("stream"))
        self.protocol = "anthropic" if handler.path.split("?")[0] == "/v1/messages" else "openai"
        self.pieces = pieces_for(body)

    def send(self):
        if self.behaviour == CLOSES:
            self.handler.close_connection = True
            return
        if self.behaviour == BROKEN_500:
            self.json(500, error(self.protocol, "api_error", "Internal server error"))
        elif self.behaviour == REFUSES_KEY:
            self.json(401, error(self.protocol, "authentication_error", "invalid x-api-key"))
        elif self.behaviour == REFUSES_REQUEST:
            self.json(400, BAD_REQUEST[self.protocol])
        elif self.is_stream:
            self.stream()
        else:
            self.json(200, self.whole())

    def head(self, status, content_type):
        self.handler.send_response(status)
        self.handler.send_header("content-type", content_type)
        name = "request-id" if self.protocol == "anthropic" else "x-request-id"
        self.handler.send_header(name, "req_upstream")

    def json(self, status, value):
        body = json.dumps(value).encode()
        self.head(status, "application/json")
        self.handler.send_header("content-length", str(len(body)))
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def stream(self):
        self.head(200, "text/event-stream; charset=utf-8")
        self.handler.send_header("transfer-encoding", "chunked")
        self.handler.end_headers()
        events = self.anthropic_events() if self.protocol == "anthropic" else self.openai_events()
        if self.behaviour == CUTS_STREAMS:
            events = events[: len(events) // 2]
        *others, last = events
        for event in others:
            self.chunk(event.encode())
        if self.behaviour == CUTS_STREAMS:
            self.chunk(last.encode())
            self.handler.close_connection = True
        else:
            # As one write, for the OpenAI SDK hangs up at [DONE] without waiting for the last chunk.
            self.chunk(last.encode(), end=b"0\r\n\r\n")

    def chunk(self, data, end=b""):
        # Split where it hurts: SDKs and gateway must not rely on where pieces end.
        first, rest = data[:7], data[7:]
        self.handler.wfile.write(b"%x\r\n%s\r\n" % (len(first), first))
        self.handler.wfile.flush()
        self.handler.wfile.write(b"%x\r\n%s\r\n%s" % (len(rest), rest, end))
        self.handler.wfile.flush()

    def whole(self):
        text = "".join(self.pieces)
        if self.protocol == "anthropic":
            return {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": self.model,
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 11, "output_tokens": 7},
            }
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": self.model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }

    def anthropic_events(self):
        start = self.whole() | {"content": [], "stop_reason": None, "usage": {"input_tokens": 11, "output_tokens": 1}}
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in self.pieces
        ]
        events = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
            *deltas,
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 7},
            },
            {"type": "message_stop"},
        ]
        return [f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]

    def openai_events(self):
        def data(delta, finish=None):
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            chunk = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1_700_000_000,
                "model": self.model,
                "choices": [choice],
            }
            return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"

        role = data({"role": "assistant", "content": "", "refusal": None})
        return [role, *(data({"content": piece}) for piece in self.pieces), data({}, "stop"), "data: [DONE]\n\n"]


def pieces_for(body):
    """The code that a verification asks for, else the usual text."""
    halves = HALF.findall(json.dumps(body.get("messages")))
    return halves if len(halves) == 2 else PIECES


def error(protocol, kind, message):
    inner = {"type": kind, "message": message}
    if protocol == "anthropic":
        return {"type": "error", "error": inner, "request_id": "req_upstream"}
    return {"error": inner | {"param": None, "code": None}}
