"""The gateway as its image has it: optimised by a profile of what it does under load.

It is built so that it counts, is given work, and is built once more by what it has counted (rustc's book, "Profile-guided
Optimization"). What is never counted is made small and not fast, so the work is of all kinds that matter: both APIs, whole answers
and streams, small bodies and large ones, upstreams with TLS and such as hang up.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .processes import Failure, call
from .session import ROOT, cargo
from .targets import Gateway, Mock, endpoint

#: Where all of it lies, to be used again.
TRAINED = ROOT / "target" / "trained"
#: How long each kind of work takes, in seconds.
WARM, LENGTH = 0.3, 1.5
#: The same where nothing is learned from it, and of how many events its streams are then.
TRY_WARM, TRY_LENGTH, TRY_EVENTS = 0.1, 0.5, 10
#: The work: the load generator's mode and options.
LOADS = (
    ("closed", {"connections": 64}),
    ("closed", {"connections": 16, "body": 48 << 10}),
    ("closed", {"connections": 8, "body": 600 << 10}),
    ("open", {"connections": 64, "rate": 1500}),
    ("stream", {"connections": 64, "events": 60}),
    ("stream", {"connections": 200, "events": 40, "delay-us": 20_000}),
    ("closed", {"connections": 64, "api": "chat"}),
    ("closed", {"connections": 16, "body": 48 << 10, "api": "chat"}),
    ("stream", {"connections": 64, "events": 60, "api": "chat"}),
    ("stream", {"connections": 200, "events": 40, "delay-us": 20_000, "api": "chat"}),
)


class Unreadable(Failure):
    """There is no tool that can read this compiler's counts."""


class TrainingMock(Mock):
    """An upstream at whose addresses is what a gateway meets."""

    def __init__(self, run):
        super().__init__(run)
        self.certificate = run.folder / "upstream.pem"
        self.kinds = ("plain", f"tls:{self.certificate}", "flaky:20")


class TrainingGateway(Gateway):
    """A gateway that counts while it works."""

    name, label = "training", "gateway in training"

    def __init__(self, run, counts):
        super().__init__(run)
        self.counts = counts

    def settings(self, state):
        plain, encrypted = self.run.mock.addresses
        chat = {"protocol": "openai", "models": "gpt-*"}
        endpoints = (
            endpoint("plain", f"http://{plain}"),
            endpoint("encrypted", f"https://{encrypted}"),
            endpoint("flaky", f"http://{self.run.mock.flaky_address}"),
            endpoint("chat-plain", f"http://{plain}", **chat),
            endpoint("chat-encrypted", f"https://{encrypted}", **chat),
        )
        return super().settings(state) + f'\n[upstream]\nca_file = "{self.run.mock.certificate}"\n' + "".join(endpoints)

    def endpoints(self):
        return {}

    def variables(self):
        return {"LLVM_PROFILE_FILE": str(self.counts / "%m.profraw")}


def train(session, gateway, counts, is_try=False):
    """Gives a binary all kinds of work. Each answer has to be right, and the gateway content with itself."""
    session.gateway = gateway
    times = {"warm": TRY_WARM, "secs": TRY_LENGTH} if is_try else {"warm": WARM, "secs": LENGTH}
    with TrainingMock(session) as session.mock, TrainingGateway(session, counts) as target:
        for mode, options in LOADS:
            if is_try and "events" in options:
                options = options | {"events": TRY_EVENTS}
            result = session.load(mode, target, times | options)
            faults = [f"errors: {result['faults']}"] if result["errors"] else []
            if not result["answers"]:
                faults.append("no answers")
            faults += target.check()
            if faults:
                raise Failure(f"training, {mode} {options}: {'; '.join(faults)}")


def instrument():
    """The gateway that counts."""
    return compiled("instrumented", "-Cprofile-generate")


def build(session, or_plain=False):
    """The optimised gateway. Trained once for each that counts; `or_plain`: one without a profile, where none can be read."""
    try:
        reader = profile_reader(session.folder)
    except Unreadable as why:
        if not or_plain:
            raise
        print(f"{why}\nSo the gateway is built without a profile: it takes some 15 % more CPU than it could.", file=sys.stderr)
        return compiled("plain")
    counting = instrument()
    known = hashlib.sha256(counting.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    profile = TRAINED / f"{known[:16]}.profdata"
    if not profile.exists():
        counts = session.folder / "counts"
        counts.mkdir()
        train(session, counting, counts)
        merge(reader, counts, profile)
    return compiled("optimised", f"-Cprofile-use={profile}")


def compiled(name, *flags):
    """The gateway, built with these flags for the compiler. They are for the machine's own target: without naming it, build
    scripts and macros would count as well."""
    versions = call(["rustc", "-vV"])
    host = re.search(r"host: (.*)", versions)[1]
    environment = os.environ | {"RUSTFLAGS": " ".join([*os.environ.get("RUSTFLAGS", "").split(), *flags])}
    folder = TRAINED / name
    cargo(ROOT, "--profile", "dist", "--bin", "qcc-gateway", "--target", host, "--target-dir", folder, env=environment)
    return folder / host / "dist" / "qcc-gateway"


def profile_reader(folder):
    """The llvm-profdata that reads this compiler's counts. Found out with a program that does nothing, before ten minutes' work."""
    source, program, counts = (folder / name for name in ("nothing.rs", "nothing", "nothing.profraw"))
    source.write_text("fn main() {}")
    call(["rustc", "-Cprofile-generate", "-o", program, source])
    call([program], env=os.environ | {"LLVM_PROFILE_FILE": str(counts)})
    said = []
    for tool in tools():
        merged = subprocess.run([tool, "show", counts], capture_output=True, text=True, check=False)
        if merged.returncode == 0:
            return tool
        said.append(f"{tool}: {merged.stderr.strip()}")
    said = "".join(f"\n  {line}" for line in said) or " there is none"
    raise Unreadable(
        f"no llvm-profdata can read this compiler's counts:{said}\nInstall Debian's llvm-19 or newer, or rustup's component llvm-tools."
    )


def merge(reader, counts, profile):
    """Brings the counts into the form that the compiler reads."""
    files = sorted(counts.glob("*.profraw"))
    if not files:
        raise Failure("the gateway has written no counts when it ended")
    part = profile.with_suffix(".part")
    call([reader, "merge", "-o", part, *files])
    part.replace(profile)


def tools():
    """Every llvm-profdata there is: the compiler's own before others, and of these the newest first."""
    libraries = Path(call(["rustc", "--print", "target-libdir"]).strip())
    named = sorted(Path("/usr/lib").glob("llvm-*/bin/llvm-profdata"), key=version_of, reverse=True)
    found = [libraries.parent / "bin" / "llvm-profdata", *named, shutil.which("llvm-profdata")]
    return [tool for tool in found if tool and Path(tool).exists()]


def version_of(tool):
    return int(re.search(r"llvm-(\d+)", str(tool))[1])
