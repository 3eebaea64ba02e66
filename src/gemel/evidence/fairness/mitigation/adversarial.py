"""Adversarial debiasing: a predictor from whose output another network cannot tell the group.

The predictor follows its own gradient less its part along the adversary's, less ``alpha`` times the adversary's: ``grad_P - proj_{grad_A} grad_P - alpha grad_A``.
Gradients are written out; there is no other network library in it.

References
----------
Zhang, Lemoine and Mitchell 2018, doi:10.1145/3278721.3278779, equation 1 and section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from gemel.core.errors import EvidenceError

__all__ = ["Predictor", "train_adversarial"]

Goal = Literal["equalised odds", "demographic parity"]
AHEAD, FASTER = 5, 10.0
"""Steps of the adversary per step of the predictor, and how much longer they are: an adversary that lags is led past independence to the other side."""


@dataclass(frozen=True)
class Predictor:
    """A network of one hidden layer, or a line where ``hidden`` is 0; ``weights`` are all its numbers in a row."""

    weights: np.ndarray
    columns: int
    hidden: int

    def __call__(self, features: Float[np.ndarray, "row column"]) -> Float[np.ndarray, " row"]:
        """Return probabilities."""
        return 1 / (1 + np.exp(-np.clip(self.forward(features)[0], -30, 30)))

    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return the hidden weights (column, unit), their offsets, the output weights and the output's offset."""
        d, h = self.columns, self.hidden
        if h == 0:
            return np.zeros((d, 0)), np.zeros(0), self.weights[:d], float(self.weights[d])
        return self.weights[: d * h].reshape(d, h), self.weights[d * h : d * h + h], self.weights[d * h + h : -1], float(self.weights[-1])

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (row,) logits and (row, unit) what the output reads."""
        w1, b1, w2, b2 = self.parts()
        inner = np.tanh(x @ w1 + b1) if self.hidden else x
        return inner @ w2 + b2, inner

    def backward(self, x: np.ndarray, inner: np.ndarray, on_logit: np.ndarray) -> np.ndarray:
        """Return the gradient of the weights from the gradient (row,) of the logits."""
        out = np.r_[inner.T @ on_logit, on_logit.sum()]
        if not self.hidden:
            return out
        on_inner = np.outer(on_logit, self.parts()[2]) * (1 - inner**2)
        return np.r_[(x.T @ on_inner).ravel(), on_inner.sum(axis=0), out]


@dataclass(frozen=True)
class Adversary:
    """Softmax regression of the group on ``s = sigmoid((1 + |c|) logit)``, and on ``s y`` and ``s (1 - y)`` where the goal is equalised odds."""

    weights: np.ndarray
    groups: int
    goal: Goal

    @property
    def inputs(self) -> int:
        """How many numbers it reads."""
        return 3 if self.goal == "equalised odds" else 1

    def loss(self, logit: np.ndarray, y: np.ndarray, each: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return its cross-entropy, the gradient of its own weights and that of the logits, both per row on average."""
        c, v = self.weights[0], self.weights[1:].reshape(self.inputs + 1, self.groups)
        s = 1 / (1 + np.exp(-np.clip((1 + abs(c)) * logit, -30, 30)))
        ways = np.column_stack([np.ones_like(s), y, 1 - y])[:, : self.inputs]
        read = np.column_stack([s[:, None] * ways, np.ones_like(s)])
        z = read @ v
        z -= z.max(axis=1, keepdims=True)
        log = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        on_z = (np.exp(log) - each) / len(s)
        on_s = ((on_z @ v[:-1].T) * ways).sum(axis=1) * s * (1 - s)
        return float(-(each * log).sum() / len(s)), np.r_[np.sign(c) * (on_s @ logit), (read.T @ on_z).ravel()], on_s * (1 + abs(c))


class _Adam:
    def __init__(self, size: int, rate: float) -> None:
        self.m, self.v, self.t, self.rate = np.zeros(size), np.zeros(size), 0, rate

    def step(self, gradient: np.ndarray) -> np.ndarray:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        return self.rate * (self.m / (1 - 0.9**self.t)) / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)


def train_adversarial(
    features: Float[np.ndarray, "row column"], outcome: Float[np.ndarray, " row"], group: np.ndarray, *, goal: Goal = "equalised odds", alpha: float = 1.0,
    hidden: int = 16, epochs: int = 60, batch: int = 256, rate: float = 0.005, seed: int = 0,
) -> Predictor:  # fmt: skip
    """Train a predictor against an adversary that guesses the group.

    Parameters
    ----------
    features : (row, column) standardised.
    outcome : (row,) 0 or 1.
    group : (row,) labels, two or more.
    goal : what the adversary may know besides the prediction: the outcome, or nothing.
    alpha : strength; 0 trains without an adversary and without the projection.
    hidden : units of the hidden layer; 0, a logistic regression.
    epochs, batch, rate : of the predictor's Adam, whose steps shrink to nothing; the adversary keeps ahead of it.
    seed : of the first weights and the order of the rows.

    Raises
    ------
    EvidenceError
        When there is one group only, or rows differ in number.
    """
    x, y = np.asarray(features, float), np.asarray(outcome, float)
    names, place = np.unique(group, return_inverse=True)
    if len(names) < 2 or not len(x) == len(y) == len(place):
        raise EvidenceError("an adversary needs two groups and rows of one length", seen=(list(names)[:3], len(x), len(y), len(place)))
    each = np.eye(len(names))[place.reshape(-1)]
    rng = np.random.default_rng(seed)
    d = x.shape[1]
    first = (
        np.zeros(d + 1)
        if not hidden
        else np.r_[rng.normal(0, d**-0.5, d * hidden), np.zeros(hidden), rng.normal(0, hidden**-0.5, hidden), 0.0]
    )
    predictor = Predictor(first, d, hidden)
    adversary = Adversary(np.zeros(0), len(names), goal)
    adversary = Adversary(np.r_[1.0, rng.normal(0, 0.1, (adversary.inputs + 1) * len(names))], len(names), goal)
    own, other = _Adam(len(first), rate), _Adam(len(adversary.weights), FASTER * rate)
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for begin in range(0, len(x), batch):
            rows = order[begin : begin + batch]
            logit, inner = predictor.forward(x[rows])
            gradient = predictor.backward(x[rows], inner, (1 / (1 + np.exp(-np.clip(logit, -30, 30))) - y[rows]) / len(rows))
            if alpha > 0:
                for _ in range(AHEAD):
                    adversary = Adversary(adversary.weights - other.step(adversary.loss(logit, y[rows], each[rows])[1]), len(names), goal)
                against = predictor.backward(x[rows], inner, adversary.loss(logit, y[rows], each[rows])[2])
                gradient = combine(gradient, against, alpha)
            slower = 0.5 * (1 + np.cos(np.pi * epoch / epochs))
            predictor = Predictor(predictor.weights - slower * own.step(gradient), d, hidden)
    return predictor


def combine(own: np.ndarray, against: np.ndarray, alpha: float) -> np.ndarray:
    """Return ``own - proj_against(own) - alpha against``: a step along it does not help the adversary, whatever it does for the predictor."""
    size = float(against @ against)
    return own - (own @ against / size if size > 1e-30 else 0.0) * against - alpha * against
