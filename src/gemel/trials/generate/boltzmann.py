"""T2: a neural Boltzmann machine, a comparator and never the default.

    E(v, h | x) = (v - f)' P (v - f) / 2 - (v - f)' P^1/2 W h

``v`` are normal scores of all columns but the baseline, ``h`` are 0 or 1, ``f`` is a network of the baseline scores ``x``, ``P`` is diagonal. Calibrated by persistent
contrastive divergence: the energy of the data less that of chains that are never restarted. Missing values and steps are drawn within their intervals
while it learns. Given ``h`` the scores are Gaussian and independent, given ``v`` the hidden units are: both are drawn exactly, in turn.

Patents exist on models of this kind; this one is for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from gemel.core.errors import InferenceError
from gemel.core.lineage import digest
from gemel.trials.generate.copula import Copula, between, calibrate_copula
from gemel.trials.generate.marginal import EDGE
from gemel.trials.generate.panel import Panel, Variable

__all__ = ["Boltzmann", "calibrate_boltzmann"]

SWEEPS = 150
"""Of the chain that draws a patient."""


@dataclass(frozen=True)
class Boltzmann:
    """A calibrated machine.

    Parameters
    ----------
    copula : marginals of all columns, and the joint law of those of the baseline.
    visible, known : places of the columns that are ``v`` and ``x``.
    parameters : ``in``, ``in_bias``, ``out``, ``straight``, ``bias`` of the network, ``precision`` (log), ``weights``.
    """

    copula: Copula
    visible: np.ndarray
    known: np.ndarray
    parameters: dict[str, np.ndarray]
    kind: str = "boltzmann"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Of the panel it was calibrated on."""
        return self.copula.variables

    @property
    def times(self) -> Float[np.ndarray, " visit"]:
        """Nominal times of the visits."""
        return self.copula.times

    @property
    def hash(self) -> str:
        """Of all its numbers."""
        return digest([self.copula.hash, self.parameters])

    def _centre(self, x: Float[np.ndarray, "patient input"]) -> Float[np.ndarray, "patient visible"]:
        p = self.parameters
        return np.tanh(x @ p["in"].T + p["in_bias"]) @ p["out"].T + x @ p["straight"].T + p["bias"]

    def _sweep(self, v: np.ndarray, f: np.ndarray, low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        p = self.parameters
        sd = np.exp(-p["precision"] / 2)
        h = rng.random((len(v), p["weights"].shape[1])) < special.expit((v - f) / sd @ p["weights"])
        return between(f + sd * (h @ p["weights"].T), np.broadcast_to(sd, v.shape), low, high, rng)

    def _chain(self, low: np.ndarray, high: np.ndarray, scores: np.ndarray, sweeps: int, rng: np.random.Generator) -> np.ndarray:
        f = self._centre(scores[:, self.known])
        lo, hi = low[:, self.visible], high[:, self.visible]
        v = np.clip(f, lo, hi)
        for _ in range(sweeps):
            v = self._sweep(v, f, lo, hi, rng)
        whole = scores.copy()
        whole[:, self.visible] = v
        return whole

    def draw(self, n: int, *, rng: np.random.Generator) -> Panel:
        """Return new patients, before the constraints of their instruments."""
        scores = rng.standard_normal((n, len(self.copula.places))) @ np.linalg.cholesky(self.copula.correlation).T
        edge = np.full(scores.shape, EDGE)
        return self.copula.panel(self._chain(-edge, edge, scores, SWEEPS, rng))

    def draw_given(self, panel: Panel, visits: int, draws: int, *, rng: np.random.Generator) -> list[Panel]:
        """Return futures of known patients, given the baseline and the first visits."""
        low, high = self.copula.intervals(panel)
        later = np.array([j < 0 or (t >= visits and not self.variables[j].is_baseline) for j, t in self.copula.places])
        low[:, later], high[:, later] = -EDGE, EDGE
        scores = between(np.zeros_like(low), np.ones_like(low), low, high, rng)
        scores, made = self._chain(low, high, scores, SWEEPS, rng), []
        for _ in range(draws):
            f = self._centre(scores[:, self.known])
            scores = scores.copy()
            for _ in range(5):  # between draws that are kept
                scores[:, self.visible] = self._sweep(scores[:, self.visible], f, low[:, self.visible], high[:, self.visible], rng)
            made.append(self.copula.panel(scores))
        return made


def calibrate_boltzmann(
    panel: Panel, *, seed: int = 0, hidden: int = 48, width: int = 16, steps: int = 3000, batch: int = 128
) -> Boltzmann:
    """Calibrate the machine on control patients.

    Parameters
    ----------
    panel : the history.
    seed : of starts, batches and chains.
    hidden : hidden units.
    width : of the network of the baseline.
    steps : of Adam; the rate falls to nothing.
    batch : patients, and persistent chains, per step.

    Raises
    ------
    InferenceError
        When a parameter is not finite, or the chains wander off.
    EvidenceError
        As for the copula.

    References
    ----------
    Lang et al. 2023, arXiv:2305.08337. Tieleman 2008, doi:10.1145/1390156.1390290.
    """
    import jax
    import jax.numpy as jnp
    import optax

    rng, copula = np.random.default_rng(seed), calibrate_copula(panel, seed=seed)
    is_known = np.array([j >= 0 and copula.variables[j].is_baseline for j, _ in copula.places])
    visible, known = np.flatnonzero(~is_known), np.flatnonzero(is_known)
    low, high = copula.intervals(panel)
    state = between(np.zeros_like(low), np.ones_like(low), low, high, rng)
    d, k = len(visible), len(known)
    p: dict[str, Any] = {
        "in": rng.normal(0, 0.5, (width, k)), "in_bias": np.zeros(width), "out": rng.normal(0, 0.01, (d, width)), "straight": np.zeros((d, k)), "bias": np.zeros(d),
        "precision": np.zeros(d), "weights": rng.normal(0, 0.1, (d, hidden)),
    }  # fmt: skip
    rule = optax.adam(optax.cosine_decay_schedule(5e-3, steps, 0.01))
    tuned = rule.init(p)

    def energy(p: Any, v: Any, h: Any, x: Any) -> Any:
        f = jnp.tanh(x @ p["in"].T + p["in_bias"]) @ p["out"].T + x @ p["straight"].T + p["bias"]
        white = (v - f) * jnp.exp(p["precision"] / 2)
        return jnp.mean(0.5 * jnp.sum(white**2, axis=1) - jnp.sum((white @ p["weights"]) * h, axis=1))

    @jax.jit
    def step(p: Any, tuned: Any, data: Any, chain: Any) -> Any:
        gradient = jax.grad(lambda q: energy(q, *data) - energy(q, *chain) + 1e-4 * jnp.sum(q["weights"] ** 2))(p)
        change, tuned = rule.update(gradient, tuned, p)
        return optax.apply_updates(p, change), tuned

    chain_v, chain_x = rng.standard_normal((batch, d)), state[rng.choice(panel.n, batch)][:, known]
    edge = np.full((batch, d), EDGE)
    for _ in range(steps):
        made = Boltzmann(copula, visible, known, {n: np.asarray(a) for n, a in p.items()})
        rows = rng.choice(panel.n, batch, replace=panel.n < batch)
        x = state[np.ix_(rows, known)]
        f, sd = made._centre(x), np.exp(-made.parameters["precision"] / 2)
        state[np.ix_(rows, visible)] = made._sweep(
            state[np.ix_(rows, visible)], f, low[np.ix_(rows, visible)], high[np.ix_(rows, visible)], rng
        )
        v = state[np.ix_(rows, visible)]
        h = special.expit((v - f) / sd @ made.parameters["weights"])
        centre = made._centre(chain_x)
        for _ in range(2):
            chain_v = made._sweep(chain_v, centre, -edge, edge, rng)
        g = special.expit((chain_v - centre) / sd @ made.parameters["weights"])
        p, tuned = step(p, tuned, (v, h, x), (chain_v, g, chain_x))
    found = {n: np.asarray(a) for n, a in p.items()}
    drawn = replace(made, parameters=found)
    if not all(np.isfinite(a).all() for a in found.values()) or np.abs(chain_v).mean() > 3:
        raise InferenceError(
            "the machine did not settle",
            seen=f"mean size of a score {np.abs(chain_v).mean():.2f}",
            expected="about 0.8",
            fix="use the copula",
        )
    return drawn
