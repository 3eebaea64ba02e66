"""The public synthetic file of a study of cost as a proxy for need, for those who fetched it themselves: read, retrained, audited.

Its origin states no licence: it is not shipped, and neither is any of its rows. What its authors or others found on it, or on the cohort behind it, is
context and no target here.

References
----------
Obermeyer et al. 2019, doi:10.1126/science.aax2342.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gemel.core.errors import EvidenceError, FormatError
from gemel.evidence.fairness.mitigation.relabel import ridge_score
from gemel.evidence.fairness.proxy import ProxyAudit, audit_proxy

__all__ = ["SHA256", "LabelAudit", "PublicFile", "audit_labels", "read_public_file"]

SHA256 = "5341f90f3a1d330557620af1c734e552abe0ad57053055dd13dbccc6d8384d74"
"""Of the file with 48,784 patient-years."""
LABELS = {"log cost": "cost_t", "log avoidable cost": "cost_avoidable_t", "active chronic conditions": "gagne_sum_t"}
NEED = "active chronic conditions"
NEEDED = ("race", *LABELS.values())


@dataclass(frozen=True)
class PublicFile:
    """The rows: features of the year before (never race), labels of the year, race, and the commercial score if it is there."""

    features: Float[np.ndarray, "row column"]
    names: tuple[str, ...]
    labels: Mapping[str, np.ndarray]
    cost: Float[np.ndarray, " row"]
    race: np.ndarray
    risk_score: Float[np.ndarray, " row"] | None
    sha256: str

    @property
    def is_the_known_file(self) -> bool:
        """Whether it is byte for byte the file that the figures of others are about."""
        return self.sha256 == SHA256


@dataclass(frozen=True)
class LabelAudit:
    """One label: who is chosen by a score for it, and need at equal score."""

    label: str
    audit: ProxyAudit


def read_public_file(path: Path) -> PublicFile:
    """Read the file.

    Parameters
    ----------
    path : a table with the columns ``race``, ``cost_t``, ``cost_avoidable_t``, ``gagne_sum_t`` and features whose names end in ``_tm1``.

    Raises
    ------
    FormatError
        When it is no such table, or a number in it is none.
    """
    body = path.read_bytes()
    try:
        rows = csv.reader(io.StringIO(body.decode("utf-8")))
        head = next(rows)
        table = [row for row in rows if row]
    except (UnicodeDecodeError, StopIteration, csv.Error):
        raise FormatError("not a table", seen=path.name, expected="comma-separated text with a head") from None
    lost = [name for name in NEEDED if name not in head]
    features = [name for name in head if name.endswith("_tm1") and "race" not in name]
    if lost or not features or not table or any(len(row) != len(head) for row in table):
        raise FormatError(
            "not the public file", seen=f"{len(head)} columns, without {lost or 'features that end in _tm1'}", expected=", ".join(NEEDED)
        )
    at = {name: i for i, name in enumerate(head)}

    def column(name: str) -> np.ndarray:
        try:
            return np.array([float(row[at[name]]) for row in table])
        except ValueError:
            raise FormatError(f"column {name!r} holds something that is no number", seen=path.name) from None

    x = np.column_stack([column(name) for name in features])
    varies = np.ptp(x, axis=0) > 0
    x = (x[:, varies] - x[:, varies].mean(axis=0)) / x[:, varies].std(axis=0)
    raw = {label: column(name) for label, name in LABELS.items()}
    told = {label: np.log1p(v) if label.startswith("log") else v for label, v in raw.items()}
    return PublicFile(
        x, tuple(n for n, v in zip(features, varies, strict=True) if v), told, raw["log cost"], np.array([row[at["race"]].strip() for row in table]),
        column("risk_score_t") if "risk_score_t" in at else None, hashlib.sha256(body).hexdigest(),
    )  # fmt: skip


def audit_labels(
    file: PublicFile, *, share: float = 0.67, bins: int = 100, threshold: float = 0.97, replicates: int = 1000, seed: int = 0
) -> tuple[LabelAudit, ...]:
    """Learn a score for each label from two thirds of the rows, and audit it on the rest, with the change to the need label beside it.

    Scores are ridge regressions on the features of the year before; the need is the number of active chronic conditions of the year. Costs are taken as
    ``log(1 + cost)``.
    """
    n = len(file.race)
    if not 0 < share < 1 or n < 100:
        raise EvidenceError("too few rows, or no share to learn from", seen=(n, share))
    order = np.random.default_rng(seed).permutation(n)
    learn, show = order[: round(share * n)], order[round(share * n) :]
    scores = {label: ridge_score(file.features, y, learn)[show] for label, y in file.labels.items()}
    if file.risk_score is not None:
        scores["the file's own score"] = file.risk_score[show]
    totals = {"cost": file.cost[show], NEED: file.labels[NEED][show]}
    return tuple(
        LabelAudit(
            label,
            audit_proxy(
                score, file.labels[NEED][show], file.race[show], bins=bins, need_score=scores[NEED], totals=totals, threshold=threshold, replicates=replicates, seed=seed
            ),
        )
        for label, score in scores.items()
    )  # fmt: skip
