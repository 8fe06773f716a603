"""The upstream, and what can stand before it."""

import json
import os
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from .processes import Failure, await_port, end, free_port, start, version

CONF = Path(__file__).resolve().parents[1] / "conf"
#: The client key that all requests carry.
KEY = "key-of-the-bench"
CPUS = len(os.sched_getaffinity(0))
#: How often a port may be lost to somebody else between being found free and being taken.
TRIES = 5


def fill(name, values):
    """The text of a file of `conf/`, with the values in their places."""
    text = (CONF / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


class Target:
    """Something that a measurement can be pointed at, from `with` to the end of its block."""

    #: Further options of the load generator.
    options = ()
    name = label = None
    process = None

    def __init__(self, run):
        self.run = run
        self.address = self.flaky_address = None

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()

    @property
    def pid(self):
        return self.process.pid

    def up(self):
        """Starts it; again, where somebody else was quicker at its ports."""
        for _ in range(TRIES):
            port, flaky_port = free_port(), free_port()
            with self.log_path.open("ab") as log:
                self.process = start(self.command(port, flaky_port), log, **self.surroundings())
            try:
                is_up = await_port(self.process, port, self.patience)
            except BaseException:
                self.down()
                raise
            if is_up:
                self.address, self.flaky_address = f"127.0.0.1:{port}", f"127.0.0.1:{flaky_port}"
                return
        raise Failure(f"{self.name} does not start: {self.log()}")

    #: Seconds that it may take to start.
    patience = 20

    def down(self):
        if self.process:
            end(self.process)
            self.process = None

    def surroundings(self):
        return {}

    @property
    def log_path(self):
        return self.run.folder / f"{self.name}.log"

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")[-2000:] if self.log_path.exists() else ""

    def check(self):
        """What is wrong with it by its own account, after a measurement."""
        return [] if self.process.poll() is None else [f"{self.name} has ended: {self.log()}"]

    def values(self, port, flaky_port):
        upstreams = {f"UPSTREAM{n}": address for n, address in enumerate(self.run.mock.addresses, 1)}
        return {**upstreams, "FLAKY": self.run.mock.flaky_address, "PORT": port, "FLAKY_PORT": flaky_port, "CPUS": CPUS}


class Mock(Target):
    """The upstream itself: what is measured without anything between. One thread serves all addresses."""

    name, label = "direct", "direct"
    #: What listens at each address; the last is the one that hangs up.
    kinds = ("plain", "plain", "plain", "flaky:20")

    def up(self):
        with self.log_path.open("ab") as log:
            self.process = start([self.run.tool("mock"), *self.kinds], log, stdout=subprocess.PIPE, text=True)
        *self.addresses, self.flaky_address = self.process.stdout.readline().split() or [None]
        if not self.addresses:
            raise Failure(f"the mock does not start: {self.log()}")
        self.address = self.addresses[0]


class Nginx(Target):
    name, label = "nginx", "nginx"

    def command(self, port, flaky_port):
        prefix = self.run.folder / "nginx"
        prefix.mkdir(exist_ok=True)
        values = self.values(port, flaky_port)
        values |= {"USER": "user root;" if os.geteuid() == 0 else "", "FILES": self.run.files}
        conf = prefix / "nginx.conf"
        conf.write_text(fill("nginx.conf", values), encoding="utf-8")
        return ["nginx", "-e", "stderr", "-c", conf, "-p", prefix]

    def version(self):
        return version(["nginx", "-v"]).removeprefix("nginx version: ")


class HAProxy(Target):
    name, label = "haproxy", "HAProxy"

    def command(self, port, flaky_port):
        conf = self.run.folder / "haproxy.cfg"
        values = self.values(port, flaky_port) | {"CONNECTIONS": (self.run.files - 200) // 2}
        conf.write_text(fill("haproxy.cfg", values), encoding="utf-8")
        return ["haproxy", "-f", conf, "-db"]

    def version(self):
        return " ".join(version(["haproxy", "-v"]).split()[:3])


def endpoint(name, url, protocol="anthropic", models="claude-*"):
    """An endpoint's section of the settings."""
    return fill("endpoint.toml", {"ID": name, "URL": url, "API_KEY": f"key-of-{name}", "PROTOCOL": protocol, "MODELS": models})


class Gateway(Target):
    """The gateway before given upstreams. Its log goes into a pipe with a reader at the other end, as a container's does."""

    name, label = "gateway", "gateway"
    #: How many endpoints are to be isolated.
    isolated = 0
    #: Who reads the log.
    reader = None

    def endpoints(self):
        return {f"ep-{n}": address for n, address in enumerate(self.run.mock.addresses, 1)}

    def settings(self, state):
        """What it runs with."""
        text = fill("gateway.toml", {"KEY": KEY, "STATE": state})
        return text + "".join(endpoint(name, f"http://{upstream}") for name, upstream in self.endpoints().items())

    def up(self):
        folder = self.run.folder / self.name
        folder.mkdir(exist_ok=True)
        state = folder / "state.json"
        state.unlink(missing_ok=True)
        settings = folder / "gateway.toml"
        settings.write_text(self.settings(state), encoding="utf-8")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("QCC_") and k != "RUST_LOG"}
        self.process = start(
            [self.run.gateway, "--settings", settings], None, stderr=subprocess.PIPE, env=environment | self.variables(), text=True
        )
        self.address = self.reader = None
        said = []
        # One that says nothing is not waited for without end.
        patience = threading.Timer(self.patience, self.process.kill)
        patience.start()
        for line in self.process.stderr:
            said.append(line)
            if "listening on http://" in line:
                self.address = line.split("listening on http://")[1].split()[0]
                break
        patience.cancel()
        self.log_path.write_text("".join(said), encoding="utf-8")
        if not self.address:
            self.down()
            raise Failure(f"{self.name} does not start: {self.log()}")
        self.reader = subprocess.Popen(
            ["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self.process.stderr.close()

    def variables(self):
        """Further variables of its environment."""
        return {}

    def down(self):
        super().down()
        if self.reader:
            # It ends by itself with the log.
            self.reader.wait()
            self.reader = None

    def stats(self):
        with urllib.request.urlopen(f"http://{self.address}/__qcc__/stats", timeout=10) as answer:
            return json.load(answer)

    def check(self):
        faults = super().check()
        if not faults:
            stats = self.stats()
            wanted = {"leaks": 0, "failure_queue_size": self.isolated}
            faults = [f"{self.name}: {key} is {stats[key]}, not {value}" for key, value in wanted.items() if stats[key] != value]
        return faults

    def version(self):
        return version([self.run.gateway, "--version"])


class Isolated(Gateway):
    """The third of three endpoints is dead, and isolated before anything is measured."""

    name, label = "isolated", "one of three isolated"
    isolated = 1

    def endpoints(self):
        # Bound, but not listening: it refuses connections for as long as this lasts, and nobody else can have it.
        self.dead = socket.socket()
        self.dead.bind(("127.0.0.1", 0))
        host, port = self.dead.getsockname()
        return super().endpoints() | {"ep-3": f"{host}:{port}"}

    def up(self):
        super().up()
        deadline = time.monotonic() + 20
        while self.stats()["failure_queue_size"] < 1:
            if time.monotonic() > deadline:
                raise Failure("the dead endpoint is not isolated")
            body = b'{"model":"claude-sonnet-4-5","max_tokens":1,"messages":[{"role":"user","content":"?"}]}'
            head = {"x-api-key": KEY, "content-type": "application/json"}
            urllib.request.urlopen(urllib.request.Request(f"http://{self.address}/v1/messages", body, head), timeout=10).close()

    def down(self):
        super().down()
        self.dead.close()


class Thousand(Gateway):
    """Three upstreams, and a thousand endpoints that lead to them."""

    name, label = "thousand", "1,000 endpoints"

    def endpoints(self):
        addresses = self.run.mock.addresses
        return {f"ep-{n}": addresses[n % len(addresses)] for n in range(1, 1001)}


class Flaky(Gateway):
    """Its upstream hangs up behind every 20 answers of a connection."""

    name, label = "flaky", "gateway"

    def endpoints(self):
        return {"ep-1": self.run.mock.flaky_address}

    def up(self):
        super().up()
        self.flaky_address = self.address
