"""The gate between two versions of a model: it opens only when a predetermined plan foresaw the change and its protocol was run and met."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gemel.core.errors import EvidenceError, FormatError
from gemel.core.view import Table, Text, View
from gemel.evidence.change.plan import ChangePlan, Criterion, Modification
from gemel.evidence.change.snapshot import Change, Snapshot, changes_between
from gemel.evidence.run import EvidenceRun, Measured

__all__ = ["Gate", "GateRow", "figure_name", "gate_change", "gate_view", "read_gate"]

_BUMPS = ("none", "patch", "minor", "major")


@dataclass(frozen=True)
class GateRow:
    """One thing that must hold: its id, what it asks, whether it holds, and what was seen."""

    id: str
    asks: str
    status: Literal["passed", "failed"]
    seen: str


@dataclass(frozen=True)
class Gate:
    """What the gate found. It blocks unless every row passed; that it passed does not relieve anybody of judgement."""

    old: str
    new: str
    rows: tuple[GateRow, ...]
    changes: tuple[Change, ...]
    criteria: str
    rollback: str

    @property
    def passed(self) -> bool:
        """Whether every row passed."""
        return all(row.status == "passed" for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "old": self.old, "new": self.new, "passed": self.passed, "criteria_hash": self.criteria, "rollback": self.rollback,
            "rows": [vars(r) for r in self.rows], "changes": [vars(c) for c in self.changes],
        }  # fmt: skip


def figure_name(figure: str, subgroup: str = "") -> str:
    """Return how a figure of a subgroup is called in a run: ``coverage | female``."""
    return f"{figure} | {subgroup}" if subgroup else figure


def _row(id_: str, asks: str, good: bool, seen: str) -> GateRow:
    return GateRow(id_, asks, "passed" if good else "failed", seen)


def _bump(old: str, new: str) -> str | None:
    """Return the step from one version to the next; None when it goes back or cannot be told."""
    parts = [[int(x) for x in re.findall(r"\d+", v)[:3]] for v in (old, new)]
    if not all(parts):
        return "none" if old == new else None
    a, b = (p + [0] * (3 - len(p)) for p in parts)
    if a == b:
        return "none" if old == new else None
    if b < a:
        return None
    return "major" if b[0] != a[0] else "minor" if b[1] != a[1] else "patch"


def _fits(change: Change, m: Modification) -> bool:
    return change.type == m.type and (not m.names or change.where in m.names)


def _within(change: Change, m: Modification) -> bool:
    return m.relative is None or (change.size is not None and change.size <= m.relative + 1e-12)


def _about_changes(old: Snapshot, new: Snapshot, plan: ChangePlan, changes: Sequence[Change]) -> list[GateRow]:
    intended = [c for c in changes if c.type == "intended use"]
    rest = [c for c in changes if c.type != "intended use"]
    unlisted = [c for c in rest if not any(_fits(c, m) for m in plan.modification)]
    listed = [c for c in rest if c not in unlisted]
    outside = [c for c in listed if not any(_fits(c, m) and _within(c, m) for m in plan.modification)]
    step = _bump(old.manifest.version, new.manifest.version)
    used = [m for m in plan.modification if any(_fits(c, m) for c in listed)]
    most = max((_BUMPS.index(m.bump) for m in used), default=0)
    if not changes:
        bumped, seen = step == "none", f"{old.manifest.version} to {new.manifest.version}; nothing else differs"
    else:
        bumped = step is not None and 1 <= _BUMPS.index(step) <= max(most, 1)
        seen = f"{old.manifest.version} to {new.manifest.version}: {step or 'backwards or unreadable'}; at most {_BUMPS[max(most, 1)]} was foreseen"

    def words(some: Sequence[Change]) -> str:
        return (
            "; ".join(f"{c.type} {c.where}: {c.old} to {c.new}" + (f" ({c.size:.3g})" if c.size is not None else "") for c in some[:5])
            or "none"
        )

    return [
        _row("plan", "the plan is about this twin and goes back to the old version", plan.twin == new.manifest.id and plan.rollback == old.manifest.version,
             f"plan of {plan.twin}, back to {plan.rollback}; {old.name}"),
        _row("intended use", "question, context of use and what it is not for are unchanged", not intended, words(intended)),
        _row("listed", "every change is of a type that the plan lists", not unlisted, f"not listed: {words(unlisted)}" if unlisted else f"{len(rest)} changes"),
        _row("bounds", "every change is inside its bounds", not outside, f"outside: {words(outside)}" if outside else f"{len(listed)} changes"),
        _row("version", "the version went up, by no more than was foreseen", bumped, seen),
    ]  # fmt: skip


def _find_run(runs: Iterable[EvidenceRun], new: Snapshot, study: str) -> EvidenceRun | None:
    found = [
        r for r in runs
        if r.twin == new.manifest.id and r.study == study and r.model_version == new.manifest.version and new.model_hash in ("", r.model_hash)
    ]  # fmt: skip
    return max(found, key=lambda r: r.time) if found else None


def _judge(criterion: Criterion, subgroup: str, figures: dict[str, Measured]) -> GateRow:
    name = figure_name(criterion.figure, subgroup)
    limits = f"{'' if criterion.low is None else f'at least {criterion.low:g}'}{' and ' if None not in (criterion.low, criterion.high) else ''}{'' if criterion.high is None else f'at most {criterion.high:g}'}"
    asks, found = f"{name}: {limits}, from {criterion.smallest} cases or more", figures.get(name)
    if found is None:
        return _row(f"criterion: {name}", asks, False, "not measured")
    inside = (criterion.low is None or found.value >= criterion.low) and (criterion.high is None or found.value <= criterion.high)
    enough = found.shown_on.n >= criterion.smallest
    return _row(f"criterion: {name}", asks, inside and enough, f"{found.value:.6g} ({found.shown_on})")


def _about_protocol(new: Snapshot, plan: ChangePlan, runs: Sequence[EvidenceRun]) -> list[GateRow]:
    run = _find_run(runs, new, plan.protocol.study)
    asks = f"a run {plan.protocol.study!r} of {new.name} exists"
    if run is None:
        return [_row("run", asks, False, f"none among {len(runs)} runs; its criteria would be hashed as {plan.criteria_hash}")]
    told = run.settings.get("criteria", "")
    rows = [
        _row("run", asks, True, f"run {run.id}"),
        _row("criteria", "the criteria are those that were hashed before the run", told == plan.criteria_hash,
             f"run carries {told or 'none'}; plan has {plan.criteria_hash}" + ("" if told == plan.criteria_hash else ": the run is void")),
    ]  # fmt: skip
    figures = {f.name: f for f in run.figures}
    for criterion in plan.protocol.criterion:
        rows += [_judge(criterion, group, figures) for group in ("", *(plan.protocol.subgroups if criterion.per_subgroup else ()))]
    return rows


def _about_rollback(old: Snapshot, new: Snapshot, runs: Sequence[EvidenceRun]) -> GateRow:
    found = [
        r for r in runs
        if r.kind == "rollback" and r.twin == new.manifest.id and r.settings.get("from") == new.manifest.version and r.settings.get("to") == old.manifest.version
    ]  # fmt: skip
    asks = f"going back from {new.manifest.version} to {old.manifest.version} was tested"
    if not found:
        return _row("roll-back", asks, False, "no run of kind rollback between these versions")
    newest = max(found, key=lambda r: r.time)
    judged = newest.met and any(f.met for f in newest.figures)
    return _row("roll-back", asks, judged, f"run {newest.id}: {'met' if judged else 'NOT met'}")


def gate_change(old: Snapshot, new: Snapshot, plan: ChangePlan, runs: Iterable[EvidenceRun]) -> Gate:
    """Say whether a new version may replace the old one under the plan, row by row.

    Parameters
    ----------
    old, new : two versions of one twin.
    plan : what was foreseen.
    runs : evidence, the protocol's run and that of the roll-back among it.

    Raises
    ------
    EvidenceError
        When the two are the same version with the same content: there is nothing to judge.
    """
    changes, kept = changes_between(old, new), tuple(runs)
    if not changes and old.manifest.version == new.manifest.version:
        raise EvidenceError("nothing changed between the two versions", seen=f"{old.name}, {new.name}", expected="two versions")
    rows = (*_about_changes(old, new, plan, changes), *_about_protocol(new, plan, kept), _about_rollback(old, new, kept))
    return Gate(old.name, new.name, rows, changes, plan.criteria_hash, plan.rollback)


def gate_view(gate: Gate, plan: ChangePlan) -> View:
    """Return the page of a gate: verdict, rows, changes, and the parts of the plan that only people can judge."""
    failed = [r.id for r in gate.rows if r.status == "failed"]
    verdict = (
        f"Blocked by {len(failed)} of {len(gate.rows)} rows: {'; '.join(failed)}."
        if failed
        else f"All {len(gate.rows)} rows passed. A person signs."
    )
    parts = {"data": plan.protocol.data, "practice": plan.protocol.practice, "update": plan.protocol.update, "benefit": plan.impact.benefit, "risk": plan.impact.risk, "mitigation": plan.impact.mitigation}  # fmt: skip
    sections: list[Any] = [
        Text(title="Verdict", body=verdict, tone="warning" if failed else "plain"),
        Table.of(("row", None, [r.id for r in gate.rows]), ("asks", None, [r.asks for r in gate.rows]), ("status", None, [r.status for r in gate.rows]), ("seen", None, [r.seen for r in gate.rows]), title="Gate"),
    ]  # fmt: skip
    if gate.changes:
        c = gate.changes
        sections.append(Table.of(("type", None, [x.type for x in c]), ("where", None, [x.where for x in c]), ("from", None, [x.old for x in c]), ("to", None, [x.new for x in c]), ("size", None, ["-" if x.size is None else f"{x.size:.3g}" for x in c]), title="What differs"))  # fmt: skip
    sections.append(Table.of(("part of the plan", None, list(parts)), ("says", None, list(parts.values())), ("status", None, ["human judgement needed"] * len(parts)), title="For a person to judge"))  # fmt: skip
    return View(
        id=f"change-{gate.criteria}",
        title=f"Change of {gate.old} to {gate.new}",
        subtitle=f"criteria {gate.criteria}; back to {gate.rollback}",
        sections=tuple(sections),
    )


def read_gate(path: Path) -> Gate:
    """Read a gate from the JSON of :meth:`Gate.to_dict`.

    Raises
    ------
    FormatError
        When it is none.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        rows, changes = tuple(GateRow(**r) for r in told["rows"]), tuple(Change(**c) for c in told["changes"])
        gate = Gate(told["old"], told["new"], rows, changes, told["criteria_hash"], told["rollback"])
    except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path.name} is no verdict on a change", seen=type(error).__name__, expected="change.json of gemel change -o"
        ) from error
    if gate.passed is not told.get("passed"):
        raise FormatError(f"{path.name} was edited", seen=f"passed: {told.get('passed')}", expected=f"{gate.passed}, from its rows")
    return gate
