"""Where evidence lies on this machine, and what it is read from: runs, people of data sets, judgements, projects without code of ours."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemel.core.errors import DatasetError, EvidenceError, FormatError

if TYPE_CHECKING:
    from gemel.core.manifest import TwinManifest
    from gemel.evidence.credibility import Judgement
    from gemel.evidence.run import EvidenceRun
    from gemel.evidence.study import People

__all__ = ["data_hash", "data_rows", "evidence_folder", "judgements_of", "machine", "people_of", "project_of", "stored_runs"]


def evidence_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of stored runs: ``$GEMEL_EVIDENCE``, or one in the user's data directory."""
    given = os.environ if environ is None else environ
    if given.get("GEMEL_EVIDENCE"):
        return Path(given["GEMEL_EVIDENCE"]).expanduser()
    base = given.get("XDG_DATA_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".local" / "share") / "gemel" / "evidence"


def stored_runs(folder: Path, twin: str) -> tuple[EvidenceRun, ...]:
    """Return the stored runs of a twin, oldest first."""
    from gemel.evidence.run import read

    path = folder / f"{twin}.jsonl"
    return read(path) if path.exists() else ()


def machine() -> str:
    """Say in words on what this runs: figures of speed mean nothing without it."""
    import platform

    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _dataset(name: str) -> Any:
    from gemel.platform.datasets import listing

    found = [d for d in listing() if d.name == name]
    if not found:
        raise DatasetError(f"no data set {name!r} is listed", fix="gemel data list")
    return found[0]


def data_hash(names: Sequence[str]) -> str:
    """Return the hash of data sets by the listed hashes of their files: reads no data."""
    from gemel.core.lineage import digest

    return "+".join(sorted(digest([d.name, d.version, [(f.path, f.sha256) for f in d.files]])[:32] for d in map(_dataset, names)))


def people_of(name: str) -> People:
    """Return the people of a listed data set.

    Raises
    ------
    DatasetError
        When it cannot be had.
    """
    from gemel.evidence.study import People
    from gemel.interop.wearables import read_all
    from gemel.platform.datasets import resolve

    listed = _dataset(name)
    records = tuple(record for record, _ in read_all(resolve(name), format=listed.format or None))
    return People(records, data_hash([name]), "replayed", name)


def data_rows(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return (title, licence, citation) of data sets."""
    return [(f"{d.title}, {d.version}", d.licence, d.citation) for d in map(_dataset, names)]


def judgements_of(path: Path) -> tuple[Judgement, ...]:
    """Read people's judgements of credibility factors: tables ``[[judgement]]`` with factor, gradation, rationale, by, date.

    Raises
    ------
    FormatError
        When the file cannot be read, or a table lacks a field.
    EvidenceError
        For a factor or gradation that does not exist, or a judgement without a name.
    """
    from gemel.evidence.credibility import Judgement

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("judgement", [])
        return tuple(
            Judgement(int(t["factor"]), int(t["gradation"]), str(t["rationale"]), str(t["by"]), str(t["date"]))
            for t in tables
            if "factor" in t or "checklist" not in t
        )
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError("judgements cannot be read", seen=f"{path.name}: {error}", expected="TOML with tables [[judgement]]") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, EvidenceError):
            raise
        raise FormatError(
            "a judgement lacks a field", seen=f"{path.name}: {error}", expected="factor, gradation, rationale, by, date"
        ) from error


def project_of(path: Path) -> TwinManifest:
    """Return the one twin that a ``twin.toml`` describes: a project whose studies come from outside.

    Raises
    ------
    EvidenceError
        When the file describes several.
    """
    from gemel.core.manifest import load_manifest

    tables = load_manifest(path)
    if len(tables) != 1:
        raise EvidenceError("the file describes several twins", seen=sorted(tables), expected="one table [twin.ID]")
    return next(iter(tables.values()))
