"""How patients are given their arm: fixed, permuted, blocked, by coin, by Pocock and Simon's minimisation, or by what the earlier ones did.

Minimisation balances factors; the analysis should adjust for them. Response-adaptive randomisation (the urn) is offered and **flagged**: a drift of the
patients over time biases it, unequal arms cost power, and its level must be simulated.

References
----------
Pocock and Simon 1975, doi:10.2307/2529712. Wei and Durham 1978, doi:10.1080/01621459.1978.10480109 (randomised play-the-winner).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np
from jaxtyping import Float, Int

from gemel.core.errors import DataError

__all__ = ["BY_COVARIATE", "FLAG", "RULES", "allocate", "minimised", "permuted_blocks", "play_the_winner"]

RULES = ("fixed", "permuted", "blocks", "simple")
"""Rules that need to know nothing of the patients."""
BY_COVARIATE = ("minimisation",)
"""Rules that look at what is known of a patient before the arm is drawn."""
FLAG = "response-adaptive randomisation: biased where patients drift over time; its level and power are simulated, not theory"
"""What is to be said wherever the urn is used."""


def allocate(rule: str, size: tuple[int, int], trials: int, rng: np.random.Generator) -> Int[np.ndarray, "... patient"]:
    """Return the arm of every patient in the order of enrolment, 0 control and 1 treated.

    Parameters
    ----------
    rule : one of :data:`RULES`. ``blocks`` are the smallest blocks with the ratio of the arms, or two of them if that is one pair.
    size : patients of control and treated arm. ``simple`` flips a coin of that ratio, so that arms differ between trials.

    Returns
    -------
    (patient,) for ``fixed``, the same in all trials; else (trial, patient).
    """
    n0, n1 = size
    whole = np.r_[np.zeros(n0, np.int8), np.ones(n1, np.int8)]
    if rule == "fixed":
        return whole
    if rule == "permuted":
        return rng.permuted(np.broadcast_to(whole, (trials, len(whole))), axis=1)
    if rule == "blocks":
        step = gcd(n0, n1)
        ratio = (n0 // step, n1 // step)
        return permuted_blocks(trials, n0 + n1, rng, ratio=(2, 2) if ratio == (1, 1) else ratio)
    if rule == "simple":
        return (rng.random((trials, n0 + n1)) < n1 / (n0 + n1)).astype(np.int8)
    raise DataError("no such allocation", seen=rule, expected=RULES)


def permuted_blocks(
    trials: int, patients: int, rng: np.random.Generator, *, ratio: tuple[int, int] = (2, 2)
) -> Int[np.ndarray, "trial patient"]:
    """Return arms from permuted blocks, each with ``ratio`` control and treated patients in random order; the last block may be cut."""
    if min(ratio) < 1:
        raise DataError("a block needs both arms", seen=ratio, expected="1 or more of each")
    block = np.r_[np.zeros(ratio[0], np.int8), np.ones(ratio[1], np.int8)]
    many = -(-patients // len(block))
    order = rng.permuted(np.broadcast_to(block, (trials * many, len(block))), axis=1)
    return order.reshape(trials, -1)[:, :patients]


def minimised(
    factors: Int[np.ndarray, "trial patient factor"],
    rng: np.random.Generator,
    *,
    probability: float = 0.8,
    weights: Sequence[float] | None = None,
) -> Int[np.ndarray, "trial patient"]:
    """Return arms by minimisation of the marginal imbalance over factors, 1:1.

    Each patient is given, with ``probability``, the arm under which the weighted sum over his levels of the absolute difference between the arms is smaller; at a tie a coin.

    Parameters
    ----------
    factors : levels from 0, in the order of enrolment.
    probability : of the better arm, at least 1/2; 1 is deterministic and can be foretold.

    Raises
    ------
    DataError
        For a probability out of range, or weights that are not one per factor.
    """
    trials, patients, many = factors.shape
    w = np.ones(many) if weights is None else np.asarray(weights, float)
    if not 0.5 <= probability <= 1 or w.shape != (many,) or (w < 0).any():
        raise DataError(
            "minimisation is not usable", seen=f"probability {probability}, weights {list(w)}", expected=f"0.5 to 1; {many} weights"
        )
    apart = np.zeros((trials, many, int(factors.max()) + 1))
    arm = np.zeros((trials, patients), np.int8)
    draws, row, column = rng.random((trials, patients)), np.arange(trials)[:, None], np.arange(many)[None]
    for i in range(patients):
        level = factors[:, i]
        lean = ((np.abs(apart[row, column, level] + 1) - np.abs(apart[row, column, level] - 1)) * w).sum(axis=1)
        chance = np.where(lean == 0, 0.5, np.where(lean < 0, probability, 1 - probability))
        arm[:, i] = draws[:, i] < chance
        apart[row, column, level] += np.where(arm[:, i] == 1, 1.0, -1.0)[:, None]
    return arm


def play_the_winner(
    success: Float[np.ndarray, "trial patient arm"], rng: np.random.Generator, *, start: float = 1.0, added: float = 1.0
) -> Int[np.ndarray, "trial patient"]:
    """Return arms by the randomised play-the-winner urn. See :data:`FLAG`.

    Parameters
    ----------
    success : 0 or 1, what each patient's outcome would be under either arm, known before the next patient comes.
    start : balls of each arm at the beginning. ``added``: balls after each outcome, of the same arm after a success, of the other after a failure.
    """
    trials, patients, _ = success.shape
    balls = np.full((trials, 2), float(start))
    arm, draws = np.zeros((trials, patients), np.int8), rng.random((trials, patients))
    at = np.arange(trials)
    for i in range(patients):
        arm[:, i] = draws[:, i] * balls.sum(axis=1) < balls[:, 1]
        won = success[at, i, arm[:, i]] > 0.5
        balls[at, np.where(won, arm[:, i], 1 - arm[:, i])] += added
    return arm
