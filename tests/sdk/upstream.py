"""A scripted upstream: it speaks both protocols truly, notes what it is asked and what it answers, and fails as it is told."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic_answers
import openai_answers

SOUND = "sound"
BROKEN_500 = "500"
REFUSES_KEY = "401"
REFUSES_REQUEST = "400"
CLOSES = "closes"
CUTS_STREAMS = "cuts streams"
#: So many events of a stream, then the connection is closed, or the stream ends as if it were whole.
CLOSES_AFTER = "closes after "
ENDS_AFTER = "ends after "
#: What ends a stream's framing comes a little after what ends its content: two packets, as from most servers.
LATE_LAST_CHUNK = "late last chunk"
#: It answers nothing, or the first half of a stream, until the other side has gone.
HOLDS = "holds"

#: Seconds.
LATE_BY = 0.05
HELD_FOR_AT_MOST = 20

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
        #: Whether it calls a tool where it is offered some.
        self.calls_tools = True
        self.key = f"sk-upstream-{name}-0123456789"
        self._changed = threading.Condition()
        self._requests = []
        self._abandoned = 0
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                raw = self.rfile.read(int(self.headers["content-length"]))
                note = {
                    "path": self.path,
                    "headers": dict(self.headers.items()),
                    "length": len(raw),
                    "sha256": hashlib.sha256(raw).hexdigest(),
                    "body": json.loads(raw),
                    "answer": None,
                }
                # It answers as it was to when it was asked, whatever somebody who learns of that has it do next.
                answer = Answer(self, upstream, note)
                upstream._note(note)
                answer.send()

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """The gateway may leave whenever it likes."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def requests(self):
        """What it was asked so far, each with the answer that it gave: one object, or a stream's objects."""
        with self._changed:
            return list(self._requests)

    def was_asked(self, times, within):
        """Whether so many requests have come, after at most so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._requests) >= times, within)

    def was_left(self, times, within):
        """Whether so many requests that it held were given up by the other side, after at most so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._abandoned >= times, within)

    def _note(self, request):
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def _note_left(self):
        with self._changed:
            self._abandoned += 1
            self._changed.notify_all()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Answer:
    """The answer to one request."""

    def __init__(self, handler, upstream, note):
        self.handler = handler
        self.upstream = upstream
        self.behaviour = upstream.behaviour
        self.note = note
        self.body = note["body"] if upstream.calls_tools else {**note["body"], "tools": []}
        self.path = note["path"].split("?")[0]
        self.is_stream = bool(self.body.get("stream"))
        self.protocol = "anthropic" if self.path.startswith("/v1/messages") else "openai"
        self.script = anthropic_answers if self.protocol == "anthropic" else openai_answers

    def send(self):
        if self.behaviour == CLOSES:
            self.handler.close_connection = True
        elif self.behaviour == BROKEN_500:
            self.json(500, error(self.protocol, "api_error", "Internal server error"))
        elif self.behaviour == REFUSES_KEY:
            self.json(401, error(self.protocol, "authentication_error", "invalid x-api-key"))
        elif self.behaviour == REFUSES_REQUEST:
            self.json(400, BAD_REQUEST[self.protocol])
        elif self.is_stream:
            self.stream()
        elif self.behaviour == HOLDS:
            self.hold()
        else:
            answer = self.script.whole(self.path, self.body)
            self.note["answer"] = answer
            self.json(200, answer if self.protocol == "anthropic" else openai_answers.on_the_wire(self.body, answer))

    def head(self, status, content_type):
        self.handler.send_response(status)
        self.handler.send_header("content-type", content_type)
        name = "request-id" if self.protocol == "anthropic" else "x-request-id"
        self.handler.send_header(name, "req_upstream")

    def json(self, status, value):
        body = json.dumps(value, ensure_ascii=False).encode()
        self.head(status, "application/json")
        self.handler.send_header("content-length", str(len(body)))
        self.handler.end_headers()
        self.handler.wfile.write(body)

    def stream(self):
        self.head(200, "text/event-stream; charset=utf-8")
        self.handler.send_header("transfer-encoding", "chunked")
        self.handler.end_headers()
        answer = list(self.script.events(self.path, self.body))
        self.note["answer"] = answer
        pieces = [event_text(event) for event in answer]
        if self.path == "/v1/chat/completions":
            pieces.append("data: [DONE]\n\n")
        if self.behaviour in (CUTS_STREAMS, HOLDS):
            half = pieces[: len(pieces) // 2]
            self.handler.close_connection = True
            if self.behaviour == HOLDS:
                self.hold(half)
            else:
                self.chunks(half)
            return
        for how in (CLOSES_AFTER, ENDS_AFTER):
            if self.behaviour.startswith(how):
                self.chunks(pieces[: int(self.behaviour.removeprefix(how))])
                if how == ENDS_AFTER:
                    self.handler.wfile.write(b"0\r\n\r\n")
                self.handler.close_connection = True
                return
        *others, last = pieces
        self.chunks(others)
        end = b"0\r\n\r\n"
        if self.behaviour == LATE_LAST_CHUNK:
            self.chunk(last)
            time.sleep(LATE_BY)
            self.handler.wfile.write(end)
        else:
            self.chunk(last, end)

    def hold(self, pieces=()):
        """Says so much, and waits for the other side to leave, which may do so in the midst of it."""
        connection = self.handler.connection
        connection.settimeout(HELD_FOR_AT_MOST)
        self.handler.close_connection = True
        try:
            self.chunks(pieces)
            is_left = connection.recv(1) == b""
        except ConnectionError:
            is_left = True
        except TimeoutError:
            is_left = False
        if is_left:
            self.upstream._note_left()

    def chunks(self, pieces):
        for piece in pieces:
            self.chunk(piece)

    def chunk(self, piece, end=b""):
        # Split where it hurts: SDKs and gateway must not rely on where pieces end.
        data = piece.encode()
        first, rest = data[:7], data[7:]
        self.handler.wfile.write(b"%x\r\n%s\r\n" % (len(first), first))
        self.handler.wfile.flush()
        self.handler.wfile.write(b"%x\r\n%s\r\n%s" % (len(rest), rest, end))
        self.handler.wfile.flush()


def event_text(event):
    """How an event stands in a stream: under its name, where it has one."""
    data = f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
    return f"event: {event['type']}\n{data}" if "type" in event else data


def error(protocol, kind, message):
    inner = {"type": kind, "message": message}
    if protocol == "anthropic":
        return {"type": "error", "error": inner, "request_id": "req_upstream"}
    return {"error": inner | {"param": None, "code": None}}
