"""The gateway's own binary, before given upstreams, on a free port."""

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("QCC_GATEWAY", ROOT / "target" / "debug" / "qcc-gateway"))
CLIENT_KEY = "qcc-client-key-of-the-suite"
#: Where the system has it: whoever started the gateway takes it along, even when killed.
GUARD = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
LISTENING = re.compile(r"listening on (http://\S+)")

#: Verifications come on an admin's word alone, so that counts of requests are exact.
SETTINGS = """
[server]
port = 0
shutdown_grace = "2s"

[log]
level = "debug"

[timeouts]
connect = "2s"

[verifier]
initial_delay = "1h"
interval = "1h"

[clients.suite]
key = "{client_key}"
"""

ENDPOINT = """
[endpoints.{id}]
base_url = "{url}"
api_key = "{key}"
protocol = "{protocol}"
queue = "{queue}"
"""


class Gateway:
    """A running gateway, from `with` to the end of its block. It must end well, and its log must show no secret."""

    def __init__(self, directory, protocol, upstreams, settings=""):
        self.secrets = [CLIENT_KEY, *(upstream.key for upstream in upstreams.values())]
        text = SETTINGS.format(client_key=CLIENT_KEY) + settings
        for (id, upstream), home in zip(upstreams.items(), ["primary", "secondary"], strict=True):
            text += ENDPOINT.format(id=id, url=upstream.url, key=upstream.key, protocol=protocol, queue=home)
        self.settings = Path(directory) / "gateway.toml"
        self.settings.write_text(text)
        self.log = []
        self.url = None

    def __enter__(self):
        if not BINARY.exists():
            raise FileNotFoundError(f"{BINARY}: build it with `cargo build`, or name another one in QCC_GATEWAY")
        self._process = subprocess.Popen(
            [*GUARD, BINARY, "--settings", self.settings],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Nothing of the surroundings may reach into the settings.
            env={name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
        )
        found = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(found,), daemon=True)
        self._reader.start()
        try:
            self.url = found.get(timeout=30)
        except queue.Empty:
            self.url = None
        if self.url is None:
            self._end()
            raise RuntimeError("the gateway does not listen:\n" + "\n".join(self.log))
        return self

    def _read(self, found):
        for line in self._process.stderr:
            self.log.append(line.rstrip("\n"))
            if match := LISTENING.search(line):
                found.put(match[1])
        found.put(None)

    def _end(self):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stderr.close()

    def __exit__(self, kind, *_):
        self._end()
        if kind is not None:
            print("\n".join(self.log))
            return
        assert self._process.returncode == 0, (self._process.returncode, self.log[-5:])
        shown = [line for line in self.log for secret in self.secrets if secret in line]
        assert not shown, shown

    def own(self, path, method="GET"):
        """An own route's answer."""
        request = urllib.request.Request(f"{self.url}/__qcc__{path}", method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def stats(self):
        return self.own("/stats")

    def settled(self):
        """The stats once no request is open: a gateway learns only after its client that the client has left."""
        give_up = time.monotonic() + 10
        while True:
            stats = self.stats()
            ended = sum(stats[f"{kind}_requests"] for kind in ("successful", "failed", "cancelled", "rejected"))
            if ended == stats["total_requests"] and not any(row["in_flight"] for row in stats["endpoints"]):
                return stats
            assert time.monotonic() < give_up, stats
            time.sleep(0.01)

    def endpoint(self, id):
        return next(row for row in self.stats()["endpoints"] if row["id"] == id)
