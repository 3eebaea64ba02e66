"""An outside study enters the dossier: mesh refinement, bench comparison and validation tables of any program, as CSV.

Each file says by lines ``# name = value`` at its top what its columns cannot; a header names a quantity and its unit as ``peak_stress [MPa]``.

References
----------
ASME V&V 20-2009 (error against validation uncertainty; from memory).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError, FormatError
from gemel.evidence.bootstrap import clustered_interval
from gemel.evidence.diagnostic import Estimate, bland_altman
from gemel.evidence.fingerprint import code_hash
from gemel.evidence.run import EvidenceRun, Measured
from gemel.evidence.verification.convergence import grid_convergence
from gemel.evidence.verification.external_table import Column, ExternalTable, read_table

__all__ = ["KINDS", "read_external"]

COVER = 2.0
"""Validation uncertainty is twice its standard deviation."""
FEWEST = 20
"""Fewer rows than these are not shown together."""


def _mesh(table: ExternalTable, replicates: int) -> dict[str, Any]:
    del replicates
    table.needs_one_of("size", "elements")
    if len(table) < 3:
        raise EvidenceError(f"{table.name} has {len(table)} grid(s)", expected="at least three", fix="an order needs three grids: add rows")
    expected, limit, settings = table.number("order", positive=True), table.number("gci_limit", positive=True), {}
    if "size" in table:
        h = table.numbers("size", positive=True)
    else:
        dimension = table.numbers("dimension", positive=True) if "dimension" in table else table.number("dimension", positive=True)
        if dimension is None:
            raise FormatError(
                f"{table.name} counts elements and does not say in how many dimensions",
                expected="'# dimension = 3' above the header, or a column",
            )
        h = table.numbers("elements", positive=True) ** (-1.0 / np.asarray(dimension))
        settings["grid size"] = "elements^(-1/dimension)"
    order = np.argsort(h)
    for a, b in pairwise(order):
        if abs(np.log(h[b] / h[a])) < 1e-6:
            raise EvidenceError(
                f"{table.name} has two grids of one size", seen=f"lines {table.lines[a]} and {table.lines[b]}", fix="keep one of them"
            )
    quantities = [c for c in table.columns if c.name not in ("size", "elements", "dimension")]
    if not quantities:
        raise FormatError(
            f"{table.name} has no quantity of interest", seen=[c.header for c in table.columns], expected="'peak_stress [MPa]'"
        )
    on = ShownOn(kind="proof", n=len(h), what="grids")
    figures: list[Measured] = []
    columns: dict[str, list[Any]] = {"size": h.tolist()}
    for column in quantities:
        values = table.numbers(column.name)
        found = grid_convergence(h, values, expected=expected)
        figures += found.figures(column.name, table.unit_of(column), on, limit=limit)
        columns[f"{column.name} [{column.unit}]"] = values.tolist()
    return {
        "kind": "calculation", "category": "calculation verification and UQ", "factors": (3,), "figures": tuple(figures), "tables": {"grids": columns},
        "claim": "how far the grid decides the quantities of interest", "settings": settings | {"order": expected, "gci_limit": limit},
    }  # fmt: skip


def _limits(error: np.ndarray, group: np.ndarray, replicates: int) -> list[tuple[str, Estimate]]:
    """Return the limits of agreement with their intervals; none with fewer than three people (or specimens)."""
    if len(set(group.tolist())) < 3:
        return []
    found = bland_altman(error, np.zeros_like(error), patient=group, replicates=replicates)
    return [("lower", found.lower), ("upper", found.upper)]


def _weighted(values: np.ndarray, group: np.ndarray) -> tuple[Callable[[np.ndarray], float], int]:
    """Return the mean over rows as a statistic of how often each person was drawn, and the number of people."""
    _, index = np.unique(group, return_inverse=True)
    totals, counts = np.bincount(index, values), np.bincount(index)
    return lambda w: float((w @ totals) / (w @ counts)), len(counts)


def _interval(values: np.ndarray, group: np.ndarray, replicates: int) -> dict[str, Any]:
    statistic, people = _weighted(values, group)
    low, high = clustered_interval(statistic, people, replicates=replicates)
    if not np.isfinite(low):
        return {"note": "one alone: no interval"}
    return {"low": low, "high": high, "note": f"95 % interval, {people} resampled as wholes"}


def _bench(table: ExternalTable, replicates: int) -> dict[str, Any]:
    table.needs("quantity", "unit", "model", "model_sd", "bench", "bench_sd", "specimen")
    numbers = {c: table.numbers(c) for c in ("model", "bench")}
    sd = {c: table.numbers(c, negative=False) for c in ("model_sd", "bench_sd")}
    numerical = table.numbers("numerical_sd", negative=False) if "numerical_sd" in table else np.zeros(len(table))
    tolerance = table.numbers("tolerance", positive=True) if "tolerance" in table else None
    unit, quantity, specimen = (np.array(table.words(c)) for c in ("unit", "quantity", "specimen"))
    table.check_units("unit")
    error = numbers["model"] - numbers["bench"]
    uncertainty = COVER * np.sqrt(sd["model_sd"] ** 2 + sd["bench_sd"] ** 2 + numerical**2)
    if (uncertainty == 0).any():
        line = table.lines[int(np.flatnonzero(uncertainty == 0)[0])]
        raise EvidenceError(
            f"{table.name}, line {line}: neither model nor bench has an uncertainty", expected="a standard deviation above 0"
        )
    ratio = np.abs(error) / uncertainty
    figures: list[Measured] = []
    for q in dict.fromkeys(quantity.tolist()):
        rows = quantity == q
        units = sorted(set(unit[rows].tolist()))
        if len(units) > 1:
            raise EvidenceError(f"{table.name} gives {q!r} in two units", seen=units, fix="convert the rows to one unit")
        e, who, u = error[rows], specimen[rows], units[0]
        on = ShownOn(kind="phantom", n=len(set(who.tolist())), what="specimens")
        figures.append(
            Measured(name=f"{q}: mean error, model less bench", value=float(e.mean()), unit=u, shown_on=on, **_interval(e, who, replicates))
        )
        allowed = None if tolerance is None else float(tolerance[rows].min())
        asked = "" if allowed is None else f"; within {allowed:g} was asked"
        for name, limit in _limits(e, who, replicates):
            met, note = None if allowed is None else abs(limit.value) <= allowed, f"95 % interval{asked}"
            named = f"{q}: {name} limit of agreement"
            figures.append(Measured(name=named, value=limit.value, unit=u, low=limit.low, high=limit.high, met=met, shown_on=on, note=note))
        figures.append(
            Measured(name=f"{q}: largest |error| / U", value=float(ratio[rows].max()), high=1.0, shown_on=on, note="above 1 the model errs by more than its validation uncertainty (twice u_val) explains; below 1 the error cannot be told from it")
        )  # fmt: skip
        figures.append(Measured(name=f"{q}: share of rows with |error| <= U", value=float((ratio[rows] <= 1).mean()), shown_on=on))
        if tolerance is not None:
            share = float((np.abs(e) <= tolerance[rows]).mean())
            figures.append(Measured(name=f"{q}: share of rows within tolerance", value=share, low=1.0, met=share == 1.0, shown_on=on))
    rows = {
        "quantity": quantity.tolist(),
        "specimen": specimen.tolist(),
        "model": numbers["model"].tolist(),
        "bench": numbers["bench"].tolist(),
    }
    rows |= {"error": error.tolist(), "U": uncertainty.tolist(), "error / U": ratio.tolist()}
    return {
        "kind": "validation", "category": "bench validation", "factors": (8, 11), "figures": tuple(figures), "tables": {"comparison": rows},
        "claim": "how far the model's answers lie from those of the bench", "settings": {"coverage factor": COVER},
    }  # fmt: skip


def _binned(predicted: np.ndarray, error: np.ndarray, inside: np.ndarray) -> dict[str, list[Any]]:
    """Return errors by predicted value, at least twenty rows together: a run holds nobody's readings."""
    parts = np.array_split(np.argsort(predicted, kind="stable"), max(1, min(10, len(predicted) // FEWEST)))
    parts = [p for p in parts if len(p) >= FEWEST]
    return {
        "predicted, mean": [float(predicted[p].mean()) for p in parts], "rows": [len(p) for p in parts], "error, mean": [float(error[p].mean()) for p in parts],
        "|error|, mean": [float(np.abs(error[p]).mean()) for p in parts], "inside": [float(inside[p].mean()) for p in parts],
    }  # fmt: skip


_VALIDATION = {"real": "in-vivo validation", "replayed": "in-vivo validation", "simulated": "plausibility", "phantom": "bench validation"}


def _validation(table: ExternalTable, replicates: int) -> dict[str, Any]:
    table.needs("person", "predicted", "observed", "lower", "upper")
    people, unit, level = table.told("people"), table.told("unit"), table.number("level", positive=True)
    if people not in _VALIDATION:
        raise FormatError(
            f"{table.name} does not say on whom it was shown",
            seen=people,
            expected=f"'# people = ' {', '.join(_VALIDATION)}, above the header",
        )
    if level is None or level >= 1:
        raise FormatError(
            f"{table.name} does not say what its intervals promise", seen=level, expected="'# level = 0.95', above the header"
        )
    unit = table.unit_of(Column("unit", unit or "", "# unit"))
    predicted, observed, lower, upper = (table.numbers(c) for c in ("predicted", "observed", "lower", "upper"))
    crossed = np.flatnonzero(lower > upper)
    if len(crossed):
        i = int(crossed[0])
        raise EvidenceError(
            f"{table.name}, line {table.lines[i]}: an interval that ends before it begins", seen=f"{lower[i]:g} to {upper[i]:g}"
        )
    person, error = np.array(table.words("person")), predicted - observed
    n = len(set(person.tolist()))
    on = ShownOn(kind=people, n=n, what="people" if people in ("real", "replayed", "simulated") else "specimens")
    inside = ((lower <= observed) & (observed <= upper)).astype(float)
    limit = table.number("mae_limit", positive=True)
    mae = float(np.abs(error).mean())
    met = None if limit is None else mae <= limit
    held = "" if limit is None else f"; at most {limit:g} {unit} was asked"
    spread = _interval(np.abs(error), person, replicates)
    figures = [
        Measured(name="mean absolute error", value=mae, unit=unit, met=met, shown_on=on, **(spread | {"note": spread["note"] + held})),
        Measured(
            name="bias, predicted less observed", value=float(error.mean()), unit=unit, shown_on=on, **_interval(error, person, replicates)
        ),
    ]
    for name, found in _limits(error, person, replicates):
        named, note = f"{name} limit of agreement", "95 % interval"
        figures.append(Measured(name=named, value=found.value, unit=unit, low=found.low, high=found.high, shown_on=on, note=note))
    cover = _interval(inside, person, replicates)
    kept = cover["low"] <= level <= cover["high"] if "low" in cover else None
    note = f"promised {level:g}; {cover['note']}"
    figures.append(
        Measured(name=f"coverage of {level:g} intervals", value=float(inside.mean()), met=kept, shown_on=on, **(cover | {"note": note}))
    )
    width = float((upper - lower).mean())
    figures.append(Measured(name=f"mean width of {level:g} intervals", value=width, unit=unit, shown_on=on))
    return {
        "kind": "validation", "category": _VALIDATION[people], "factors": (8, 11), "figures": tuple(figures), "tables": {"by predicted value": _binned(predicted, error, inside)},
        "claim": "how far predictions lie from what was observed, and whether their intervals hold", "settings": {"level": level, "mae_limit": limit},
    }  # fmt: skip


KINDS: dict[str, Callable[[ExternalTable, int], dict[str, Any]]] = {"mesh": _mesh, "bench": _bench, "validation": _validation}
"""What can be read: *mesh* refinement, *bench* comparison, *validation* table."""


def read_external(
    path: Path, kind: str, twin: str, *, model_version: str, model_hash: str, time: int, command: str = "", machine: str = "", replicates: int = 2000,
) -> EvidenceRun:  # fmt: skip
    """Read an outside study's table and judge it.

    Parameters
    ----------
    path : CSV in UTF-8. Lines ``# name = value`` may stand above the header; ``# study = ...`` and ``# source = ...`` go into the run.

        *mesh*: ``size`` (with unit, ``size [mm]``) or ``elements`` (with ``# dimension = 3``), and one column per quantity, ``peak_stress [MPa]``;
        ``# order`` (theoretical) and ``# gci_limit`` (largest share) judge it.
        *bench*: ``quantity, unit, model, model_sd, bench, bench_sd, specimen``, and if wanted ``tolerance`` and ``numerical_sd``, in the row's unit.
        *validation*: ``person, predicted, observed, lower, upper`` with ``# unit``, ``# people`` (real, replayed, simulated, phantom), ``# level``, and if
        wanted ``# mae_limit``. The run holds neither persons nor their readings.
    kind : one of :data:`KINDS`.
    twin, model_version, model_hash : what the study is about.
    time : ns UTC, when it was read.
    command : what prints these figures again.
    replicates : of the bootstrap over specimens or people.

    Returns
    -------
    The run; its ``data_hash`` is that of the file's bytes.

    Raises
    ------
    FormatError
        When the file cannot be read, a column or setting is missing, or a cell is not a number: with line and column.
    UnitError
        When a unit is missing or unknown.
    ValueRangeError
        When a standard deviation is negative, or a size not positive.
    EvidenceError
        When the rows cannot carry the study: not three grids, grids twice, two units for one quantity.
    """
    if kind not in KINDS:
        raise EvidenceError("no such kind of outside study", seen=kind, expected=", ".join(KINDS))
    table = read_table(Path(path))
    told = KINDS[kind](table, replicates)
    study = {"mesh": "mesh refinement", "bench": "bench comparison", "validation": "validation table"}[kind]
    source = table.told("source")
    return EvidenceRun(
        **told | {"settings": {"file": table.name, "columns": [c.header for c in table.columns]} | told["settings"]},
        twin=twin, study=f"{study}, {table.told('study') or Path(path).stem}", model_version=model_version, model_hash=model_hash,
        code_hash=code_hash("gemel.evidence.verification.external"), data_hash=hashlib.sha256(Path(path).read_bytes()).hexdigest(), command=command, machine=machine,
        time=time, note="an outside program's study, as its table tells it" + (f": {source}" if source else ""),
    )  # fmt: skip
