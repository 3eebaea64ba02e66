"""The prior of a cohort: fitted on a folder of people, each of whom is calibrated under what the others say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemel.cli.output import atomic_write
from gemel.cli.priors import parse_prior, prior_table
from gemel.cli.records import instant

if TYPE_CHECKING:
    from gemel.core.protocols import Progress
    from gemel.core.record import PatientRecord
    from gemel.engine.model import AbstractModel
    from gemel.engine.prior import Prior

__all__ = ["Cohort", "cohort"]

FILE = "hierarchy.json"
"""Kept beside the twins: an interrupted run goes on with the same priors."""


@dataclass(frozen=True)
class Cohort:
    """What a folder of people taught: ``prior`` of all, ``others`` of all but one person, and how it was fitted."""

    prior: Prior
    others: dict[str, Prior]
    told: dict[str, Any]

    def without(self, record: PatientRecord) -> Prior:
        """Return the prior for the person of a record, fitted on all others; for somebody who could not be used, that of all."""
        from gemel.engine.hierarchy import person_of

        return self.others.get(person_of(record), self.prior)

    def words(self, record: PatientRecord) -> str:
        """Say where the prior of a person's twin is from."""
        from gemel.engine.hierarchy import person_of

        used = self.told["people"] - len(self.told["left_out"])
        return f"hierarchical, fitted on {used - (person_of(record) in self.others)} other people"

    def save(self, path: Path) -> None:
        """Write the prior of all as ``gemel calibrate --prior`` reads it."""
        atomic_write(path, (json.dumps(prior_table(self.prior) | {"about": self.told}, indent=1) + "\n").encode())


def cohort(
    model: AbstractModel, found: Sequence[PatientRecord], folder: Path, *, settings: dict[str, Any], now: str | None, tz: str | None, seed: int, force: bool,
    progress: Progress,
) -> Cohort:  # fmt: skip
    """Fit the hierarchy of everybody in ``found``, or take the one that lies in the folder if it was made of the same records with the same settings.

    Who cannot be read is left to the calibration itself, which says why.

    Raises
    ------
    InferenceError
        With fewer people than a hierarchy needs.
    """
    import jax

    from gemel.core.errors import GemelError
    from gemel.core.lineage import digest
    from gemel.engine.hierarchy import hierarchical_prior, person_of

    observed, names, hashes = [], [], []
    for record in found:
        try:
            moment = instant(now, record, tz)
            known = record.as_of(moment)
            observed.append(model.observe(known, moment))
        except GemelError:
            continue
        names.append(person_of(record))
        hashes.append([names[-1], known.hash, moment])
    place, of = folder / FILE, digest([settings, hashes])
    kept = None if force else _kept(place, of)
    if kept is None:
        fitted = hierarchical_prior(model, observed, names, key=jax.random.key(seed), progress=progress)
        about = {
            "twin": model.id, "version": model.version, "people": fitted.people, "recordings": fitted.recordings, "rounds": fitted.rounds,
            "change": fitted.change, "left_out": list(fitted.left_out),
        }  # fmt: skip
        others = {person: prior_table(prior) for person, prior in fitted.others.items()}
        kept = {"of": of, "about": about, "prior": prior_table(fitted.prior), "others": others}
        atomic_write(place, (json.dumps(kept) + "\n").encode())
    # also what was just fitted is taken as the file has it: to the last digit what a run that goes on will find
    read = {person: parse_prior(table, model.prior) for person, table in kept["others"].items()}
    return Cohort(parse_prior(kept["prior"], model.prior), read, kept["about"])


def _kept(place: Path, of: str) -> dict[str, Any] | None:
    if not place.is_file():
        return None
    try:
        told = json.loads(place.read_text())
    except ValueError:
        return None
    return told if isinstance(told, dict) and told.get("of") == of else None
