"""Peers that are measured on request: a minimal proxy on hyper, and gateways for LLMs, which come from their registries."""

import os
import sys

from .processes import call, version
from .targets import CONF, Target, fill


class Other(Target):
    #: Whether it can stream, and how many at a time.
    has_streams, stream_connections = True, 64


class Hyper(Other):
    """What a common HTTP library alone costs."""

    name, label = "hyper", "hyper"

    def prepare(self):
        self.run.build_tools("--package", "hyperproxy")

    def command(self, port, _):
        return [self.run.tool("hyperproxy"), f"127.0.0.1:{port}", *self.run.mock.addresses]

    def version(self):
        return "hyper 1"


class LiteLLM(Other):
    name, label, package = "litellm", "LiteLLM", "litellm[proxy]==1.105.3"
    patience = 180
    stream_connections = 16
    options = ("--lenient",)

    def prepare(self):
        self.venv = self.run.folder / "litellm"
        call([sys.executable, "-m", "venv", self.venv])
        pip = [self.venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", self.package]
        call(pip)

    def command(self, port, flaky_port):
        conf = self.run.folder / "litellm.yaml"
        conf.write_text(fill("litellm.yaml", self.values(port, flaky_port)), encoding="utf-8")
        return [self.venv / "bin" / "litellm", "--config", conf, "--host", "127.0.0.1", "--port", port]

    def surroundings(self):
        # It would fetch its price list from elsewhere.
        return {"env": os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}}

    def version(self):
        return self.package.replace("[proxy]==", " ")


class Portkey(Other):
    name, label, package = "portkey", "Portkey", "@portkey-ai/gateway@1.15.2"
    patience = 60
    # This version answers them with status 500 under Node 20.
    has_streams = False

    def prepare(self):
        self.prefix = self.run.folder / "portkey"
        self.prefix.mkdir()
        call(["npm", "install", "--no-save", "--silent", "--prefix", self.prefix, self.package])
        headers = self.run.folder / "portkey.headers"
        headers.write_text(fill("portkey.headers", self.values(0, 0)), encoding="utf-8")
        self.options = ("--lenient", "--headers", headers)

    def command(self, port, _):
        server = self.prefix / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        return ["node", "--require", CONF / "loopback-only.cjs", server, f"--port={port}", "--headless"]

    def surroundings(self):
        # It refuses upstreams at private addresses unless it is told to trust them.
        return {"env": os.environ | {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}}

    def version(self):
        return f"Portkey {self.package.rsplit('@', 1)[1]}, node {version(['node', '--version'])}"


NAMES = {kind.name: kind for kind in (Hyper, LiteLLM, Portkey)}
