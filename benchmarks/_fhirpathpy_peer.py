"""fhirpathpy in its own environment, on the official FHIRPath tests in a file. Prints JSON.

python _fhirpathpy_peer.py FILE.json    (tests: expression, focus, wanted texts, whether it must fail)
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from importlib import metadata


def shown(item: object) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    return str(item).removeprefix("@").removeprefix("T")


def same(found: list[object], wanted: list[str]) -> bool:
    """By text without marks of dates, or as numbers."""
    if len(found) != len(wanted):
        return False
    for item, text in zip(found, wanted, strict=True):
        plain = text.removeprefix("@").removeprefix("T")
        if shown(item) == plain:
            continue
        try:
            if float(shown(item)) != float(plain):
                return False
        except ValueError:
            return False
    return True


def main() -> None:
    import fhirpathpy
    from fhirpathpy.models import models

    with open(sys.argv[1]) as stream:
        tests = json.load(stream)
    counts = {"passed": 0, "wrong": 0, "error": 0, "passed_but_must_fail": 0}
    begin = time.process_time()
    for test in tests:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what trace() is given
                found = fhirpathpy.evaluate(test["focus"], test["expression"], {}, models["r4"])
        except Exception:
            counts["passed" if test["fails"] else "error"] += 1
            continue
        if test["predicate"]:
            found = [bool(found)]
        if test["fails"]:
            counts["passed_but_must_fail"] += 1
        else:
            counts["passed" if same(found, test["wanted"]) else "wrong"] += 1
    seconds = time.process_time() - begin
    print(json.dumps(counts | {"tests": len(tests), "cpu_seconds": seconds, "version": metadata.version("fhirpathpy")}))


if __name__ == "__main__":
    main()
