"""Many simulated trials side by side, and what an analysis reads from them. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import interpolate, special

from gemel.core.errors import ModelError

__all__ = ["Batch", "Enrolment", "Readings", "SimulationKey", "generator", "only", "philox_key", "student", "student_quantile", "student_z"]

BLOCK = 250
"""Trials drawn together: fixed, so that a replicate is the same whatever the number of replicates, of blocks per task, or of workers."""

SimulationKey = int | tuple[int, int]
"""Makes the randomness: a seed, or the two 64-bit words of a Philox key."""


def philox_key(key: object) -> tuple[int, int]:
    """Return the two 64-bit words that key Philox, from a seed, from two words, or from a typed JAX key.

    Raises
    ------
    ModelError
        When the key is none of them.

    Examples
    --------
    >>> philox_key(7)
    (7, 7640891576956012808)
    """
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and 0 <= key < 2**64:
        return int(key), 0x6A09E667F3BCC908
    if isinstance(key, tuple) and len(key) == 2 and all(isinstance(word, int) and 0 <= word < 2**64 for word in key):
        return key[0], key[1]
    if hasattr(key, "dtype") and "key" in str(key.dtype):  # type: ignore[attr-defined]
        import jax

        words = [int(word) for word in np.asarray(jax.random.key_data(key)).ravel()]  # type: ignore[arg-type]
        low = sum(word << (32 * i) for i, word in enumerate(words[:2]))
        return low, sum(word << (32 * i) for i, word in enumerate(words[2:4])) or 0xBB67AE8584CAA73B
    raise ModelError("a key of simulation is a seed, two 64-bit words, or a typed JAX key", seen=repr(key)[:60])


def generator(key: tuple[int, int], block: int) -> np.random.Generator:
    """Return the counter-based generator of one block of trials: Philox whose counter starts at the block's number."""
    return np.random.Generator(np.random.Philox(key=np.array(key, np.uint64), counter=np.array([0, 0, 0, block], np.uint64)))


@dataclass(frozen=True)
class Enrolment:
    """Who is enrolled: patients in the order in which they come, and the arm that each is given.

    Parameters
    ----------
    arm : (patient,) or (trial, patient), 0 control and 1 treated.
    trials : how many trials side by side.
    """

    arm: Int[np.ndarray, "... patient"]
    trials: int

    @property
    def shape(self) -> tuple[int, int]:
        """Trials, and patients of each."""
        return self.trials, self.arm.shape[-1]


@dataclass(frozen=True)
class Batch:
    """Trials as they would be read out. Patients stand in the order in which they were enrolled.

    Parameters
    ----------
    arm : (patient,) where all trials have the same, or (trial, patient); 0 control, 1 treated.
    covariates : (covariate, trial, patient) known before randomisation, the prognosis first. A repeated outcome may have time-matched ones:
        (covariate, trial, patient, visit).
    outcome : (trial, patient), or (trial, patient, visit). Of survival the time to event or censoring.
    observed : of the outcome's shape, or None where all are. Of survival whether the event was seen.
    """

    arm: Int[np.ndarray, "... patient"]
    covariates: Float[np.ndarray, "covariate trial patient ..."]
    outcome: Float[np.ndarray, "trial patient ..."]
    observed: Bool[np.ndarray, "trial patient ..."] | None = None

    @property
    def trials(self) -> int:
        """How many trials."""
        return len(self.outcome)

    @property
    def patients(self) -> int:
        """How many patients each."""
        return self.outcome.shape[1]

    def take(self, which: slice | Int[np.ndarray, " kept"]) -> Batch:
        """Return the same trials with some of their patients."""
        return Batch(
            self.arm[..., which],
            self.covariates[:, :, which],
            self.outcome[:, which],
            None if self.observed is None else self.observed[:, which],
        )

    def keep(self, which: Bool[np.ndarray, " trial"]) -> Batch:
        """Return some of the trials, whole."""
        arm = self.arm if self.arm.ndim == 1 else self.arm[which]
        return Batch(arm, self.covariates[:, which], self.outcome[which], None if self.observed is None else self.observed[which])

    def seen(self) -> Int[np.ndarray, "arm trial"]:
        """Return how many patients of each arm have the (last) outcome."""
        there = np.ones(self.outcome.shape, bool) if self.observed is None else self.observed
        there = there if there.ndim == 2 else there[..., -1]
        treated = there & (self.arm == 1)
        return np.stack([there.sum(axis=1) - treated.sum(axis=1), treated.sum(axis=1)])

    def last_visit(self) -> Batch:
        """Return the trials with the last visit as their only outcome."""
        if self.outcome.ndim == 2:
            return self
        seen = None if self.observed is None else self.observed[..., -1]
        covariates = self.covariates[..., -1] if self.covariates.ndim == 4 else self.covariates
        return Batch(self.arm, covariates, self.outcome[..., -1], seen)


@dataclass(frozen=True)
class Readings:
    """What one analysis says of each trial: (trial,) arrays. A trial whose analysis has not come to a result is NaN in all of them.

    Parameters
    ----------
    estimate, standard_error, low, high : the effect, its error, its 95 % interval.
    p_value : two-sided. ``z``: the standard normal value with this p-value, signed by the estimate.
    patients : enrolled until the trial was read.
    look : which look ended the trial, from 0. ``rejected``: where that is not for the p-value to say.
    truth : what is estimated, where it is not the effect of the world.
    """

    estimate: Float[np.ndarray, " trial"]
    standard_error: Float[np.ndarray, " trial"]
    low: Float[np.ndarray, " trial"]
    high: Float[np.ndarray, " trial"]
    p_value: Float[np.ndarray, " trial"]
    z: Float[np.ndarray, " trial"]
    patients: Float[np.ndarray, " trial"] | None = None
    look: Int[np.ndarray, " trial"] | None = None
    rejected: Bool[np.ndarray, " trial"] | None = None
    truth: float | None = None

    def where(self, keep: Bool[np.ndarray, " trial"], other: Readings) -> Readings:
        """Return these readings where ``keep``, else the other's."""
        pairs = {name: (value, getattr(other, name)) for name, value in vars(self).items() if name != "truth"}
        return replace(self, **{name: None if a is None or b is None else np.where(keep, a, b) for name, (a, b) in pairs.items()})


def only(good: Bool[np.ndarray, " trial"], readings: Readings) -> Readings:
    """Return readings of all trials from those of the good ones; the others have no result."""
    found: dict[str, np.ndarray | None] = {}
    for name in ("estimate", "standard_error", "low", "high", "p_value", "z"):
        whole = np.full(len(good), np.nan)
        whole[good] = getattr(readings, name)
        found[name] = whole
    return Readings(**found)  # type: ignore[arg-type]


@lru_cache(maxsize=8)
def _quantiles(level: float) -> interpolate.CubicSpline:
    inverse = np.linspace(0.0, 0.5, 2001)
    return interpolate.CubicSpline(inverse, [special.ndtri(level), *special.stdtrit(1 / inverse[1:], level)])


def student_quantile(df: Float[np.ndarray, "..."] | float, level: float = 0.975) -> Float[np.ndarray, "..."]:
    """Return quantiles of Student's t for many degrees of freedom at once, by a spline over their inverses (error below 1e-7) from 2 on."""
    if np.ndim(df) == 0:
        return np.asarray(special.stdtrit(df, level) if np.isfinite(df) else special.ndtri(level))
    df = np.asarray(df, float)
    found = _quantiles(level)(1 / np.maximum(df, 2.0))
    few = df < 2
    if few.any():
        found[few] = special.stdtrit(df[few], level)
    return found


def student_z(t: Float[np.ndarray, "..."], df: Float[np.ndarray, "..."] | float) -> Float[np.ndarray, "..."]:
    """Return the standard normal values that are as far out as these values of Student's t."""
    tail = special.stdtr(df, -np.abs(t)) if np.all(np.isfinite(df)) else special.ndtr(-np.abs(t))
    return -np.sign(t) * special.ndtri(np.maximum(tail, 1e-300))


def student(estimate: np.ndarray, squared_error: np.ndarray, df: np.ndarray | float) -> Readings:
    """Return readings of estimates with Student's t; infinite degrees of freedom are the normal distribution."""
    error = np.sqrt(squared_error)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = estimate / error
    width = student_quantile(df) * error
    tail = special.stdtr(df, -np.abs(t)) if np.all(np.isfinite(df)) else special.ndtr(-np.abs(t))
    z = -np.sign(t) * special.ndtri(np.maximum(tail, 1e-300))
    return Readings(estimate, error, estimate - width, estimate + width, 2 * tail, z)
