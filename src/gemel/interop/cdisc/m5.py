"""The folder of clinical study reports (module 5) of an electronic submission: where each file lies, an index, and checksums.

The layout and the index with MD5 follow eCTD 3.2.2; a second list carries SHA-256, since MD5 no longer protects against intent. It is a folder that a
publishing tool takes in, not a whole submission: module 1, study tagging files and the sequence's history are the publisher's.

References
----------
ICH M2, eCTD specification 3.2.2, appendices 2 to 4 (file organisation, checksums). FDA, Study Data Technical Conformance Guide (folder ``datasets``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from gemel.core.errors import DataError

__all__ = ["PLACES", "Leaf", "m5_files", "verify_m5"]

PLACES = {
    "report": "m5/53-stud-rep/535-rep-effic-safety-stud/{indication}/5351-stud-rep-contr/{study}",
    "adam": "m5/datasets/{study}/analysis/adam/datasets",
    "program": "m5/datasets/{study}/analysis/adam/programs",
    "misc": "m5/datasets/{study}/misc",
}
"""Kind of file -> its folder."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_PART = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class Leaf:
    """One file: what it is (of :data:`PLACES`), its name, its title, its bytes."""

    kind: str
    name: str
    title: str
    body: bytes


def m5_files(leaves: tuple[Leaf, ...], *, study: str, indication: str) -> dict[str, bytes]:
    """Return path -> bytes of the whole folder: the files, ``index.xml``, ``index-md5.txt`` and ``sha256.txt``.

    Parameters
    ----------
    study, indication : parts of paths: small letters, digits, dashes.

    Raises
    ------
    DataError
        For a name that the specification does not allow, an unknown kind, a path over 230 characters, or two files of one path.
    """
    for what, part in (("study", study), ("indication", indication)):
        if not _PART.fullmatch(part):
            raise DataError(f"the {what} cannot be a folder of an eCTD", seen=part, expected="small letters, digits, dashes; at most 64")
    out: dict[str, bytes] = {}
    rows = []
    for i, leaf in enumerate(leaves, start=1):
        if leaf.kind not in PLACES or not _NAME.fullmatch(leaf.name):
            raise DataError("a file cannot lie in an eCTD", seen=f"{leaf.kind}: {leaf.name}", expected=f"a kind of {sorted(PLACES)}; a name of small letters, digits, - _ .")  # fmt: skip
        path = f"{PLACES[leaf.kind].format(study=study, indication=indication)}/{leaf.name}"
        if path in out or len(path) > 230:
            raise DataError("a path comes twice or is too long", seen=path, expected="one file a path, at most 230 characters")
        out[path] = leaf.body
        md5 = hashlib.md5(leaf.body, usedforsecurity=False).hexdigest()
        rows.append(
            f'<leaf ID="l{i:04d}" operation="new" checksum-type="md5" checksum="{md5}" xlink:type="simple" xlink:href={quoteattr(path)}>'
            f"<title>{escape(leaf.title)}</title></leaf>"
        )
    index = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ectd:ectd xmlns:ectd="http://www.ich.org/ectd" xmlns:xlink="http://www.w3c.org/1999/xlink" dtd-version="3.2">'
        "<m5-clinical-study-reports><m5-3-clinical-study-reports><m5-3-5-reports-of-efficacy-and-safety-studies"
        f" indication={quoteattr(indication)}><m5-3-5-1-study-reports-of-controlled-clinical-studies-pertinent-to-the-claimed-indication>"
        f"{''.join(rows)}</m5-3-5-1-study-reports-of-controlled-clinical-studies-pertinent-to-the-claimed-indication>"
        "</m5-3-5-reports-of-efficacy-and-safety-studies></m5-3-clinical-study-reports></m5-clinical-study-reports></ectd:ectd>\n"
    ).encode()
    sums = "".join(f"{hashlib.sha256(body).hexdigest()}  {path}\n" for path, body in sorted((out | {"index.xml": index}).items()))
    return out | {
        "index.xml": index,
        "index-md5.txt": hashlib.md5(index, usedforsecurity=False).hexdigest().encode(),
        "sha256.txt": sums.encode(),
    }


def verify_m5(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Say what in a folder is not as its checksums say; empty when all holds.

    Parameters
    ----------
    files : path -> bytes, as :func:`m5_files` gave them.
    """
    missing = [n for n in ("index.xml", "index-md5.txt", "sha256.txt") if n not in files]
    if missing:
        return tuple(f"{n} is missing" for n in missing)
    wrong = []
    if hashlib.md5(files["index.xml"], usedforsecurity=False).hexdigest() != files["index-md5.txt"].decode("ascii", "replace").strip():
        wrong.append("index.xml is not the one of index-md5.txt")
    lines = [line.split("  ", 1) for line in files["sha256.txt"].decode("utf-8", "replace").splitlines() if "  " in line]
    listed = {path: told for told, path in lines}
    for path, told in listed.items():
        if path not in files:
            wrong.append(f"{path} is missing")
        elif hashlib.sha256(files[path]).hexdigest() != told:
            wrong.append(f"{path} was changed")
    extra = set(files) - set(listed) - {"index-md5.txt", "sha256.txt"}
    return (*wrong, *(f"{path} is not listed" for path in sorted(extra)))
