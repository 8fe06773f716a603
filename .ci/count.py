#!/usr/bin/env python3
"""Sums up the tests that logs of cargo, pytest and node tell of, as one line: `N passed, N failed`.

Arguments are logs. Status 1 where a test failed, or where a log tells of none that ran: a suite that did not run is a failure.
"""

import re
import sys

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed;", re.MULTILINE)
PYTEST = re.compile(r"^=*\s*((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s", re.MULTILINE)

# The end of TAP, or of node's own manner of telling.
NODE = re.compile(r"^(?:#|\u2139) (pass|fail|cancelled) (\d+)$", re.MULTILINE)


def counts(text):
    text = COLOUR.sub("", text)
    passed = failed = 0
    for ok, bad in CARGO.findall(text):
        passed += int(ok)
        failed += int(bad)
    for summary in PYTEST.findall(text):
        for number, word in re.findall(r"(\d+) ([a-z]+)", summary):
            if word == "passed":
                passed += int(number)
            elif word in ("failed", "error", "errors"):
                failed += int(number)
    for word, number in NODE.findall(text):
        if word == "pass":
            passed += int(number)
        else:
            failed += int(number)
    return passed, failed


def main(paths):
    total_passed = total_failed = 0
    sound = bool(paths)
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as log:
            passed, failed = counts(log.read())
        if passed + failed == 0:
            print(f"{path}: no test ran", file=sys.stderr)
            sound = False
        total_passed += passed
        total_failed += failed
    print(f"{total_passed} passed, {total_failed} failed")
    return 0 if sound and total_failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
