"""A patient's own copy of everything that is held about them: a zip that other programs read, and that says in plain words what each part is.

References
----------
Regulation (EU) 2016/679, articles 15 (access) and 20 (portability).
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import orjson

from gemel.core.errors import StoreError
from gemel.core.time import iso
from gemel.interop.fhir.portable import resources_of
from gemel.platform.derived import model_of
from gemel.platform.store import Store, lookup
from gemel.platform.store.consents import consents_of, plain_consent, resource_of
from gemel.platform.store.export import lines

__all__ = ["PARTS", "copy_of", "write_copy"]

PARTS: dict[str, str] = {
    "READ ME.txt": "this page",
    "facts.ndjson": "Everything that is known about you: readings, meals, drugs, findings, each with when it was true and when it became known here, older versions too. One JSON object a line.",
    "fhir/": "The same facts as FHIR R4 resources, one file for each type, one resource a line: other health systems read these.",
    "received/": "What other systems sent about you as FHIR, byte for byte.",
    "documents/": "Letters, images and other files about you, named by their SHA-256; facts.ndjson says what each is.",
    "twins/": "Models of you, every version: what it read, how it was made, and the state itself (a zip of arrays; `gemel forecast` reads it).",
    "forecasts/": "What those models said of your future, as it was said.",
    "scores/": "How those forecasts did, once it was known what happened.",
    "recommendations/": "What was proposed, what people answered, and what came of it.",
    "consents.json": "What you permitted and forbade, as you gave it and as it is read here.",
    "work.json": "Work that was asked for about you, and how it stands.",
}
"""What is in a copy, in plain words."""

_WARNING = (
    "A twin is a model, not you. What it says is a forecast with its uncertainty, from research software; no output is a medical device's."
)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, default=str).encode() + b"\n"


def _readme(name: str, made: int, counts: dict[str, int]) -> bytes:
    rows = [f"{part}\n    {text}" for part, text in PARTS.items() if part == "READ ME.txt" or counts.get(part)]
    absent = [part for part in PARTS if part != "READ ME.txt" and not counts.get(part)]
    more = f"\n\nNothing is held here of: {', '.join(absent)}." if absent else ""
    text = (
        f"Your data\n\nHeld under the pseudonym {name}; copied {iso(made)}.\n\n" + "\n".join(rows) + more + f"\n\n{_WARNING}\n\n"
        "Times are UTC. Status of a reading: 0 final, 1 preliminary, 2 entered in error. Who looked at your data stands in the audit trail: ask for it.\n"
    )
    return text.encode()


def _versions(store: Store, subject: str, kind: str, folder: str, ending: str) -> Iterator[tuple[str, bytes]]:
    told = []
    for version in lookup.version_list(store, kind, subject):
        path = f"{folder}/{version.id}.{ending}"
        told.append(
            {"id": version.id, "file": path, "name": version.name, "version": version.version, "recorded": iso(version.recorded), "model": model_of(version), "about": version.meta}
        )  # fmt: skip
        yield path, lookup.version_body(store, kind, version.id)
    if told:
        yield f"{folder}/index.json", _json(told)


def _answers(store: Store, subject: str) -> Iterator[tuple[str, bytes]]:
    decisions = [{"id": a.id, **a.told.model_dump(mode="json")} for a in lookup.decisions(store, subject)]
    outcomes = [{"id": a.id, **a.told.model_dump(mode="json")} for a in lookup.outcomes(store, subject)]
    if decisions:
        yield "recommendations/decisions.json", _json(decisions)
    if outcomes:
        yield "recommendations/outcomes.json", _json(outcomes)


def _parts(store: Store, subject: str, name: str) -> Iterator[tuple[str, bytes]]:
    record = store.record(name)
    yield "facts.ndjson", b"".join(orjson.dumps(line) + b"\n" for line in lines(store, record))
    kinds: dict[str, list[bytes]] = {}
    for resource in resources_of(record, patient=subject):
        kinds.setdefault(resource["resourceType"], []).append(orjson.dumps(resource))
    for kind, rows in sorted(kinds.items()):
        yield f"fhir/{kind}.ndjson", b"\n".join(rows) + b"\n"
    received: dict[str, list[bytes]] = {}
    for kind, body in lookup.received(store, subject):
        received.setdefault(kind, []).append(body)
    for kind, rows in sorted(received.items()):
        yield f"received/{kind}.ndjson", b"\n".join(rows) + b"\n"
    for document in record.documents:
        try:
            yield f"documents/{document.sha256}", store.get_bytes(name, document.sha256)
        except StoreError:
            continue  # named by its hash only: its bytes were never sent here
    yield from _versions(store, subject, "twin", "twins", "twin")
    yield from _versions(store, subject, "forecast", "forecasts", "json")
    yield from _versions(store, subject, "score", "scores", "json")
    yield from _versions(store, subject, "proposal", "recommendations", "json")
    yield from _answers(store, subject)
    _, consents = consents_of(store, subject)
    if consents:
        told = [{"read_as": {**plain_consent(c), "patient": subject}, "given": resource_of(store, subject, c.id)} for c in consents]
        yield "consents.json", _json(told)
    jobs = [
        {
            "id": j.id,
            "kind": j.kind,
            "state": j.state,
            "created": iso(j.created),
            "changed": iso(j.changed),
            "asked": j.body,
            "result": j.result,
        }
        for j in store.jobs(subject=subject, limit=1_000_000)
    ]
    if jobs:
        yield "work.json", _json(jobs)


def write_copy(store: Store, subject: str, sink: IO[bytes], *, made: int) -> dict[str, int]:
    """Write everything that is held about a patient into a zip; return how many files each part has.

    Parameters
    ----------
    subject : random id.
    sink : seekable; what lies on the disk there is the caller's to guard.
    made : ns UTC.

    Raises
    ------
    StoreError
        When there is no such patient.
    """
    name = lookup.pseudonym(store, subject)
    counts: dict[str, int] = {}
    seen: set[str] = set()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path, body in _parts(store, subject, name):
            if path in seen:
                continue
            seen.add(path)
            bundle.writestr(path, body)
            part = path.partition("/")[0] + "/" if "/" in path else path
            counts[part] = counts.get(part, 0) + 1
        bundle.writestr("READ ME.txt", _readme(name, made, counts))
    return counts


def copy_of(store: Store, subject: str, *, made: int, most: int = 64 << 20) -> IO[bytes]:
    """Return a patient's copy, to be read from its beginning: in memory, and above ``most`` bytes in a file without a name, gone when it is closed."""
    sink = tempfile.SpooledTemporaryFile(max_size=most)  # noqa: SIM115  whoever reads it closes it
    write_copy(store, subject, sink, made=made)
    sink.seek(0)
    return sink
