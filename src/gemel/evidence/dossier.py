"""The dossier of one twin: what was shown, by which run, on whom, and what was not. Made from stored runs and the manifest; loads no JAX.

Whether a run still speaks of the twin is asked anew each time a dossier is made or read: a stored page may be old, and says of what it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gemel import __version__
from gemel.core.errors import GemelError
from gemel.core.lineage import digest
from gemel.core.manifest import TwinManifest
from gemel.evidence.credibility import Graded, Judgement, goal_of, grade, risk_of
from gemel.evidence.fingerprint import code_hash, model_hash
from gemel.evidence.nasem import Conformance, check_nasem
from gemel.evidence.run import CATEGORIES, EvidenceRun, standing

__all__ = ["Dossier", "dossier", "staleness"]

WORST_RISK = 5
"""Where nobody has judged the risk, the highest is assumed."""


@dataclass(frozen=True)
class Dossier:
    """Everything that is known of how far to trust a twin.

    Parameters
    ----------
    manifest : of the twin.
    model_hash : of the twin as it is installed now.
    time : ns UTC, when it was made.
    runs : the run of each study that counts (:func:`gemel.evidence.run.standing`).
    stale : run id -> what has changed since.
    missing : study -> why there is no run.
    factors, conformance : as graded and checked.
    risk, goal : 1 to 5, and the least gradation asked for; ``is_judged`` says whether a person judged the risk.
    """

    manifest: TwinManifest
    model_hash: str
    time: int
    runs: tuple[EvidenceRun, ...]
    stale: Mapping[str, tuple[str, ...]]
    missing: Mapping[str, str]
    factors: tuple[Graded, ...]
    conformance: Conformance
    risk: int
    is_judged: bool
    judgements: tuple[Judgement, ...] = ()
    code_version: str = field(default=__version__)

    @property
    def goal(self) -> int:
        """Least gradation that the risk asks for."""
        return goal_of(self.risk)

    @property
    def is_stale(self) -> bool:
        """Whether a run that it rests on no longer speaks of the twin."""
        return any(self.stale.values())

    @property
    def sentence(self) -> str:
        """What stands in one line beside everything that the twin says."""
        reached = sum(g.is_adequate for g in self.factors)
        waiting = sum(g.status == "human judgement needed" for g in self.factors)
        unmet = sum(not r.met for r in self.runs)
        old = [r.study or r.kind for r in self.runs if self.stale.get(r.id)]
        text = (
            f"{self.conformance.label}; {reached} of {len(self.factors)} credibility factors reach their goal, {waiting} wait for a person"
        )
        if unmet:
            text += f"; {unmet} of {len(self.runs)} studies miss a limit"
        return text + (f"; STALE: {', '.join(old)}" if old else "")

    def of_category(self, category: str) -> tuple[EvidenceRun, ...]:
        """Return the runs of one kind of evidence."""
        return tuple(r for r in self.runs if r.category == category)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; ``hash`` is of all the others."""
        m = self.manifest
        told = {
            "twin": m.id, "version": m.version, "title": m.title, "question": m.question, "context_of_use": m.context_of_use, "not_for": list(m.not_for),
            "thin": m.thin, "sources": list(m.sources), "model_hash": self.model_hash, "code_version": self.code_version, "time": self.time,
            "sentence": self.sentence, "stale": {k: list(v) for k, v in self.stale.items() if v}, "missing": dict(self.missing),
            "risk": {"risk": self.risk, "goal": self.goal, "judged": self.is_judged, "matrix": "ours"}
            | ({} if m.risk is None else m.risk.model_dump()),
            "conformance": self.conformance.to_dict(), "factors": [g.to_dict() for g in self.factors],
            "judgements": [j.__dict__ for j in self.judgements],
            "categories": {c: [r.id for r in self.of_category(c)] for c in CATEGORIES},
            "runs": [{"id": r.id} | r.model_dump(mode="json") for r in self.runs],
        }  # fmt: skip
        return told | {"hash": digest(told)}


def staleness(run: EvidenceRun, model: str, data_hash: Callable[[Sequence[str]], str] | None = None) -> tuple[str, ...]:
    """Say what has changed since a run: *model*, *code* that measured, *data*.

    Parameters
    ----------
    model : hash of the twin as it is now.
    data_hash : names of data sets -> the hash they have now; raises where they cannot be had, and then nothing is said about them.
    """
    module = run.settings.get("module")
    code = None
    if module:
        found = code_hash(module)
        code = found if run.code_hash else None
    data = None
    if data_hash is not None and run.settings.get("data"):
        try:
            data = data_hash(run.settings["data"])
        except GemelError:
            data = None
    return run.stale(model, code_hash=code, data_hash=data)


def dossier(
    manifest: TwinManifest, runs: Iterable[EvidenceRun], *, time: int, missing: Mapping[str, str] | None = None,
    judgements: Sequence[Judgement] = (), data_hash: Callable[[Sequence[str]], str] | None = None, model: str | None = None,
) -> Dossier:  # fmt: skip
    """Make the dossier of a twin from stored runs.

    Parameters
    ----------
    manifest : of the twin.
    runs : any; of each study of this twin one counts (:func:`gemel.evidence.run.standing`).
    time : ns UTC.
    missing : study -> why there is no run of it.
    judgements : of people.
    data_hash : as in :func:`staleness`.
    model : hash of the twin; left out, of the installed one. A project without code of its own, whose studies came from outside, gives its own.

    Raises
    ------
    EvidenceError
        When one factor is judged twice.
    """
    model = model_hash(manifest.id) if model is None else model
    mine = standing(runs, twin=manifest.id, model_hash=model)
    stale = {r.id: staleness(r, model, data_hash) for r in mine}
    risk = WORST_RISK if manifest.risk is None else risk_of(manifest.risk)
    return Dossier(
        manifest, model, time, mine, stale, dict(missing or {}), grade(mine, risk=risk, stale=stale, judgements=judgements),
        check_nasem(manifest, mine, model), risk, manifest.risk is not None, tuple(judgements),
    )  # fmt: skip
