#!/usr/bin/env python3
"""Makes a crate of the pure core alone: src/domain with the tests that join its cores, and none of what is around it.

It is built in a tenth of the time that the gateway takes, which is what mutation needs. Argument: the folder to make it in.
The crate has the gateway's name and its dependencies, as far as the core uses them, so nothing in it is other than here.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Tests that need nothing but the core.
TESTS = ["model", "search"]
# What they share.
SUPPORT = "support"

HEAD = """[package]
name = "qcc-gateway"
version = "0.1.0"
edition = "2024"

[lib]
name = "qcc_gateway"
doctest = false

# Compiling takes little longer for it, and the tests a tenth of the time. What debug builds check is checked all the same.
[profile.dev]
debug = 0
opt-level = 1

[profile.dev.package."*"]
opt-level = 1

[workspace]
"""


def section(manifest, name):
    """The lines of a section of Cargo.toml that has one key a line, by key."""
    text = manifest.split(f"[{name}]\n")[1].split("\n[")[0]
    return dict(re.findall(r"^([\w-]+) = (.+)$", text, re.MULTILINE))


def is_used(crate, sources):
    return re.search(rf"\b{crate.replace('-', '_')}::", sources)


def make(folder):
    folder.mkdir(parents=True)
    # Fresh times, or cargo takes what was built of another state for this.
    shutil.copytree(ROOT / "src" / "domain", folder / "src" / "domain", copy_function=shutil.copy)
    (folder / "src" / "lib.rs").write_text("pub mod domain;\n", encoding="utf-8")
    for test in [*TESTS, SUPPORT]:
        if (ROOT / "tests" / test).exists():
            shutil.copytree(ROOT / "tests" / test, folder / "tests" / test, copy_function=shutil.copy)
    shutil.copy(ROOT / "Cargo.lock", folder)
    sources = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.rs")))
    manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    text = HEAD
    for name in ("dependencies", "dev-dependencies"):
        used = {crate: version for crate, version in section(manifest, name).items() if is_used(crate, sources)}
        text += f"\n[{name}]\n" + "".join(f"{crate} = {version}\n" for crate, version in used.items())
    (folder / "Cargo.toml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    make(Path(sys.argv[1]))
