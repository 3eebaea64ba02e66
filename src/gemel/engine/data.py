"""Data as the numeric core sees them: padded, masked, in the units of the model."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gemel.core.errors import ValueRangeError
from gemel.engine.compile import bucket

__all__ = ["Dataset", "Slots"]


class Dataset(eqx.Module):
    """Measurements at their own times. Padding has mask 0 and changes nothing.

    ``time`` is in the unit of the model since its epoch; ``channel`` is the index of the output; ``censored`` is -1 below, 0 exact, +1 above.
    """

    time: Float[Array, " datum"]
    value: Float[Array, " datum"]
    channel: Int[Array, " datum"]
    censored: Int[Array, " datum"]
    mask: Bool[Array, " datum"]

    @classmethod
    def of(
        cls, time: np.ndarray, value: np.ndarray, channel: np.ndarray | int = 0, censored: np.ndarray | int = 0, *, smallest: int = 32
    ) -> Dataset:
        """Build a padded data set.

        Raises
        ------
        ValueRangeError
            When a time or value is not finite.
        """
        time, value = np.asarray(time, float), np.asarray(value, float)
        bad = ~(np.isfinite(time) & np.isfinite(value))
        if bad.any():
            where = int(np.flatnonzero(bad)[0])
            raise ValueRangeError(
                "a datum is not finite", seen=f"{value[where]} at time {time[where]}, channel {np.broadcast_to(channel, time.shape)[where]}",
                expected="numbers", fix="leave missing measurements out",
            )  # fmt: skip
        n, size = len(time), bucket(max(len(time), 1), smallest=smallest)
        order = np.argsort(time, kind="stable")

        def pad(x: np.ndarray | int, dtype: type, fill: float) -> np.ndarray:
            full = np.full(size, fill, dtype)
            full[:n] = np.broadcast_to(np.asarray(x, dtype), (n,))[order]
            return full

        last = float(time.max()) if n else 0.0
        return cls(
            jnp.asarray(pad(time, float, last)), jnp.asarray(pad(value, float, 1.0)), jnp.asarray(pad(channel, int, 0)), jnp.asarray(pad(censored, int, 0)),
            jnp.asarray(np.arange(size) < n),
        )  # fmt: skip

    @property
    def count(self) -> int:
        """How many real data."""
        return int(self.mask.sum())


class Slots(eqx.Module):
    """A stream on a uniform grid of slots: what was measured at the end of each slot and what was given during it.

    Slot ``k`` spans ``(k - 1, k] * length`` after the epoch; slot 0 is the epoch itself. ``inputs`` are mean rates over the slot.
    A window of slots has ``lags`` rows of earlier inputs in front, for models in which what was given acts later.
    """

    value: Float[Array, "slot output"]
    mask: Bool[Array, "slot output"]
    censored: Int[Array, "slot output"]
    inputs: Float[Array, "slot channel"]

    @property
    def count(self) -> int:
        """Number of slots."""
        return self.value.shape[0]

    def window(self, start: int, stop: int, *, lags: int = 0) -> Slots:
        """Return slots ``start <= k < stop``, padded with empty ones up to a bucket length, inputs with ``lags`` rows in front (host side)."""
        size = bucket(
            stop - start
        )  # the loop over slots runs as long as there are real ones: a longer window costs no time, and one program serves more

        def cut(column: Array, first: int, length: int) -> np.ndarray:
            x = np.asarray(column)
            full = np.zeros((length, *x.shape[1:]), x.dtype)
            low, high = max(first, 0), min(first + length, stop, len(x))
            if high > low:
                full[low - first : high - first] = x[low:high]
            return full

        return Slots(
            cut(self.value, start, size),
            cut(self.mask, start, size),
            cut(self.censored, start, size),
            cut(self.inputs, start - lags, size + lags),
        )

    def until(self, stop: int) -> Slots:
        """Return slots ``0 <= k < stop`` without padding (host side)."""
        return Slots(*(np.asarray(x)[:stop] for x in (self.value, self.mask, self.censored, self.inputs)))

    def first_difference(self, other: Slots) -> int:
        """Return the first slot in which two streams differ, up to the length of the shorter one (host side)."""
        n = min(self.count, other.count)
        same = np.ones(n, bool)
        for name in ("value", "mask", "censored", "inputs"):
            a, b = np.asarray(getattr(self, name))[:n], np.asarray(getattr(other, name))[:n]
            same &= (a == b).all(axis=tuple(range(1, a.ndim)))
        return n if same.all() else int(np.argmin(same))
