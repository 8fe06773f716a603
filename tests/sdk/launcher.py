"""Two scripted upstreams and the gateway before them, for a suite in another language.

Usage: launcher.py PROTOCOL. It prints where the gateway listens, as a line of JSON, and then answers each line of JSON that it
reads (`[verb, argument…]`) with another one. When its input ends it ends everything, so nothing outlives whoever started it.
"""

import json
import signal
import sys
import tempfile

from gateway import CLIENT_KEY, Gateway
from upstream import Upstream

#: A body as large as an image is told by its length and digest alone.
SHOWN_UP_TO = 100_000


def requests(upstream):
    return [
        request | {"body": request["body"] if request["length"] <= SHOWN_UP_TO else None}
        for request in upstream.requests
    ]


def serve(gateway, upstreams):
    verbs = {
        "behave": lambda id, behaviour: setattr(upstreams[id], "behaviour", behaviour),
        "requests": lambda id: requests(upstreams[id]),
        "asked": lambda id, times, within: upstreams[id].was_asked(times, within),
        "left": lambda id, times, within: upstreams[id].was_left(times, within),
        "settled": gateway.settled,
        "endpoint": gateway.endpoint,
    }
    say({"url": gateway.url, "key": CLIENT_KEY})
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        say(verbs[verb](*arguments))


def say(value):
    print(json.dumps(value), flush=True)


def main(protocol):
    # Told to end, it leaves through the blocks that end the others.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as directory, Upstream("first") as first, Upstream("second") as second:
        upstreams = {"first": first, "second": second}
        with Gateway(directory, protocol, upstreams) as gateway:
            serve(gateway, upstreams)


if __name__ == "__main__":
    main(sys.argv[1])
