#!/usr/bin/env python3
"""Checks what the gateway is built from against `.ci/deny.toml`: licences, bans, sources. Needs cargo-deny and crates.io.

Before it trusts the check it sees it fail: with each part of the file falsified in turn, cargo-deny must object, and name that
part. Known vulnerabilities are another command's: see the head of the file.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

CONFIG = pathlib.Path(__file__).resolve().with_name("deny.toml")
CHECKS = ("bans", "licenses", "sources")

# What is falsified, and how: the text and what takes its place. `serde` and licences of MIT are in the tree for certain.
FALSE = {
    "bans": ('{ crate = "openssl",', '{ crate = "serde",'),
    "licenses": ('    "MIT",\n', ""),
    "sources": ("github.com/rust-lang/crates.io-index", "registry.example.com/index"),
}


def deny(config):
    """The status, and everything that is said. A duplicate that is excused but gone is an error, lest the list grow old."""
    command = ["cargo", "deny", "--locked", "--config", str(config), "check", "--deny", "unmatched-skip", *CHECKS]
    run = subprocess.run(command, cwd=CONFIG.parent.parent, text=True, capture_output=True, check=False)
    return run.returncode, run.stdout + run.stderr


def failing(said):
    """The checks that the closing line, such as `bans ok, licenses FAILED, sources ok`, calls failed."""
    return {name for name in CHECKS if re.search(rf"\b{name} FAILED\b", said)}


def self_test():
    text = CONFIG.read_text(encoding="utf-8")
    for part, (true, false) in FALSE.items():
        if text.count(true) != 1:
            return f"{CONFIG.name} does not hold {true!r} once: the self-test has lost its way"
        with tempfile.TemporaryDirectory() as directory:
            falsified = pathlib.Path(directory) / CONFIG.name
            falsified.write_text(text.replace(true, false), encoding="utf-8")
            status, said = deny(falsified)
        if status == 0 or failing(said) != {part}:
            return f"with its {part} falsified the check must fail there and nowhere else; it said:\n{said}"
    return None


def main():
    fault = self_test()
    if fault:
        print(fault, file=sys.stderr)
        return 1
    print(f"self-test: an offence against each of {', '.join(CHECKS)} is seen")
    status, said = deny(CONFIG)
    print(said, end="")
    return status


if __name__ == "__main__":
    sys.exit(main())
