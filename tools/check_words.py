"""Look through every tracked file for words that must not appear, and print where they do.

- Claims that only a regulator or an auditor can make: Gemel is research software, and no sentence of it may read otherwise.
- Addresses of package registries, and options that name one: where packages come from is the business of whoever installs.
- The folder in which this checkout happens to lie.

Usage: ``python tools/check_words.py [FILE ...]``; without names, all files that git tracks. The exit status is 1 when something was found.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CLAIMS = ("certified", "approved", "compliant", "validated for clinical use")
REGISTRIES = (
    ("pypi", "org"),
    ("pypi", "python", "org"),
    ("files", "pythonhosted", "org"),
    ("registry", "npmjs", "org"),
    ("conda", "anaconda", "org"),
)
OPTIONS = ("index-url", "find-links", "trusted-host")

CLAIM = re.compile(r"\b(" + "|".join(words.replace(" ", r"\s+") for words in CLAIMS) + r")\b", re.IGNORECASE)
REGISTRY = re.compile("|".join(re.escape(".".join(parts)) for parts in REGISTRIES), re.IGNORECASE)
OPTION = re.compile(r"(?<!no-emit-)\b(" + "|".join(OPTIONS) + r")\b")

EXEMPT = {
    "tools/check_words.py": "the list itself",
    "tests/docs/test_words.py": "shows that the words are found",
    "src/gemel/interop/fhir/schema/r4.json": "codes of HL7, such as the statuses of an order, not ours",
}


def findings(text: str, checkout: Path = ROOT) -> Iterator[tuple[int, str, str]]:
    """Yield line number, word and reason for everything in a text that must not stand there."""
    rules = [
        (CLAIM, "a claim that is not ours to make"),
        (REGISTRY, "a package registry"),
        (OPTION, "an option that names a package registry"),
    ]
    if len(checkout.parent.parts) > 1:
        rules.append((re.compile(r"(?<![\w./-])" + re.escape(str(checkout.parent)) + r"/\w"), "a folder of this machine"))
    for rule, reason in rules:
        for found in rule.finditer(text):
            yield text.count("\n", 0, found.start()) + 1, " ".join(found[0].split()), reason


def tracked(root: Path = ROOT) -> list[str]:
    """Return the paths that git tracks, as git names them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True)
    return [name for name in listed.stdout.split("\0") if name]


def check(names: Iterable[str], root: Path = ROOT) -> list[str]:
    """Return one line per finding."""
    lines = []
    for name in names:
        path = root / name
        if name in EXEMPT or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        lines += [f"{name}:{line}: {word!r}: {reason}" for line, word, reason in findings(text, root)]
    return lines


def main(arguments: list[str]) -> int:
    names = arguments or tracked()
    lines = check(names)
    print("\n".join(lines) if lines else f"{len(names)} files name no registry and make no claim")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
