"""Processes of a run, each of which ends with it, however it ends."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

#: Where the system has it: whoever started a process takes it along, even when killed.
GUARD = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []


class Failure(Exception):
    """Why there can be no measurement."""


def start(command, log, **options):
    """A process in a session of its own, so that Ctrl-C reaches this one alone, which then ends the others in order."""
    options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True, **options}
    return subprocess.Popen([*GUARD, *map(str, command)], **options)


def end(process):
    """Ends it with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def call(command, **options):
    """Runs a command to its end, and gives what it has written. Whatever interrupts that ends the command, with its children."""
    process = start(command, None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    try:
        written, said = process.communicate()
    except BaseException:
        end(process)
        raise
    if process.returncode:
        raise Failure(f"{' '.join(map(str, command))}: status {process.returncode}\n{said}")
    return written


def free_port():
    """A port that was free a moment ago, for those that can't be told to pick one themselves."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listens(port):
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def await_port(process, port, seconds):
    """Waits until the process takes connections there; false if it has ended instead."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        if listens(port):
            return True
        time.sleep(0.02)
    raise Failure(f"nobody listens on port {port} after {seconds} s")


def version(command):
    """The first line of what a program says of its version, on either stream."""
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((run.stdout + run.stderr).splitlines() or ["?"])[0].strip()
