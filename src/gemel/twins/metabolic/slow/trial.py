"""An intervention on virtual people with type 2 diabetes: energy deficit, activity, adherence, drugs withdrawn by a rule; and what follows in a year.

Everything here is a consequence of the model under stated assumptions. Nothing is fitted to the trial whose criteria are used: its published figures stand
beside, as context. What no data inform (links from weight to insulin sensitivity and beta cells, adherence, the rule of withdrawal) is ASSUMED and named
in :data:`ASSUMED`.

References
----------
Criteria: registration NCT05181449 (age 18 to 75, duration at most 15 years, BMI at least 27, HbA1c 7.5 to 11 %, or below 7.5 % on at least one drug).
Published: 71 against 2.4 % below 6.5 % without drugs other than metformin after a year, weight -8.6 against -4.6 % (NEJM Catalyst 2025, as reported by
the investigators' institution; second-hand).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from gemel.engine.keys import stream
from gemel.twins.metabolic.slow._external import COMMON, shifted
from gemel.twins.metabolic.slow.model import SlowModel
from gemel.twins.metabolic.slow.priors import DRUGS, fixed
from gemel.twins.metabolic.slow.virtual import Criteria, Phase, Population, sample, simulate

__all__ = [
    "ASSUMED", "COACHED", "PEOPLE", "PUBLISHED", "USUAL", "Arm", "Outcomes", "Programme", "Withdrawal", "arms", "assumption_map",
    "deprescribing", "enrolled", "outcomes",
    "with_common",
]  # fmt: skip

PEOPLE = Criteria(
    age=(58.5, 9.0, 18.0, 75.0), mass_index=(35.0, 5.0, 27.0, 55.0), duration=(7.0, 4.0, 0.0, 15.0), hba1c=(7.4, 0.9, 6.0, 11.0),
    drugs={"metformin": 0.85, "sulfonylurea": 0.25, "glp1": 0.3, "gliflozin": 0.3, "gliptin": 0.1}, insulin=0.15,
)  # fmt: skip
"""The registered bounds; the mean age as published; means, spreads and drugs else ASSUMED. Who is below 7.5 % without a drug is drawn again."""

PUBLISHED = {"coached": 0.71, "usual": 0.024, "coached weight": -0.086, "usual weight": -0.046}
"""Share at the endpoint and relative change of weight."""

LAST, HORIZON = 364, 366
_METFORMIN = list(DRUGS).index("metformin")


@dataclass(frozen=True)
class Withdrawal:
    """When drugs other than metformin stop: on this day, for everyone whose HbA1c (%) as measured then lies below ``below``. ASSUMED."""

    day: int = 90
    below: float = 7.0


@dataclass(frozen=True)
class Programme:
    """What an arm is offered. ASSUMED, from what coached and usual care reach in weight elsewhere, not from the trial.

    Parameters
    ----------
    deficit, deficit_sd : kcal/d below balance that is asked for, between people.
    activity : change of the physical activity level that is asked for.
    adherence : parameters of the Beta law of the share of both that is kept.
    withdrawal : rule; ``None`` leaves drugs as they are.
    """

    deficit: float = 500.0
    deficit_sd: float = 120.0
    activity: float = 0.1
    adherence: tuple[float, float] = (5.0, 3.0)
    withdrawal: Withdrawal | None = Withdrawal()


COACHED = Programme()
USUAL = Programme(deficit=250.0, deficit_sd=80.0, activity=0.03, adherence=(3.0, 4.0), withdrawal=Withdrawal(day=90, below=6.0))

ASSUMED = (
    "adherence: Beta(5, 3) when coached, Beta(3, 4) in usual care, constant over the year",
    "deficit asked for: 500 and 250 kcal/d; glucose follows energy, not the composition of meals",
    "drugs other than metformin stop after three months below 7.0 % (coached) or 6.0 % (usual care), all at once, and do not return within the year",
    "insulin sensitivity and beta-cell function rise with weight lost by links that no individual data inform",
    "nobody drops out",
)


@dataclass(frozen=True)
class Outcomes:
    """What became of each person after a year.

    Parameters
    ----------
    reached : HbA1c as measured below 6.5 % without a drug other than metformin. hba1c : %, as measured. weight : relative change. drug_free : no such drug.
    """

    reached: np.ndarray
    hba1c: Float[np.ndarray, " person"]
    weight: Float[np.ndarray, " person"]
    drug_free: np.ndarray


@dataclass(frozen=True)
class Arm:
    """Figures of one arm over replicas of the trial: median and 90 % predictive interval of the share at the endpoint and of the change of weight."""

    name: str
    share: tuple[float, float, float]
    weight: tuple[float, float, float]
    shares: Float[np.ndarray, " replica"]


def _measured(rng: np.random.Generator, hba1c: np.ndarray) -> np.ndarray:
    return hba1c * np.exp(fixed("hba1c_error") * rng.normal(size=len(hba1c)))


def _rng(key: PRNGKeyArray, name: str) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(stream(key, name))).astype(np.uint32).tolist())


def outcomes(population: Population, programme: Programme, *, key: PRNGKeyArray, model: SlowModel | None = None) -> Outcomes:
    """Carry everyone through a year of a programme.

    Parameters
    ----------
    population : with at least 366 days (:func:`gemel.twins.metabolic.slow.virtual.sample`).
    programme : what is offered. key : adherence, deficits and errors of measurement: the same key gives the same people the same luck in any programme.
    """
    rng, n = _rng(key, "luck"), population.size
    keeps, energy = _kept(programme, rng, n)
    activity = keeps * programme.activity
    shares, insulin = np.asarray(population.shares), np.asarray(population.insulin)
    others = (np.delete(shares, _METFORMIN, axis=1) > 0).any(axis=1) | (insulin > 0)
    rule = programme.withdrawal
    if rule is None:
        year = simulate(population, [Phase(1, LAST + 1, energy, activity)], days=(0, LAST), model=model)
        stops = np.zeros(n, bool)
    else:
        so_far = simulate(population, [Phase(1, LAST + 1, energy, activity)], days=(0, rule.day), model=model)
        stops = others & (_measured(rng, so_far.hba1c[:, 1]) < rule.below)
        bare = np.zeros_like(shares)
        bare[:, _METFORMIN] = shares[:, _METFORMIN]
        after = Phase(rule.day, LAST + 1, energy, activity, np.where(stops[:, None], bare, shares), np.where(stops, 0.0, insulin))
        year = simulate(population, [Phase(1, rule.day, energy, activity), after], days=(0, LAST), model=model)
    shown, free = _measured(rng, year.hba1c[:, 1]), ~others | stops
    return Outcomes((shown < 6.5) & free, shown, year.weight[:, 1] / year.weight[:, 0] - 1.0, free)


def _kept(programme: Programme, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw what each person keeps of a programme: the share, and the change of intake (kcal/d)."""
    keeps = np.clip(_beta(rng, programme.adherence, n), 0.0, 1.0)
    return keeps, -keeps * np.maximum(programme.deficit + programme.deficit_sd * rng.normal(size=n), 0.0)


def _beta(rng: np.random.Generator, law: tuple[float, float], n: int) -> np.ndarray:
    a, b = rng.gamma(law[0], size=n), rng.gamma(law[1], size=n)
    return a / (a + b)


def with_common(population: Population, common: Sequence[float], model: SlowModel | None = None) -> Population:
    """Return the people with the part of their parameters that is common to all and unknown put at ``common`` (standard normal, one per :data:`COMMON`)."""
    prior = (SlowModel() if model is None else model).prior
    return eqx.tree_at(lambda p: p.parameters, population, shifted(population, prior, np.asarray(common)))


def enrolled(n: int, *, key: PRNGKeyArray, criteria: Criteria = PEOPLE) -> Population:
    """Draw people who meet the criteria, the rule on drugs below 7.5 % included."""
    found = sample(round(1.3 * n) + 32, key=key, criteria=criteria, days=HORIZON)
    any_drug = (np.asarray(found.shares) > 0).any(axis=1) | (np.asarray(found.insulin) > 0)
    able = np.flatnonzero((np.asarray(found.hba1c) >= 7.5) | any_drug)[:n]
    return found.take(able)


def arms(
    population: Population, *, sizes: tuple[int, int] = (100, 50), programmes: tuple[Programme, Programme] = (COACHED, USUAL), replicas: int = 200,
    key: PRNGKeyArray,
) -> tuple[Arm, Arm]:  # fmt: skip
    """Return what a trial of these sizes would show, over what is unknown about everyone at once and over who is enrolled.

    Each replica takes its own people and its own draw of the common parameters: the interval is predictive.
    """
    rng, told = _rng(key, "replicas"), ([], [])
    weights: tuple[list[float], list[float]] = ([], [])
    for i in range(replicas):
        chosen = population.take(rng.choice(population.size, sum(sizes), replace=False))
        chosen = with_common(chosen, rng.normal(size=len(COMMON)))
        for k, (programme, rows) in enumerate(zip(programmes, (slice(0, sizes[0]), slice(sizes[0], None)), strict=True)):
            out = outcomes(chosen, programme, key=jax.random.fold_in(key, i))
            told[k].append(float(out.reached[rows].mean()))
            weights[k].append(float(out.weight[rows].mean()))

    def three(values: list[float]) -> tuple[float, float, float]:
        return tuple(float(x) for x in np.quantile(values, [0.05, 0.5, 0.95]))  # type: ignore[return-value]

    first, second = (
        Arm(name, three(s), three(w), np.array(s)) for name, s, w in zip(("coached", "usual care"), told, weights, strict=True)
    )
    return first, second


def assumption_map(
    population: Population, *, deficits: Sequence[float] = (250.0, 500.0, 750.0, 1000.0), kept: Sequence[float] = (0.4, 0.6, 0.8, 1.0),
    reserve: Sequence[float] = (1.0, 1.5, 2.5), key: PRNGKeyArray,
) -> Float[np.ndarray, "reserve deficit kept"]:  # fmt: skip
    """Return the share at the endpoint under each assumption: which of them would give a published figure.

    Parameters
    ----------
    deficits : kcal/d asked for. kept : mean adherence. reserve : factor on how much beta-cell function recovers with weight lost.
    """
    out = np.zeros((len(reserve), len(deficits), len(kept)))
    for i, factor in enumerate(reserve):
        people = eqx.tree_at(
            lambda p: p.parameters, population, population.parameters | {"recovery": population.parameters["recovery"] * factor}
        )
        for j, deficit in enumerate(deficits):
            for k, mean in enumerate(kept):
                law = (1e6, 1.0) if mean >= 1.0 else (8.0 * mean, 8.0 * (1.0 - mean))
                programme = replace(COACHED, deficit=deficit, adherence=law)
                out[i, j, k] = outcomes(people, programme, key=key).reached.mean()
    return out


def deprescribing(population: Population, *, programme: Programme = COACHED, key: PRNGKeyArray) -> dict[str, dict[str, float]]:
    """Return what follows a year after withdrawals that are done whatever is measured, under a programme: for whom, HbA1c, and shares below 6.5 and 7 %.

    Plans: insulin withdrawn (of those on it), GLP-1 agonists withdrawn (of those on them), everything but metformin, everything. Consequences of the model
    under :data:`ASSUMED`, not advice.
    """
    rng, n = _rng(key, "luck"), population.size
    keeps, energy = _kept(programme, rng, n)
    shares, insulin = np.asarray(population.shares), np.asarray(population.insulin)
    glp1 = list(DRUGS).index("glp1")
    bare, without = np.zeros_like(shares), shares.copy()
    bare[:, _METFORMIN], without[:, glp1] = shares[:, _METFORMIN], 0.0
    others = (np.delete(shares, _METFORMIN, axis=1) > 0).any(axis=1) | (insulin > 0)
    plans = {
        "nothing withdrawn": (shares, insulin, np.ones(n, bool)),
        "insulin withdrawn": (shares, np.zeros(n), insulin > 0),
        "GLP-1 agonist withdrawn": (without, insulin, shares[:, glp1] > 0),
        "everything but metformin withdrawn": (bare, np.zeros(n), others),
        "everything withdrawn": (np.zeros_like(shares), np.zeros(n), others | (shares[:, _METFORMIN] > 0)),
    }
    out = {}
    for name, (kept, units, who) in plans.items():
        phases = [Phase(1, 90, energy, keeps * programme.activity), Phase(90, LAST + 1, energy, keeps * programme.activity, kept, units)]
        year = simulate(population, phases, days=(0, LAST))
        end = year.hba1c[who, 1]
        out[name] = {
            "people": int(who.sum()), "hba1c": float(end.mean()) if len(end) else float("nan"),
            "change": float((end - year.hba1c[who, 0]).mean()) if len(end) else float("nan"),
            "below 6.5": float((end < 6.5).mean()) if len(end) else float("nan"), "below 7": float((end < 7.0).mean()) if len(end) else float("nan"),
        }  # fmt: skip
    return out
