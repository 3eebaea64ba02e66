"""Inputs, batch after batch, against the release: which batch rings, and which input explains it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemel.evidence.comparisons import holm
from gemel.evidence.surveillance.drift import InputDrift, check_category, check_input, mmd_test
from gemel.evidence.surveillance.prediction_log import PredictionLog
from gemel.evidence.surveillance.release import Release

__all__ = ["Batch", "watch_inputs"]


@dataclass(frozen=True)
class Batch:
    """One batch of predictions in order of time: all findings, the smallest p-value after Holm's correction, and whether it rings.

    Of batches that would ring one after the other, the first does.
    """

    first: int
    last: int
    findings: tuple[InputDrift, ...]
    p_value: float
    rings: bool
    sentence: str


def watch_inputs(
    log: PredictionLog, release: Release, reference: PredictionLog | None = None, *, size: int, level: float, seed: int = 0
) -> tuple[Batch, ...]:
    """Test whole batches of ``size`` rows against the release; an unfinished batch waits.

    Parameters
    ----------
    reference : rows of the baseline for the joint test (MMD); left out, each input is looked at by itself.
    level : probability that a batch rings while inputs are as at release: ``size / run length``.
    """
    shared = [name for name in release.inputs if name in log.inputs]
    found: list[Batch] = []
    was = False
    order = np.argsort(log.time, kind="stable")
    for k, start in enumerate(range(0, len(log) - size + 1, size)):
        rows = order[start : start + size]
        drifts = [d for name in shared for d in check_input(name, log.inputs[name][rows], release.inputs[name].reference())]
        drifts += [check_category(n, log.categories[n][rows], told) for n, told in release.categories.items() if n in log.categories]
        if reference is not None and len(shared) > 1 and set(shared) <= set(reference.inputs):
            now, then = (
                np.stack([source.inputs[n][some] for n in shared], axis=1) for source, some in ((log, rows), (reference, slice(None)))
            )
            drifts.append(mmd_test(now, then, seed=seed + k))
        adjusted = holm({(d.input, d.statistic): d.p_value for d in drifts})
        (name, statistic), p = min(adjusted.items(), key=lambda item: (item[1], item[0]))
        is_out = p < level
        worst = next(d for d in drifts if (d.input, d.statistic) == (name, statistic))
        words = f"inputs: {name} by {statistic} ({worst.value:.3g}, p = {p:.2g} after Holm over {len(drifts)} tests)"
        told = next((d.note for d in drifts if d.note.startswith(("looks", "not seen"))), "")
        found.append(Batch(int(rows[0]), int(rows[-1]), tuple(drifts), float(p), is_out and not was, words + (f"; {told}" if told else "")))
        was = is_out
    return tuple(found)
