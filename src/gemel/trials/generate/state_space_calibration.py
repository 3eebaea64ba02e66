"""How a state space is calibrated: the members of an ensemble side by side, by Adam on the log likelihood, stopped by patients held out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gemel.core.errors import EvidenceError, InferenceError
from gemel.core.protocols import Progress
from gemel.trials.generate.copula import calibrate_copula
from gemel.trials.generate.joint import initial, log_likelihood
from gemel.trials.generate.marginal import marginal
from gemel.trials.generate.panel import Panel
from gemel.trials.generate.state_space import StateSpace, inputs_of, rows_of

__all__ = ["calibrate_state_space", "check_settled"]

BATCH, LOOK = 128, 50
"""Patients per step, and steps between looks at those held out."""
HELD_OUT = 0.15
FEWEST = 40
OVER = 0.1
"""Nats per patient held out by which the end may be worse than the best look before the best is taken instead."""


def calibrate_state_space(
    panel: Panel,
    *,
    seed: int = 0,
    members: int = 3,
    hidden: int = 16,
    steps: int = 2500,
    decay: float = 1e-3,
    progress: Progress | None = None,
) -> StateSpace:
    """Calibrate the state space on control patients.

    Parameters
    ----------
    panel : the history.
    seed : of starts, batches and the patients held out.
    members : of the ensemble; each begins elsewhere and holds out other patients.
    hidden : width of the networks.
    steps : of Adam; where the end is clearly worse on those held out than an earlier look, that look is kept.
    decay : of the networks' weights, per step and unit of the learning rate.
    progress : told of steps.

    Raises
    ------
    EvidenceError
        When there are fewer than 40 patients, or a variable has fewer than 10 values.
    InferenceError
        When the likelihood is not finite, or still rises at the last step.
    """
    later = [j for j, v in enumerate(panel.variables) if not v.is_baseline]
    known = [j for j, v in enumerate(panel.variables) if v.is_baseline]
    few = [panel.names[j] for j in later if (~np.isnan(panel.values[:, :, j])).sum() < 10]
    if panel.n < FEWEST or few or not later:
        raise EvidenceError(
            "the history is too small for a state space",
            seen=f"{panel.n} patients; {few or 'all'} measured",
            expected=f"{FEWEST} patients",
            fix="use the copula",
        )
    marginals = tuple(marginal(panel.variables[j], panel.values[:, :, j].reshape(-1)) for j in later)
    inputs = None
    if known:
        alone = Panel(
            tuple(panel.variables[j] for j in known),
            panel.times[:1],
            panel.values[:, :1, known],
            np.zeros(panel.n, int),
            np.ones(panel.n, int),
            panel.unit,
        )
        inputs = calibrate_copula(alone, seed=seed)
    span = float(np.ptp(panel.times)) / 2 or 1.0
    has_leaving = bool(np.ptp(panel.last) > 0 or panel.last.max() < len(panel.times) - 1)
    low, high, mask = rows_of(panel, later, marginals)
    if not has_leaving:
        mask[:, :, len(later)] = False
    if not panel.event_name:
        mask[:, :, len(later) + 1] = False
    by_place = dict(zip(inputs.places, inputs.marginals, strict=True)) if inputs else {}
    x = inputs_of([by_place[i, 0] for i in range(len(known))], panel.values[:, 0, known])
    rows = {"x": x, "low": low, "high": high, "mask": mask}
    best, losses = _trained(rows, panel.times / span, len(later), seed, members, hidden, steps, decay, progress)
    return StateSpace(
        panel.variables, panel.times, panel.unit, inputs, marginals, best, span, panel.n, panel.hash, tuple(map(float, losses)), has_leaving, panel.event_name
    )  # fmt: skip


def _moments(rows: dict[str, np.ndarray], levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance of the scores between people and their variance within: where Adam begins."""
    low, high = (np.clip(rows[end][:, :, :levels], -2.5, 2.5) for end in ("low", "high"))
    score = np.where(rows["mask"][:, :, :levels], (low + high) / 2, np.nan)
    known = np.isfinite(score)
    mean = np.where(known, score, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    within = np.nansum(np.where(known, np.square(score - mean[:, None]), 0.0), axis=(0, 1)) / np.maximum(
        (known.sum(axis=1) - 1).clip(0).sum(axis=0), 1
    )
    return np.cov(mean.T, ddof=0).reshape(levels, levels) + 0.05 * np.eye(levels), np.clip(within / 2, 0.02, 1.0)


def _trained(
    rows: dict[str, np.ndarray],
    times: np.ndarray,
    levels: int,
    seed: int,
    members: int,
    hidden: int,
    steps: int,
    decay: float,
    progress: Progress | None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng, n = np.random.default_rng(seed), len(rows["x"])
    size = max(6, round(HELD_OUT * n))
    order = rng.permutation(n)
    held = np.stack([np.roll(order, -i * (n // members))[:size] for i in range(members)])
    weight = np.ones((members, n))
    weight[np.arange(members)[:, None], held] = 0.0
    key = jax.random.key(seed)
    between, within = (jnp.asarray(a) for a in _moments(rows, levels))
    parameters = jax.vmap(lambda k: initial(rows["x"].shape[1], between, within, hidden, key=k))(jax.random.split(key, members))
    schedule = optax.cosine_decay_schedule(0.03, steps, 0.02)
    networks = {"in", "out", "straight", "hazard_inputs", "hazard_levels"}
    rule = optax.chain(
        optax.clip_by_global_norm(10.0), optax.adamw(schedule, weight_decay=decay / 0.03, mask={k: k in networks for k in parameters})
    )
    state = jax.vmap(rule.init)(parameters)
    at = jnp.asarray(times)

    def loss(p: Any, batch: Any, w: Any) -> Any:
        return -jnp.sum(w * log_likelihood(p, at, batch)) / jnp.maximum(jnp.sum(w), 1.0)

    @jax.jit
    def step(parameters: Any, state: Any, batch: Any, w: Any) -> Any:
        def one(p: Any, s: Any, wi: Any) -> Any:
            value, gradient = jax.value_and_grad(loss)(p, batch, wi)
            change, s = rule.update(gradient, s, p)
            return optax.apply_updates(p, change), s, value

        return jax.vmap(one)(parameters, state, w)

    @jax.jit
    def outside(parameters: Any, batch: Any) -> Any:
        return jax.vmap(lambda p, b: loss(p, b, jnp.ones(size)))(parameters, batch)

    def batch_of(places: np.ndarray) -> dict[str, Any]:
        return {k: jnp.asarray(v[places]) for k, v in rows.items()}

    apart = batch_of(held)
    history = [np.asarray(outside(parameters, apart))]
    best, lowest = parameters, history[0]
    if progress is not None:
        progress.start("calibrating", steps)
    for i in range(1, steps + 1):
        places = rng.choice(n, BATCH, replace=n < BATCH)
        parameters, state, _ = step(parameters, state, batch_of(places), jnp.asarray(weight[:, places]))
        if i % LOOK == 0 or i == steps:
            now = np.asarray(outside(parameters, apart))
            history.append(now)
            is_better = now < lowest
            lowest = np.where(is_better, now, lowest)
            best = jax.tree.map(lambda new, old, b=is_better: jnp.where(b.reshape(-1, *[1] * (new.ndim - 1)), new, old), parameters, best)
            if progress is not None and progress.update(i, f"{now.mean():.3f}") is False:
                raise InferenceError("calibration was stopped", seen=f"step {i} of {steps}", fix="run it again")
    if progress is not None:
        progress.finish()
    check_settled(np.array(history), steps)
    is_over = (
        history[-1] > lowest + OVER
    )  # else the last parameters, where the rate has come to rest: which look was lowest is mostly chance
    chosen = jax.tree.map(lambda new, old: jnp.where(is_over.reshape(-1, *[1] * (new.ndim - 1)), old, new), parameters, best)
    return {k: np.asarray(v) for k, v in chosen.items()}, np.where(is_over, lowest, history[-1])


def check_settled(looks: np.ndarray, steps: int) -> None:
    """Refuse a calibration whose loss is not finite, never fell, or still falls.

    Parameters
    ----------
    looks : (look, member) loss per patient held out, the first before any step.

    Raises
    ------
    InferenceError
        Unless the last third gained less than 5 % of all.
    """
    third = max(1, len(looks) // 3)
    gained = looks[0] - looks.min(axis=0)
    still = looks[:-third].min(axis=0) - looks[-third:].min(axis=0)
    if not np.isfinite(looks).all() or (gained <= 0).any() or (still > 0.05 * gained).any():
        raise InferenceError(
            "the calibration did not settle",
            seen=f"loss {looks[0].mean():.3f} to {looks[-1].mean():.3f} per patient; {float(still.max()):.3f} gained in the last third",
            expected="finite, and less than 5 % of the gain in the last third",
            fix=f"more than {steps} steps, or the copula",
        )
