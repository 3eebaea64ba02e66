"""Virtual patients by the million: shards of Parquet whose content depends on the seed and the number of the shard, and on nothing else.

A shard is written beside its place and renamed; then its note is. A run that is killed leaves whole shards and parts; started again it keeps the shards whose note
belongs to the same order, makes the others, and ends with the same hashes. The sha256 is of the content (columns, types, whole steps), not of the file: two
versions of a Parquet writer give other files of the same patients.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemel import __version__
from gemel.core.errors import DataError, FormatError
from gemel.core.lineage import digest
from gemel.core.protocols import Executor, Progress
from gemel.trials.generate.constraints import constrained
from gemel.trials.generate.copula import Copula
from gemel.trials.generate.exact import BLOCK, ExactCopula, Steps
from gemel.trials.generate.panel import NOT_ANONYMOUS, Variable
from gemel.trials.generate.store import from_bytes, to_bytes
from gemel.trials.generate.target import Tilt

__all__ = ["MANIFEST", "MEASURED", "ROW_GROUP", "SHARD", "Order", "generate", "verify", "write_shard"]

SHARD = 250_000
"""Patients per file."""
ROW_GROUP = 100_000
FORMAT = "gemel.virtual-patients/1"
MANIFEST, MEASURED = "_manifest.json", "_measured.json"
_GENERATOR, _TARGET = "_generator.npz", "_target.json"


@dataclass(frozen=True)
class Order:
    """What is asked for.

    Parameters
    ----------
    records : virtual patients in all.
    seed : makes the key of every block.
    studies : names; the records are shared out evenly, each study with keys of its own.
    shard : patients per file.
    """

    records: int
    seed: int = 1
    studies: tuple[str, ...] = ("virtual",)
    shard: int = SHARD

    def __post_init__(self) -> None:
        if not (1 <= self.records <= 10**11 and 1 <= self.shard <= 10**7 and 0 <= self.seed < 2**63):
            raise DataError("an order is impossible", seen=asdict(self), expected="1 to 1e11 records, shards of at most 1e7")
        if (
            not self.studies
            or len(set(self.studies)) < len(self.studies)
            or not all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", s) for s in self.studies)
        ):
            raise DataError("a study's name cannot be a folder", seen=self.studies, expected="different names of letters, digits, _ . -")

    def shards(self) -> Iterator[dict[str, Any]]:
        """Yield what names each shard: study, number, first patient, patients."""
        for p, study in enumerate(self.studies):
            whole = self.records // len(self.studies) + (p < self.records % len(self.studies))
            for s, first in enumerate(range(0, whole, self.shard)):
                yield {
                    "study": study, "arm": "control", "partition": p, "shard": s, "first": first, "patients": min(self.shard, whole - first), "seed": self.seed,
                }  # fmt: skip


@dataclass(frozen=True)
class _Drawn:
    """A generator without fixed point: its own draws, on their instruments."""

    generator: Any

    def block(self, key: tuple[int, ...], n: int) -> Steps:
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(key)))
        panel = constrained(self.generator.draw(BLOCK, rng=rng)).take(np.arange(n))
        columns = {}
        for j, v in enumerate(panel.variables):
            values = np.repeat(panel.values[:, :1, j], len(panel.times), axis=1) if v.is_baseline else panel.values[:, :, j]
            columns[v.name] = v.encode(values)
        return Steps(columns, panel.last.astype(np.int8), panel.event.astype(np.int8))


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise FormatError("Parquet needs an extra", seen="pyarrow is not installed", fix="pip install 'gemel[parquet]'") from error
    return pyarrow


def _path(item: Mapping[str, Any]) -> str:
    return f"study={item['study']}/arm={item['arm']}/part-{item['shard']:05d}.parquet"


def _note(out: Path, item: Mapping[str, Any]) -> Path:
    path = out / _path(item)
    return path.with_name(f"_{path.stem}.json")


def _content(columns: Mapping[str, np.ndarray]) -> str:
    """Hash columns by name, type and little-endian bytes; all but their order."""
    whole = hashlib.sha256()
    for name in sorted(columns):
        array = np.ascontiguousarray(columns[name], columns[name].dtype.newbyteorder("<"))
        whole.update(f"{name} {array.dtype.str} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def _renamed(path: Path, write: Any) -> None:
    """Write beside and rename: the file is there whole, or it is not there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    write(beside)
    with beside.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(beside, path)


@dataclass(frozen=True)
class _Accepted:
    """The patients of another drawer who belong to the described population."""

    drawer: Any
    tilt: Tilt
    variables: tuple[Variable, ...]

    def block(self, key: tuple[int, ...], n: int) -> Steps:
        parts, have, turn = [], 0, 0
        while have < n:
            steps = self.drawer.block((*key, turn), BLOCK)
            baseline = {v.name: v.decode(steps.columns[v.name][:, 0]) for v in self.variables if v.name in self.tilt.names}
            chance = np.random.Generator(np.random.SFC64(np.random.SeedSequence((*key, turn, 1)))).random(BLOCK)
            rows = np.flatnonzero(chance < self.tilt.chance(baseline))[: n - have]
            parts.append(Steps({k: c[rows] for k, c in steps.columns.items()}, steps.last[rows], steps.event[rows]))
            have, turn = have + len(rows), turn + 1
        columns = {k: np.concatenate([p.columns[k] for p in parts]) for k in parts[0].columns}
        return Steps(columns, np.concatenate([p.last for p in parts]), np.concatenate([p.event for p in parts]))


def draw_shard(generator: Any, item: Mapping[str, Any], tilt: Tilt | None = None) -> dict[str, np.ndarray]:
    """Return the columns of one shard, flat: patient after patient, visit after visit."""
    drawer = ExactCopula(generator) if isinstance(generator, Copula) else _Drawn(generator)
    if tilt is not None:
        drawer = _Accepted(drawer, tilt, generator.variables)
    n, visits = item["patients"], len(generator.times)
    names = {v.name: np.empty((n, visits), v.dtype) for v in generator.variables}
    happened = np.zeros((n, visits), np.int8)
    for b, first in enumerate(range(0, n, BLOCK)):
        size = min(BLOCK, n - first)
        steps = drawer.block((item["seed"], item["partition"], item["shard"], b), size)
        for name, found in steps.columns.items():
            names[name][first : first + size] = found
        at = np.arange(visits)
        happened[first : first + size] = np.where(at > steps.last[:, None], -128, at >= steps.event[:, None])
    patient = np.repeat(np.arange(item["first"], item["first"] + n, dtype=np.int64), visits)
    columns = {"patient": patient, "visit": np.tile(np.arange(visits, dtype=np.int8), n)}
    columns |= {name: found.reshape(-1) for name, found in names.items()}
    return columns | ({generator.event_name: happened.reshape(-1)} if generator.event_name else {})


def write_shard(item: Mapping[str, Any]) -> dict[str, Any]:
    """Draw one shard, write it, and return its note. A task for an executor: importable, with nothing but names and numbers coming in."""
    arrow, begun, used = _pyarrow(), time.perf_counter(), time.process_time()
    out = Path(item["out"])
    generator = from_bytes((out / _GENERATOR).read_bytes())
    tilt = Tilt.of(json.loads((out / _TARGET).read_text())) if item["tilt"] else None
    columns = draw_shard(generator, item, tilt)
    gaps = {v.name: v.gap for v in generator.variables} | ({generator.event_name: -128} if generator.event_name else {})
    arrays = {k: arrow.array(a, mask=(a == gaps[k]) if k in gaps else None) for k, a in columns.items()}
    told = {
        "format": FORMAT,
        "note": NOT_ANONYMOUS,
        "times": generator.times.tolist(),
        "unit": generator.unit,
        "variables": [asdict(v) for v in generator.variables],
    }
    table = arrow.table(arrays).replace_schema_metadata({"gemel": json.dumps(told)})
    path = out / _path(item)
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(beside: Path) -> None:
        arrow.parquet.write_table(
            table, beside, compression="zstd", compression_level=1, row_group_size=ROW_GROUP, use_dictionary=[k for k in arrays if k != "patient"],
            column_encoding={"patient": "DELTA_BINARY_PACKED"},
        )  # fmt: skip

    _renamed(path, write)
    note = {k: item[k] for k in ("order", "study", "arm", "shard", "first", "patients")}
    note |= {"path": _path(item), "rows": len(columns["patient"]), "sha256": _content(columns)}
    note["measured"] = {"bytes": path.stat().st_size, "cpu_s": time.process_time() - used, "wall_s": time.perf_counter() - begun}
    _renamed(_note(out, item), lambda beside: beside.write_text(json.dumps(note)))
    return note


def _kept(out: Path, item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the note of a shard that is there and belongs to this order."""
    try:
        note = json.loads(_note(out, item).read_text())
        whole = (out / _path(item)).stat().st_size == note["measured"]["bytes"]
    except (OSError, ValueError, KeyError):
        return None
    return note if whole and note.get("order") == item["order"] else None


def _check_folder(out: Path, generator: Any, order: Order, tilt: Tilt | None) -> None:
    try:
        told = json.loads((out / MANIFEST).read_text())
    except FileNotFoundError:
        told = None
        if out.is_dir() and any(out.iterdir()) and not (out / _GENERATOR).exists():
            raise DataError(
                "the folder holds something else", seen=str(out), expected="an empty folder, or a run to go on with", fix="name another"
            ) from None
    except ValueError as error:
        raise FormatError("the manifest cannot be read", seen=str(out / MANIFEST), fix="name another folder") from error
    same = {"generator": generator.hash, "seed": order.seed, "studies": list(order.studies), "shard": order.shard}
    same["tilt"] = tilt.hash if tilt else ""
    if told is not None and {k: told.get(k) for k in same} != same:
        raise DataError(
            "the folder holds another run",
            seen=str(out),
            expected="the same generator, seed, studies, shard and target population",
            fix="name another folder",
        )
    if told is not None and told["records"] > order.records:
        raise DataError(
            "the folder holds more records than are asked for",
            seen=told["records"],
            expected=f"at most {order.records}",
            fix="name another folder",
        )


def generate(
    generator: Any, out: Path, order: Order, *, executor: Executor, tilt: Tilt | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Write virtual patients as Parquet, partitioned by study and arm, and return the manifest that lies beside them.

    Parameters
    ----------
    generator : a calibrated generator.
    out : folder; a run of the same order that was cut short goes on there, and one with fewer records is extended.
    order : how many, from which seed.
    executor : who draws the shards: any gives the same content.
    tilt : towards a described population.

    Returns
    -------
    The manifest; ``missing`` counts shards that a clean stop left undone.

    Raises
    ------
    DataError
        When the folder holds another run, or something else.
    FormatError
        When pyarrow is not installed, or a manifest is damaged.
    """
    _pyarrow()
    _check_folder(out, generator, order, tilt)
    out.mkdir(parents=True, exist_ok=True)
    _renamed(out / _GENERATOR, lambda beside: beside.write_bytes(to_bytes(generator)))
    if tilt is not None:
        _renamed(out / _TARGET, lambda beside: beside.write_text(json.dumps(tilt.told())))
    base = {"out": str(out.resolve()), "tilt": tilt.hash if tilt else ""}
    items = [base | s | {"order": digest([FORMAT, generator.hash, base["tilt"], sorted(s.items())])} for s in order.shards()]
    notes = {item["order"]: _kept(out, item) for item in items}
    todo = [item for item in items if notes[item["order"]] is None]
    begun = time.perf_counter()
    for note in executor.run(write_shard, todo, progress=progress):
        notes[note["order"]] = note
    done = [n for item in items if (n := notes[item["order"]] or _kept(out, item)) is not None]
    shards = [{k: n[k] for k in ("path", "study", "arm", "first", "patients", "rows", "sha256")} for n in done]
    manifest = {
        "format": FORMAT, "note": NOT_ANONYMOUS, "generator": generator.hash, "kind": generator.kind, "calibrated_on": generator.n, "history": generator.history,
        "tilt": base["tilt"], "code_version": __version__, "seed": order.seed, "studies": list(order.studies), "shard": order.shard, "records": sum(int(n["patients"]) for n in done),
        "rows": sum(int(n["rows"]) for n in done), "missing": len(items) - len(done), "times": generator.times.tolist(), "unit": generator.unit,
        "variables": [asdict(v) for v in generator.variables], "sha256": digest([n["sha256"] for n in done]), "shards": shards,
    }  # fmt: skip
    measured = {
        "records": manifest["records"], "rows": manifest["rows"], "made_now": sum(int(i["patients"]) for i in todo), "wall_s": time.perf_counter() - begun,
        "cpu_s": sum(n["measured"]["cpu_s"] for n in done), "bytes": sum(n["measured"]["bytes"] for n in done), "executor": repr(executor),
        "variables": len(generator.variables), "visits": len(generator.times),
    }  # fmt: skip
    for name, told in ((MEASURED, measured), (MANIFEST, manifest)):
        _renamed(out / name, lambda beside, told=told: beside.write_text(json.dumps(told, indent=1) + "\n"))
    if not manifest["missing"]:
        for left in (*out.glob(".*"), *out.glob("study=*/arm=*/.*"), out / _GENERATOR, out / _TARGET):
            left.unlink(missing_ok=True)
    return manifest


def verify(out: Path) -> dict[str, Any]:
    """Read every shard again and compare its content with the manifest.

    Returns
    -------
    ``shards`` and ``records`` read.

    Raises
    ------
    FormatError
        When there is no manifest, or a shard is not what it says.
    """
    arrow = _pyarrow()
    try:
        told = json.loads((out / MANIFEST).read_text())
        shards = [(s["path"], s["sha256"]) for s in told["shards"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            "the manifest cannot be read", seen=str(out / MANIFEST), expected="a folder made by gemel trial generate"
        ) from error
    for path, expected in shards:
        try:
            table = arrow.parquet.read_table(out / path, partitioning=None)
        except (OSError, arrow.ArrowException) as error:
            raise FormatError("a shard cannot be read", seen=path, fix="delete it and run the command again") from error
        found = _content({name: _numbers(table[name]) for name in table.column_names})
        if found != expected:
            raise FormatError(
                "a shard was changed", seen=f"{path}: {found[:16]}", expected=expected[:16], fix="delete it and run the command again"
            )
    return {"shards": len(shards), "records": told["records"], "sha256": told["sha256"]}


def _numbers(column: Any) -> np.ndarray:
    """Return a column as it was drawn: the gap where it is null."""
    dtype = np.dtype(column.type.to_pandas_dtype())
    return column.combine_chunks().fill_null(int(np.iinfo(dtype).min)).to_numpy(zero_copy_only=False).astype(dtype)
