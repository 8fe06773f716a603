"""An agent as a program: started as its user would, and alone with the gateway."""

import os
import subprocess
from pathlib import Path

from gateway import GUARD
from upstream import BROKEN_500, CLOSES, CLOSES_AFTER, ENDS_AFTER, REFUSES_KEY, SOUND

PACKAGES = Path(__file__).resolve().parent / "node_modules"

#: Whatever it asks elsewhere ends here.
NOWHERE = "http://127.0.0.1:9"
#: Seconds. Their back-off from one try to the next is at most half a minute.
PATIENCE = 90

#: How an endpoint behaves that is sound, or fails before its answer's first content.
BEFORE_THE_ANSWER = [SOUND, BROKEN_500, REFUSES_KEY, CLOSES, f"{CLOSES_AFTER}1", f"{ENDS_AFTER}2"]


def run(command, folder, variables, within=PATIENCE):
    """Its exit status, and what it says to standard output and error."""
    home, work = folder / "home", folder / "work"
    for place in (home, work):
        place.mkdir(exist_ok=True)
    # Nothing of the surroundings may reach into it, and nothing of it may reach out.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "dumb",
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "NO_PROXY": "127.0.0.1",
    }
    ended = subprocess.run(
        [*GUARD, *command],
        cwd=work,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    return ended.returncode, ended.stdout.strip(), ended.stderr
