"""Studies: what is measured about a twin, declared once and run when asked; a study whose run still speaks of the twin is not run again."""

from __future__ import annotations

import time as _time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.errors import EvidenceError, GemelError
from gemel.core.protocols import Progress
from gemel.evidence.fingerprint import code_hash, model_hash
from gemel.evidence.life import LifeEvent
from gemel.evidence.run import EvidenceRun, Measured, latest

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from gemel.core.record import PatientRecord
    from gemel.engine.model import AbstractModel
    from gemel.engine.room import Room

__all__ = ["Context", "Done", "Found", "People", "Problem", "Study", "known_answers", "run_studies"]


@dataclass(frozen=True)
class People:
    """Records of people that a study was given, and the hash of what they were read from."""

    records: tuple[PatientRecord, ...]
    hash: str
    kind: str = "replayed"
    name: str = ""


@dataclass(frozen=True)
class Problem:
    """A verification problem with a known answer.

    Parameters
    ----------
    name, statement : what it is called and what is computed.
    answer, tolerance : the known answer, and how far from it the result may lie, in ``unit``.
    compute : returns the result.
    factors : credibility factors that it speaks to: 2 known answers, 3 discretisation, 4 solver.
    source : where the answer comes from.
    """

    name: str
    statement: str
    answer: float
    tolerance: float
    compute: Callable[[], float]
    unit: str = "1"
    factors: tuple[int, ...] = (2,)
    source: str = "analytic"

    def passed(self) -> bool:
        """Compute, and compare."""
        return bool(abs(self.compute() - self.answer) <= self.tolerance)


@dataclass(frozen=True)
class Found:
    """What a study found."""

    figures: tuple[Measured, ...]
    tables: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    life: tuple[LifeEvent, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Context:
    """What a study is given.

    Parameters
    ----------
    room : of the twin.
    quick : fewer people and replicas.
    seed : of everything that is drawn.
    people : name of a data set -> its people; raises ``DatasetError`` where it cannot be had.
    shared : what one study leaves for those after it in the same call, by name.
    """

    room: Room
    quick: bool
    seed: int
    people: Callable[[str], People]
    progress: Progress | None = None
    shared: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def model(self) -> AbstractModel:
        """The room's model."""
        return self.room.model()

    def key(self, name: str) -> PRNGKeyArray:
        """Return the key of this name."""
        import jax

        from gemel.engine.keys import stream

        return stream(jax.random.key(self.seed), name)

    def declared(self, name: str) -> tuple[Any, ...]:
        """Return what the room's evidence module declares under a name: a tuple, or a mapping from twin to tuple."""
        given = getattr(self.room.load("evidence"), name, ())
        return tuple(given.get(self.room.id, ()) if isinstance(given, Mapping) else given)


@dataclass(frozen=True)
class Study:
    """One thing that is measured about a twin.

    Parameters
    ----------
    id, kind, claim : as in :class:`~gemel.evidence.run.EvidenceRun`.
    run : does it.
    factors, category : which credibility factors and which kind of evidence it is.
    data : names of the data sets that it needs.
    always : run it each time: it is cheap, and rests on files that no hash covers.
    """

    id: str
    kind: str
    claim: str
    run: Callable[[Context], Found]
    factors: tuple[int, ...] = ()
    category: str = ""
    data: tuple[str, ...] = ()
    always: bool = False

    @property
    def code_hash(self) -> str:
        """Hash of the code that measures."""
        return code_hash(self.run.__module__)


@dataclass(frozen=True)
class Done:
    """What became of a study: its run, whether that run was there before, or why there is none."""

    study: Study
    run: EvidenceRun | None
    was_fresh: bool = False
    reason: str = ""


def known_answers(problems: Sequence[Problem]) -> Found:
    """Compute verification problems and compare each with its answer."""
    figures, tables = [], {"problem": [], "statement": [], "result": [], "answer": [], "tolerance": [], "unit": [], "source": []}
    for p in problems:
        result = float(p.compute())
        met = bool(abs(result - p.answer) <= p.tolerance)
        figures.append(
            Measured(
                name=p.name, value=result, unit=p.unit, low=p.answer - p.tolerance, high=p.answer + p.tolerance, met=met,
                shown_on=ShownOn(kind="proof", n=1, what=p.source), note=p.statement,
            )
        )  # fmt: skip
        for column, value in zip(tables, (p.name, p.statement, result, p.answer, p.tolerance, p.unit, p.source), strict=True):
            tables[column].append(value)
    return Found(tuple(figures), {"problems": tables})


def _usable(run: EvidenceRun | None, study: Study, model: str, data: str, settings: Mapping[str, Any]) -> bool:
    return (
        run is not None
        and not run.stale(model, code_hash=study.code_hash, data_hash=data)
        and all(run.settings.get(k) == v for k, v in settings.items())
    )


def run_studies(
    room: Room, studies: Sequence[Study], *, runs: Iterable[EvidenceRun], save: Callable[[EvidenceRun], object], now: Callable[[], int],
    people: Callable[[str], People], quick: bool = False, seed: int = 0, force: bool = False, machine: str = "", command: str = "",
    progress: Progress | None = None, told: Callable[[Done], object] | None = None, clock: Callable[[], float] = _time.process_time,
) -> tuple[Done, ...]:  # fmt: skip
    """Run studies of a twin, each saved as soon as it ends; what is still true is not measured again.

    Parameters
    ----------
    room : the twin's.
    studies : what to measure, in this order.
    runs : what was measured before.
    save : keeps one run.
    now : ns UTC.
    people : name of a data set -> its people.
    quick, seed : of every study; a quick run does not stand for a whole one.
    force : measure again even so.
    machine, command : written into every run.
    told : called with each study as it ends.

    Returns
    -------
    One :class:`Done` for each study, with the reason where it could not be run. An interrupted call loses only the study it was at.

    Raises
    ------
    EvidenceError
        When one data set would serve both as calibration and as validation.
    """
    model, before, shared = model_hash(room.id), list(runs), {}
    used: dict[str, str] = {}
    out: list[Done] = []

    def tell(done: Done) -> None:
        out.append(done)
        if told is not None:
            told(done)

    for study in studies:
        settings = {"quick": quick, "seed": seed}
        try:
            given = {name: people(name) for name in study.data}
        except GemelError as error:
            tell(Done(study, None, reason=f"{error.what}" + (f"; {error.fix}" if error.fix else "")))
            continue
        data = "+".join(sorted(p.hash for p in given.values()))
        if data:
            other = used.setdefault(data, study.category)
            if {other, study.category} == {"model calibration", "in-vivo validation"}:
                raise EvidenceError(
                    "the same data would serve as calibration and as validation", seen=", ".join(study.data), expected="two data sets",
                    fix="validate on people that were not used to build the twin",
                )  # fmt: skip
        old = latest(before, twin=room.id, study=study.id)
        fresh = not force and _usable(old, study, model, data, settings)
        if fresh and not study.always:
            tell(Done(study, old, was_fresh=True))
            continue
        begin = clock()
        try:
            found = study.run(Context(room, quick, seed, given.__getitem__, progress, shared))
        except GemelError as error:
            tell(Done(study, None, reason=str(error)))
            continue
        if fresh and old is not None and found.figures == old.figures:  # looked at again, and as it was
            tell(Done(study, old, was_fresh=True))
            continue
        run = EvidenceRun(
            kind=study.kind, twin=room.id, study=study.id, claim=study.claim, model_version=room.manifest.version, model_hash=model,
            code_hash=study.code_hash, data_hash=data, command=command, category=study.category, factors=study.factors,
            settings=settings | {"module": study.run.__module__, "data": list(study.data)} | dict(found.settings), seed=seed, machine=machine, seconds=round(clock() - begin, 2), time=now(), figures=found.figures,
            tables={name: {c: [_plain(v) for v in column] for c, column in table.items()} for name, table in found.tables.items()}, life=found.life,
            note=found.note,
        )  # fmt: skip
        save(run)
        tell(Done(study, run))
    return tuple(out)


def _plain(value: Any) -> Any:
    """Return a number or word that JSON can carry: what is not finite becomes nothing."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
