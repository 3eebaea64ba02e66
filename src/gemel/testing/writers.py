"""Writers of test files: a package with a twin's manifest, and a record as JSON lines and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core.code import Code
from gemel.core.errors import FormatError
from gemel.core.manifest import GROUP
from gemel.core.record import Demographics, Exposure, Finding, PatientRecord
from gemel.core.series import Series

__all__ = ["read_record", "write_distribution", "write_manifest", "write_record"]


def write_distribution(folder: Path, name: str, twins: Mapping[str, str], *, version: str = "0.1.0") -> Path:
    """Write a ``.dist-info`` that registers twins: with the folder on ``sys.path`` they are found as if their package had been installed.

    Parameters
    ----------
    folder : is made when missing.
    name : of the distribution.
    twins : id -> ``package.module:object``.

    Returns
    -------
    The ``.dist-info`` folder.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\n" + "".join(f"{twin} = {target}\n" for twin, target in twins.items()), encoding="utf-8"
    )
    return info


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value)


def write_manifest(path: Path, twins: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write a ``twin.toml`` from plain tables, by id."""
    lines = []
    for twin, table in twins.items():
        lines.append(f"[twin.{twin}]")
        lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_record(path: Path, record: PatientRecord) -> Path:
    """Write a record's demographics, series, exposures and findings as JSON lines, one fact per line."""
    lines: list[dict[str, Any]] = [{"kind": "person", "id": record.id, **record.demographics.model_dump(mode="json")}]
    for s in record.series:
        columns = {c: getattr(s, c).tolist() for c in ("time", "value", "recorded", "status", "censored")}
        lines.append({"kind": "series", "code": str(s.code), "unit": s.unit, "source": s.source, **columns})
    for fact in (*record.exposures, *record.findings):
        lines.append(fact.model_dump(mode="json") | {"code": str(fact.code)})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def read_record(path: Path) -> PatientRecord:
    """Read what :func:`write_record` wrote.

    Raises
    ------
    FormatError
        When the first line is not a person.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    if not lines or lines[0].pop("kind", None) != "person":
        raise FormatError("not a record as JSON lines", seen=path.name, expected="a first line of kind 'person'")
    record = PatientRecord(id=lines[0].pop("id"), demographics=Demographics(**lines[0]))
    facts: list[Any] = []
    for line in lines[1:]:
        table = line | {"code": Code.parse(line["code"])}
        if line["kind"] == "series":
            facts.append(Series(**{k: np.asarray(v) if isinstance(v, list) else v for k, v in table.items()}))
        else:
            facts.append((Exposure if line["kind"] == "exposure" else Finding)(**table))
    return record.with_facts(*facts)
