"""T1: a neural linear-Gaussian state space of control patients, conditional on baseline and on visits so far.

An ensemble: each member is calibrated from another start, with other patients held out, and a drawn patient comes from one of them. The joint law is that of
:mod:`gemel.trials.generate.joint`. Values are marginalised exactly where missing; intervals (few steps, floors, leaving, event) by assumed density.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError
from gemel.core.lineage import digest
from gemel.trials.generate.copula import Copula
from gemel.trials.generate.marginal import EDGE, Marginal
from gemel.trials.generate.panel import Panel, Variable

__all__ = ["HAZARDS", "StateSpace", "inputs_of", "rows_of"]

HAZARDS = 2
"""Readings beside the variables: leaving, and the event."""

_CHUNK = 256
"""Patients that are filtered at once: one compiled program for any number of them."""


def inputs_of(marginals: Sequence[Marginal], values: Float[np.ndarray, "patient variable"]) -> Float[np.ndarray, "patient input"]:
    """Return the networks' inputs: the score of each baseline variable (the middle of its interval), 0 where it is missing, and whether it is."""
    parts = []
    for m, column in zip(marginals, values.T, strict=True):
        low, high = (np.clip(end, -2.5, 2.5) for end in m.interval(column))
        parts += [np.where(np.isnan(column), 0.0, (low + high) / 2), np.isnan(column).astype(float)]
    return np.stack(parts, axis=1) if parts else np.zeros((len(values), 0))


def rows_of(panel: Panel, later: Sequence[int], marginals: Sequence[Marginal]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is known at each visit as intervals of scores: (patient, visit, variable + hazard) low, high and mask."""
    shape = (panel.n, len(panel.times), len(later) + HAZARDS)
    low, high, mask = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    for k, (j, m) in enumerate(zip(later, marginals, strict=True)):
        low[:, :, k], high[:, :, k] = m.interval(panel.values[:, :, j])
        mask[:, :, k] = ~np.isnan(panel.values[:, :, j])
    at = np.arange(shape[1])
    for h, (first, risk) in enumerate(
        (
            (panel.last, (at <= panel.last[:, None]) & (at < shape[1] - 1)),
            (panel.event, (at <= np.minimum(panel.event, panel.last)[:, None]) & (at > 0)),
        )
    ):
        happened = at == first[:, None]
        low[:, :, len(later) + h] = np.where(happened, 0.0, -EDGE)
        high[:, :, len(later) + h] = np.where(happened, EDGE, 0.0)
        mask[:, :, len(later) + h] = risk
    is_open = low < high
    return np.where(is_open & (low <= -EDGE), -np.inf, low), np.where(is_open & (high >= EDGE), np.inf, high), mask


@dataclass(frozen=True)
class StateSpace:
    """A calibrated ensemble of state spaces.

    Parameters
    ----------
    variables, times, unit, event_name : of the panel it was calibrated on.
    inputs : copula of the baseline variables, or None where there are none.
    marginals : of the variables measured at visits, over all visits; in the order of ``later``.
    parameters : name -> (member, ...) arrays of :mod:`gemel.trials.generate.joint`.
    span : unit of the model's time, in ``unit``.
    n, history : patients it was calibrated on, and their hash.
    losses : (member,) negative log likelihood per patient held out during calibration.
    """

    variables: tuple[Variable, ...]
    times: Float[np.ndarray, " visit"]
    unit: str
    inputs: Copula | None
    marginals: tuple[Marginal, ...]
    parameters: dict[str, np.ndarray]
    span: float
    n: int
    history: str
    losses: tuple[float, ...]
    has_leaving: bool
    event_name: str = ""
    kind: str = "state-space"

    @property
    def hash(self) -> str:
        """Of all its numbers."""
        parts = [[m.scores, m.values, m.has_steps, m.zero] for m in self.marginals]
        inputs = self.inputs.hash if self.inputs else ""
        return digest(
            [
                self.variables,
                self.times,
                self.unit,
                inputs,
                parts,
                self.parameters,
                self.span,
                self.n,
                self.history,
                self.losses,
                self.has_leaving,
                self.event_name,
            ]
        )

    @property
    def later(self) -> tuple[int, ...]:
        """Places of the variables measured at visits."""
        return tuple(j for j, v in enumerate(self.variables) if not v.is_baseline)

    @property
    def members(self) -> int:
        """Of the ensemble."""
        return len(self.parameters["rate"])

    def _x(self, panel: Panel) -> np.ndarray:
        known = [j for j, v in enumerate(self.variables) if v.is_baseline]
        return inputs_of(self._input_marginals(), panel.values[:, 0, known])

    def _input_marginals(self) -> list[Marginal]:
        if self.inputs is None:
            return []
        by_place = dict(zip(self.inputs.places, self.inputs.marginals, strict=True))
        return [by_place[j, 0] for j in range(len(self.inputs.variables))]

    def draw(self, n: int, *, rng: np.random.Generator) -> Panel:
        """Return new patients, before the constraints of their instruments."""
        visits = len(self.times)
        values = np.full((n, visits, len(self.variables)), np.nan)
        if self.inputs is not None:
            known = [j for j, v in enumerate(self.variables) if v.is_baseline]
            values[:, 0, known] = self.inputs.draw(n, rng=rng).values[:, 0]
        panel = Panel(self.variables, self.times, values, np.full(n, visits - 1), np.full(n, visits), self.unit, event_name=self.event_name)
        return self.draw_given(panel, 0, 1, rng=rng)[0]

    def draw_given(self, panel: Panel, visits: int, draws: int, *, rng: np.random.Generator) -> list[Panel]:
        """Return futures of known patients, given the baseline variables and the first visits.

        Parameters
        ----------
        panel : patients on the variables and times of this generator.
        visits : how many visits are known; nobody is taken to have left at the last of them.
        draws : panels to return.

        Raises
        ------
        DataError
            When the panel has other variables or times.
        """
        self._check(panel)
        x, known = self._x(panel), self._beliefs(panel, visits)
        made = []
        for _ in range(draws):
            values, last, event = panel.values.copy(), np.full(panel.n, len(self.times) - 1), np.full(panel.n, len(self.times))
            member = rng.integers(self.members, size=panel.n)
            for m in range(self.members):
                rows = np.flatnonzero(member == m)
                if len(rows):
                    mean, covariance = (a[m][rows] for a in known)
                    state = mean + np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), rng.standard_normal(mean.shape))
                    found, last[rows], event[rows] = self._ahead(m, x[rows], state, visits, rng)
                    values[np.ix_(rows, np.arange(visits, len(self.times)), np.array(self.later))] = found
            if visits:
                event = np.where(panel.event < visits, panel.event, event)
            made.append(
                Panel(
                    self.variables, self.times, values, last, event, self.unit, panel.subjects, panel.study, panel.studies, self.event_name
                )
            )
        return made

    def forecast(self, panel: Panel, visits: int, variable: str, visit: int) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of a variable at a visit, given the baseline and the first visits: the prognosis and its weight.

        Parameters
        ----------
        visits : how many visits are known.
        variable, visit : what is asked for; a visit that is not known yet.

        Returns
        -------
        (patient,) mean and variance in the variable's unit and its square.
        """
        self._check(panel)
        j = self.later.index(panel.index(variable)) if panel.index(variable) in self.later else -1
        if j < 0 or not visits <= visit < len(self.times):
            raise DataError(
                "this is not ahead",
                seen=f"{variable} at visit {visit} with {visits} known",
                expected="a variable measured at a later visit",
            )
        means, covariances = self._beliefs(panel, visits, until=visit)
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        weights = weights / weights.sum()
        first, second = np.zeros(panel.n), np.zeros(panel.n)
        for m in range(self.members):
            sd = np.sqrt(covariances[m][:, j, j] + np.exp(self.parameters["variance"][m][j]) + 1e-4)
            value = self.marginals[j].quantile(np.clip(means[m][:, j, None] + sd[:, None] * nodes, -EDGE + 1e-6, EDGE - 1e-6))
            first += value @ weights / self.members
            second += np.square(value) @ weights / self.members
        return first, second - first**2

    def _check(self, panel: Panel) -> None:
        if panel.names != tuple(v.name for v in self.variables) or not np.array_equal(panel.times, self.times):
            raise DataError(
                "the patients are of another kind",
                seen=f"{panel.names} at {panel.times}",
                expected=f"{[v.name for v in self.variables]} at {self.times}",
            )

    def _beliefs(self, panel: Panel, visits: int, until: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return (member, patient, state) means and their covariances at the last known visit, or at a later one; before any, at the start."""
        if not visits and not until:
            return self._starts(self._x(panel))
        import jax
        import jax.numpy as jnp

        from gemel.trials.generate.joint import beliefs

        upto = max(visits, 1) if until is None else until + 1
        low, high, mask = rows_of(panel, self.later, self.marginals)
        mask[:, visits:] = False
        if visits:
            mask[:, visits - 1, len(self.later) :] = False  # whether they leave, or have the event, there is not known yet
        x = self._x(panel)
        program = jax.jit(jax.vmap(beliefs, in_axes=(0, None, None)))
        parameters = {k: jnp.asarray(v) for k, v in self.parameters.items()}
        found = []
        for first in range(0, panel.n, _CHUNK):
            at = np.minimum(np.arange(first, first + _CHUNK), panel.n - 1)
            rows = {"x": x[at], "low": low[at, :upto], "high": high[at, :upto], "mask": mask[at, :upto]}
            belief = program(parameters, jnp.asarray(self.times[:upto] / self.span), rows)
            keep = min(_CHUNK, panel.n - first)
            found.append((np.asarray(belief.mean)[:, :keep], np.asarray(belief.covariance)[:, :keep]))
        return np.concatenate([f[0] for f in found], axis=1), np.concatenate([f[1] for f in found], axis=1)

    def _networks(self, m: int, x: np.ndarray) -> np.ndarray:
        """Return what the networks of one member say, (patient, start and drift of each level, and pace): as in :mod:`gemel.trials.generate.joint`."""
        p = {name: values[m] for name, values in self.parameters.items()}
        hidden = np.tanh(np.einsum("hi,ni->nh", p["in"], x) + p["in_bias"])
        return np.einsum("oh,nh->no", p["out"], hidden) + np.einsum("oi,ni->no", p["straight"], x) + p["out_bias"]

    def _starts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (member, patient, state) means and covariances before the first reading, without JAX: workers that draw need not load it."""
        k = len(self.later)
        mean = np.zeros((self.members, len(x), 2 * k))
        covariance = np.empty((self.members, len(x), 2 * k, 2 * k))
        for m in range(self.members):
            mean[m, :, :k] = self._networks(m, x)[:, :k]
            factor = np.tril(self.parameters["start"][m])
            covariance[m] = np.einsum("ij,kj->ik", factor, factor) + 1e-6 * np.eye(2 * k)
        return mean, covariance

    def _ahead(
        self, m: int, x: np.ndarray, state: np.ndarray, visits: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Carry patients of one member through the visits to come; return their values there, the last visit and the event."""
        p = {name: values[m] for name, values in self.parameters.items()}
        k, n, total = len(self.later), len(x), len(self.times)
        out = self._networks(m, x)
        drift, pace = out[:, k : 2 * k], np.exp(np.clip(out[:, 2 * k], -2, 2))
        rate = np.exp(p["rate"]) + 1e-4
        factor = np.tril(p["noise"], -1) + np.diag(np.exp(np.diag(p["noise"])))
        noise, both = np.einsum("ij,kj->ik", factor, factor), rate[:, None] + rate[None, :]
        level, slope, sd = state[:, :k], state[:, k:], np.sqrt(np.exp(p["variance"]) + 1e-4)
        values = np.empty((n, total - visits, k))
        last, event = np.full(n, total - 1), np.full(n, total)
        times = self.times / self.span
        for t in range(max(visits - 1, 0), total):
            if t > 0 and t >= visits:
                step = (pace * (times[t] - times[t - 1]))[:, None]
                gained = noise * -np.expm1(-both * step[:, :, None]) / both
                level = np.exp(-rate * step) * level - np.expm1(-rate * step) / rate * (slope + drift)
                level = level + np.einsum("nij,nj->ni", np.linalg.cholesky(gained + 1e-12 * np.eye(k)), rng.standard_normal((n, k)))
            if t >= visits:
                score = level + sd * rng.standard_normal((n, k))
                values[:, t - visits] = np.stack(
                    [q.quantile(np.clip(s, -EDGE + 1e-6, EDGE - 1e-6)) for q, s in zip(self.marginals, score.T, strict=True)], axis=1
                )
            hazard = (
                p["hazard"][:, 0]
                + p["hazard"][:, 1] * times[t]
                + np.einsum("hk,nk->nh", p["hazard_levels"], level)
                + np.einsum("hi,ni->nh", p["hazard_inputs"], x)
            )
            happens = hazard + rng.standard_normal((n, HAZARDS)) > 0
            if self.has_leaving:
                last = np.where((last == total - 1) & happens[:, 0] & (t < total - 1), t, last)
            if self.event_name and t > 0 and t >= visits:
                event = np.where((event == total) & happens[:, 1], t, event)
        return values, last, event


def to_parts(made: StateSpace) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return head and arrays of the file of a state space."""
    from gemel.trials.generate.store import to_bytes

    head = {
        "span": made.span,
        "losses": list(made.losses),
        "has_leaving": made.has_leaving,
        "event_name": made.event_name,
        "marginals": [[len(m.scores), len(m.values), m.has_steps, m.zero] for m in made.marginals],
        "has_inputs": made.inputs is not None,
    }
    arrays = {f"p.{k}": v for k, v in made.parameters.items()}
    if made.inputs is not None:
        arrays["inputs"] = np.frombuffer(to_bytes(made.inputs), np.uint8)
    scores, values = (np.concatenate([getattr(m, k) for m in made.marginals]) for k in ("scores", "values"))
    return head, arrays | {"scores": scores, "levels": values}


def from_parts(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> StateSpace:
    """Undo :func:`to_parts`."""
    from gemel.trials.generate.store import from_bytes, marginals_from, variables_from

    inputs = from_bytes(arrays["inputs"].tobytes()) if head["has_inputs"] else None
    parameters = {k[2:]: v for k, v in arrays.items() if k.startswith("p.")}
    return StateSpace(
        variables_from(head["variables"]), arrays["times"], head["unit"], inputs, marginals_from(head, arrays), parameters, head["span"], head["n"], head["history"],
        tuple(head["losses"]), head["has_leaving"], head["event_name"],
    )  # fmt: skip
