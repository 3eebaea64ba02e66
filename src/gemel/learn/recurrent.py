"""A small LSTM forecaster: a peer for benchmarks, trained on the same windows as everything else (float32).

A small recurrent network is the strongest fully trained model in GlucoFM-Bench (arXiv 2606.06881, second-hand).
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["SequenceForecaster", "train_forecaster"]


class SequenceForecaster(eqx.Module):
    """One LSTM layer over the window, a linear head for the change at every horizon."""

    cell: eqx.nn.LSTMCell
    head: eqx.nn.Linear

    def __init__(self, features: int, hidden: int, outputs: int, *, key: PRNGKeyArray) -> None:
        one, two = jax.random.split(key)
        self.cell = eqx.nn.LSTMCell(features, hidden, key=one, dtype=jnp.float32)
        self.head = eqx.nn.Linear(hidden, outputs, key=two, dtype=jnp.float32)

    def __call__(self, window: Float[Array, "time feature"]) -> Float[Array, " output"]:
        """Return standardised changes from the last value."""
        zero = jnp.zeros(self.cell.hidden_size, jnp.float32)
        (h, _), _ = jax.lax.scan(lambda c, x: (self.cell(x, c), None), (zero, zero), window)
        return self.head(h)


@eqx.filter_jit
def _epoch(model, state, x, y, batches, optimiser):
    arrays, static = eqx.partition(model, eqx.is_array)

    def loss(a, xs, ys):
        return jnp.mean((jax.vmap(eqx.combine(a, static))(xs) - ys) ** 2)

    def step(carry, index):
        a, s = carry
        gradient = jax.grad(loss)(a, x[index], y[index])
        update, s = optimiser.update(gradient, s, a)
        return (optax.apply_updates(a, update), s), None

    (arrays, state), _ = jax.lax.scan(step, (arrays, state), batches)
    return eqx.combine(arrays, static), state


@eqx.filter_jit
def _apply(model, x):
    return jax.vmap(model)(x)


def train_forecaster(
    windows: Float[np.ndarray, "n time feature"], change: Float[np.ndarray, "n horizon"], *, key: PRNGKeyArray, hidden: int = 32, passes: int = 500_000,
    batch: int = 256, most: int = 40_000, patience: int = 8,
) -> Callable[[Float[np.ndarray, "m time feature"]], Float[np.ndarray, "m horizon"]]:  # fmt: skip
    """Train on windows (oldest first) and return a function from windows to expected changes.

    At most ``passes`` windows are shown in all (small sets are shown more often); the last tenth of the windows given decides when to stop, after
    ``patience`` epochs without gain. Of more than ``most`` windows an even sample is used.
    """
    keep = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), most)).astype(int))
    x, y = np.asarray(windows[keep], np.float32), np.asarray(change[keep], np.float32)
    cut = max(1, int(0.9 * len(x)))
    centre, spread = x[:cut].mean(axis=(0, 1)), x[:cut].std(axis=(0, 1)) + 1e-6
    size = y[:cut].std(axis=0) + 1e-6
    x, y = (x - centre) / spread, y / size
    model = SequenceForecaster(x.shape[2], hidden, y.shape[1], key=key)
    batch = min(batch, cut)
    optimiser = optax.adam(2e-3)
    state = optimiser.init(eqx.filter(model, eqx.is_array))
    rng = np.random.default_rng(int(np.asarray(jax.random.key_data(key)).astype(np.uint32)[-1]))
    best, kept, since = np.inf, model, 0
    for _ in range(max(12, passes // cut)):
        order = rng.permutation(cut)[: cut // batch * batch].reshape(-1, batch)
        model, state = _epoch(model, state, jnp.asarray(x[:cut]), jnp.asarray(y[:cut]), jnp.asarray(order), optimiser)
        error = float(np.mean((np.asarray(_apply(model, jnp.asarray(x[cut:]))) - y[cut:]) ** 2)) if cut < len(x) else 0.0
        if error < best * (1 - 1e-3):
            best, kept, since = error, model, 0
        else:
            since += 1
            if since >= patience:
                break

    def forecaster(windows: np.ndarray) -> np.ndarray:
        z = (np.asarray(windows, np.float32) - centre) / spread
        parts = [np.asarray(_apply(kept, jnp.asarray(_padded(z[i : i + 4096]))))[: len(z[i : i + 4096])] for i in range(0, len(z), 4096)]
        return np.concatenate(parts) * size if parts else np.zeros((0, len(size)))

    return forecaster


def _padded(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.zeros((4096 - len(x), *x.shape[1:]), x.dtype)]) if len(x) < 4096 else x
