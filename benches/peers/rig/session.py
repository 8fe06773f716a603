"""What a run has in common, whatever it is for: where things lie, how they are built, and load for a target."""

import json
import resource
from pathlib import Path

from . import targets
from .processes import call

PEERS = Path(__file__).resolve().parents[1]
ROOT = PEERS.parents[1]


class Session:
    """A run with a folder of its own, the binary that is looked at, and an upstream."""

    def __init__(self, folder):
        self.folder = folder
        self.files = raise_limit()
        self.gateway = self.mock = None

    def build_tools(self, *options):
        """Builds the rig, or a part of it."""
        cargo(PEERS, "--release", "--target-dir", "target", *options)

    def tool(self, name):
        return PEERS / "target" / "release" / name

    def load(self, mode, target, options):
        """What the load generator has found with a target."""
        options = {"address": target.address, "pid": target.pid, "key": targets.KEY} | options
        command = [self.tool("loadgen"), mode, *target.options]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        return json.loads(call(command))


def cargo(folder, *options, **surroundings):
    call(["cargo", "build", "--locked", "--quiet", *options], cwd=folder, **surroundings)


def raise_limit():
    """As many open files as may be; what is started inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > 1 << 18:
        hard = 1 << 18
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return hard
