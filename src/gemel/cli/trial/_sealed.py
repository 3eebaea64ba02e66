"""A folder that can be checked: its files, their hashes, the trail of who made them, a signature when one is asked for."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemel.cli.output import atomic_write

__all__ = ["TRAIL", "append_trail", "file_hash", "seal", "verify_folder"]

MANIFEST, SIGNATURE, TRAIL = "manifest.json", "manifest.sig.json", "audit.jsonl"


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def append_trail(path: Path, *, who: str, what: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Append one entry to the trail in a file, which must hold; nothing in it is ever rewritten."""
    from gemel.core.time import iso
    from gemel.trials.report.trail import appended

    text = path.read_text(encoding="utf-8") if path.exists() else ""
    line = appended(text, who=who, when=iso(time.time_ns()), what=what, inputs=inputs, outputs=outputs)
    with path.open("ab") as sink:
        sink.write(line.encode())
        sink.flush()
        os.fsync(sink.fileno())


def seal(
    folder: Path, files: Mapping[str, bytes], *, who: str, what: str, inputs: Mapping[str, str], signer: str | None, meaning: str
) -> dict[str, Path]:
    """Write files into a folder with a manifest of their hashes, append to its trail, and sign the manifest when a signer is named."""
    from gemel.core.lineage import digest

    folder.mkdir(parents=True, exist_ok=True)
    trail = folder / TRAIL
    if trail.exists():  # refuse before anything is replaced
        from gemel.core.errors import DataError
        from gemel.trials.report.trail import verify_trail

        wrong = verify_trail(trail.read_text(encoding="utf-8"))
        if wrong:
            raise DataError(
                "the folder's trail is broken", seen=wrong[0], expected="every line as it was written", fix="write into another folder"
            )
    written = {}
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / name, body)
        written[name] = folder / name
    listed = {name: hashlib.sha256(body).hexdigest() for name, body in sorted(files.items())}
    told = {"what": what, "files": listed, "hash": digest(listed)}
    atomic_write(folder / MANIFEST, (json.dumps(told, indent=1) + "\n").encode())
    written["manifest"] = folder / MANIFEST
    (folder / SIGNATURE).unlink(missing_ok=True)  # of another manifest
    if signer:
        from gemel.platform.signing import sign, signing_key

        made = sign(told["hash"], who=signer, meaning=meaning, time=time.time_ns(), key=signing_key())
        atomic_write(folder / SIGNATURE, (made.model_dump_json(indent=1) + "\n").encode())
        written["signature"] = folder / SIGNATURE
    append_trail(trail, who=who or signer or "not named", what=what, inputs=inputs, outputs={"manifest": told["hash"]})
    written["trail"] = trail
    return written


def verify_folder(folder: Path) -> dict[str, Any]:
    """Say of a folder whether its files, its trail and its signature hold; ``BROKEN`` begins what does not."""
    from gemel.core.errors import FormatError
    from gemel.core.lineage import digest
    from gemel.core.time import iso
    from gemel.platform.signing import read_signature, verify
    from gemel.trials.report.trail import entries, verify_trail

    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed, claimed = dict(told["files"]), str(told["hash"])
        text = (folder / TRAIL).read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            "not a folder of gemel trial", seen=folder.name, expected=f"{MANIFEST} and {TRAIL}, as they were written"
        ) from error
    wrong = [n for n, h in listed.items() if not (folder / n).is_file() or file_hash(folder / n) != h]
    extra = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    extra = [n for n in extra if n not in listed and n not in (MANIFEST, SIGNATURE, TRAIL)]
    found: dict[str, Any] = {"files": f"hold: {len(listed)}"}
    if wrong or digest(listed) != claimed:
        found["files"] = f"BROKEN: {', '.join(wrong) or 'the manifest was edited'}"
    if extra:
        found["not listed"] = ", ".join(extra)
    trail = verify_trail(text)
    if trail:
        found["trail"] = f"BROKEN: {trail[0]}"
    else:
        last = entries(text)[-1] if text else None
        holds = last is not None and last.outputs.get("manifest") == claimed
        found["trail"] = (
            f"holds: {last.number} entries, the last by {last.who}, {last.when}"
            if holds and last
            else "BROKEN: its last entry is of another manifest"
        )
    if (folder / SIGNATURE).exists():
        signature = read_signature(folder / SIGNATURE)
        why = verify(signature, claimed)
        found["signature"] = (
            f"BROKEN: {why}" if why else f"holds: {signature.who}, {iso(signature.time)}, key {signature.key[:16]}, {signature.meaning}"
        )
    else:
        found["signature"] = "none"
    return found
