"""What a meal is made of: fat and protein as slow carbohydrate equivalents, absorption speed, and meals whose size and time are uncertain.

Everything here becomes events of plans, so that any forecast can be made over an ensemble of meals. The fifteen parameters of the identification and what
calibration reads are untouched: the stream has taken what was logged as it was logged, and only what is still to come is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from gemel.core.code import Code
from gemel.core.errors import DomainError
from gemel.core.record import Exposure, PatientRecord
from gemel.core.time import MINUTE, local_minutes_of_day
from gemel.engine.forecast import forecast
from gemel.engine.keys import stream
from gemel.engine.plan import Plan
from gemel.engine.prior import ASSUMED
from gemel.engine.twin import Twin
from gemel.twins.metabolic import observe
from gemel.twins.metabolic.priors import Constant, fixed

__all__ = [
    "ABSORPTION", "FAT", "MEAL_CONSTANTS", "PROTEIN", "Meal", "Spread", "absorption_minutes", "eating_minutes", "equivalent", "fat_protein_units",
    "meal_draws", "meal_plan", "meals", "spread_by_meals",
]  # fmt: skip

FAT, PROTEIN = Code.parse("gemel:fat-intake", "Fat intake"), Code.parse("gemel:protein-intake", "Protein intake")
PANKOWSKA = "Pankowska et al. 2009, doi:10.1111/j.1399-5448.2008.00471.x; second-hand, from descriptions of the method"
LOOP = "the three choices of the Loop app (Loop issue 2157), second-hand; 5 h from its users"

MEAL_CONSTANTS: dict[str, Constant] = {
    "fat_energy": Constant(9.0, "kcal/g", "Atwater factor for fat", "energy per gram of fat"),
    "protein_energy": Constant(4.0, "kcal/g", "Atwater factor for protein", "energy per gram of protein"),
    "unit_energy": Constant(100.0, "kcal", PANKOWSKA, "energy from fat and protein of one fat-protein unit"),
    "unit_carbohydrate": Constant(10.0, "g", PANKOWSKA, "carbohydrate equivalent of one unit"),
    "equivalent_share": Constant(0.7, "1", ASSUMED, "median share of it that really appears; below one, for a trial of dosing by units saw more hypoglycaemia (doi:10.1186/s12986-023-00757-w)"),
    "equivalent_spread": Constant(0.6, "1", ASSUMED, "standard deviation of its logarithm: 90 % of people and meals between 0.26 and 1.9"),
    "equivalent_time_spread": Constant(0.25, "1", ASSUMED, "standard deviation of the logarithm of the time over which it appears"),
    "fat_slowing": Constant(1.0, "min/g", ASSUMED, "by how much a gram of fat lengthens the absorption of the carbohydrate beside it"),
    "absorption_spread": Constant(0.3, "1", ASSUMED, "standard deviation of the logarithm of an absorption time"),
    "time_sd": Constant(10.0, "min", ASSUMED, "standard deviation of the time of a meal ahead: within 20 min of what was said in 95 of 100"),
}  # fmt: skip
"""Constants of this file, with unit and source, as in ``priors.py``."""

ABSORPTION = {"fast": 30.0, "medium": 180.0, "slow": 300.0}
"""Minutes over which the words say that carbohydrate is absorbed. Medium is the person's own gut as it was identified."""

_UNITS, _HOURS = (1.0, 2.0, 3.0, 4.0), (3.0, 4.0, 5.0, 8.0)  # Pankowska 2009: one, two, three, more than three units
_NOTE = re.compile(r"absorption[:\s]+(?:(fast|medium|slow)\b|(\d+(?:\.\d+)?)\s*(min|h)\b)", re.IGNORECASE)
_NEAR = 15.0
"""Minutes within which fat and protein belong to a logged meal. ASSUMED."""


def _constant(name: str) -> float:
    return MEAL_CONSTANTS[name].value


@dataclass(frozen=True)
class Meal:
    """A meal as it was told, and how sure its size is.

    Parameters
    ----------
    start : model time, minutes since the twin's epoch.
    carbohydrate, fat, protein : g.
    window : 0 breakfast, 1 lunch, 2 dinner: the gut through which it runs.
    length : minutes of eating as logged.
    absorption : minutes over which its carbohydrate is said to be absorbed; ``None`` when nobody said so (the person's own gut).
    cv : coefficient of variation of the amount of carbohydrate.
    """

    start: float
    carbohydrate: float
    window: int
    fat: float = 0.0
    protein: float = 0.0
    length: float = fixed("meal_minutes")
    absorption: float | None = None
    cv: float = fixed("meal_cv")

    def __post_init__(self) -> None:
        amounts = (self.carbohydrate, self.fat, self.protein, self.length, self.cv)
        if not np.isfinite((self.start, *amounts)).all() or min(amounts) < 0 or self.window not in (0, 1, 2):
            raise DomainError("not a meal", seen=repr(self), expected="finite amounts of at least 0 g, window 0, 1 or 2")


def absorption_minutes(said: str | float) -> float:
    """Return an absorption time in minutes from a word (``fast``, ``medium``, ``slow``) or from minutes.

    Examples
    --------
    >>> absorption_minutes("slow"), absorption_minutes(240)
    (300.0, 240.0)
    """
    if isinstance(said, str):
        if said.lower() not in ABSORPTION:
            raise DomainError("no absorption speed has this name", seen=said, expected=f"one of {', '.join(ABSORPTION)}, or minutes")
        return ABSORPTION[said.lower()]
    if not 0.0 < said <= 720.0:
        raise DomainError("not a time of absorption", seen=f"{said} min", expected="more than 0 and at most 720 min")
    return float(said)


def eating_minutes(absorption: float, *, length: float = fixed("meal_minutes")) -> float:
    """Return over how many minutes a meal enters the stomach so that its mean appearance moves as its absorption time says.

    A symmetric absorption over ``T`` has its mean at ``T / 2``; an even input over ``d`` at ``d / 2`` before the gut. So ``d`` is longer than that of an
    ordinary meal by ``T`` less the medium time. A minute is the least: nothing appears faster than the person's own gut lets through, so *fast*
    moves the mean by a few minutes only. This is a limit of the equations, not of the food.

    Examples
    --------
    >>> eating_minutes(300.0), eating_minutes(30.0)
    (135.0, 1.0)
    """
    return max(1.0, length + absorption - ABSORPTION["medium"])


def fat_protein_units(fat: float, protein: float) -> float:
    """Return fat-protein units: 100 kcal of fat and protein each.

    References
    ----------
    Pankowska et al. 2009, doi:10.1111/j.1399-5448.2008.00471.x.

    Examples
    --------
    >>> round(fat_protein_units(28.0, 16.0), 2)
    3.16
    """
    return (_constant("fat_energy") * fat + _constant("protein_energy") * protein) / _constant("unit_energy")


def equivalent(fat: float, protein: float) -> tuple[float, float]:
    """Return the published carbohydrate equivalent (g) of fat and protein and the minutes over which it appears, before any uncertainty.

    Three, four and five hours for one, two and three units, eight for more: straight lines between them, so that a gram changes little.

    Examples
    --------
    >>> equivalent(0.0, 50.0)
    (20.0, 240.0)
    """
    units = fat_protein_units(fat, protein)
    return _constant("unit_carbohydrate") * units, 60.0 * float(np.interp(units, _UNITS, _HOURS))


def _said(exposure: Exposure) -> float | None:
    """Absorption time that stands in the note of an exposure (``absorption slow``, ``absorption 240 min``)."""
    found = _NOTE.search(exposure.note)
    if found is None:
        return None
    word, number, unit = found.groups()
    return absorption_minutes(word) if word else absorption_minutes(float(number) * (60.0 if unit.lower() == "h" else 1.0))


def meals(record: PatientRecord, now: int, *, epoch: int) -> tuple[Meal, ...]:
    """Return the meals that were known at ``now``, with fat, protein and absorption speed where someone said so.

    Fat and protein within a quarter of an hour of a meal belong to it; else they are a meal without carbohydrate. The coefficient of variation
    is that of the exposure, where its source knows it, else 30 %, and 40 % where carbohydrate was derived from energy.

    Parameters
    ----------
    record : meals in its exposures; absorption speed in their notes (``absorption slow``, ``absorption 240 min``).
    now : ns UTC.
    epoch : time zero of the twin, ns UTC.
    """
    known = record.as_of(now)
    carbs_at = {e.start for e in known.find_exposures(observe.CARBOHYDRATE)}
    found: list[Meal] = []
    for e in known.find_exposures(observe.CARBOHYDRATE, observe.ENERGY):
        if e.quantity is None or (e.code == observe.ENERGY and e.start in carbs_at):
            continue
        is_energy = e.code == observe.ENERGY
        grams = e.quantity.in_unit("kcal") * fixed("energy_share") / fixed("energy_density") if is_energy else e.quantity.in_unit("g")
        if grams <= 0:
            continue
        cv = fixed("meal_cv_food" if is_energy else "meal_cv") if e.uncertainty is None else e.uncertainty
        length = max((e.end - e.start) / MINUTE, fixed("meal_minutes"))
        found.append(Meal((e.start - epoch) / MINUTE, grams, _window(known, e.start), length=length, absorption=_said(e), cv=cv))
    for code, name in ((FAT, "fat"), (PROTEIN, "protein")):
        for e in known.find_exposures(code):
            if e.quantity is None or e.quantity.value <= 0:
                continue
            at, grams = (e.start - epoch) / MINUTE, e.quantity.in_unit("g")
            near = min(range(len(found)), key=lambda i: abs(found[i].start - at), default=None)
            if near is None or abs(found[near].start - at) > _NEAR:
                found.append(Meal(at, 0.0, _window(known, e.start)))
                near = len(found) - 1
            found[near] = replace(found[near], **{name: getattr(found[near], name) + grams})
    return tuple(sorted(found, key=lambda m: m.start))


def _window(record: PatientRecord, time: int) -> int:
    return int(np.argmax(observe._weights(local_minutes_of_day(np.array([time]), record.demographics.zone))[0]))


@dataclass(frozen=True)
class _Draw:
    """One draw of everything uncertain of one meal: factors around one, and minutes by which it is later."""

    amount: float = 1.0
    later: float = 0.0
    absorption: float = 1.0
    share: float = 1.0
    time: float = 1.0


def _events(meal: Meal, draw: _Draw, now: float) -> list[tuple[float, float, float, int]]:
    """Return what of a meal is still to come after ``now`` as events, and for a meal already eaten what the stream was told of it, scaled.

    A meal that was eaten keeps its time and length: the stream has already put it into the gut, and moving it would feed part of it twice. Of its
    fat and protein, which the stream knows nothing of, the part that lies ahead is added.
    """
    channel, out = 1 + meal.window, []
    eaten = meal.start < now
    start = meal.start if eaten else max(now, meal.start + draw.later)
    if meal.carbohydrate > 0:
        length = meal.length
        if not eaten and (meal.absorption is not None or meal.fat > 0):
            whole = ABSORPTION["medium"] if meal.absorption is None else meal.absorption
            length = eating_minutes((whole + _constant("fat_slowing") * meal.fat) * draw.absorption, length=meal.length)
        out.append((start, length, meal.carbohydrate * draw.amount, channel))
    grams, minutes = equivalent(meal.fat, meal.protein)
    minutes *= draw.time
    begin = max(start, now)
    left = max(0.0, start + minutes - begin)
    if grams > 0 and left > 0:
        out.append((begin, left, grams * _constant("equivalent_share") * draw.share * left / minutes, channel))
    return out


def _known_meals(twin: Twin) -> tuple[Meal, ...]:
    """Meals as the twin's own plan has them: no fat, no protein, no speed."""
    cv = fixed("meal_cv_food" if twin.observed.counts.get("meals from energy", 0) else "meal_cv")
    return tuple(Meal(s, a, c - 1, length=d, cv=cv) for s, d, a, c in twin.observed.plan.events if c > 0)


def _parts(twin: Twin, told: Sequence[Meal] | None) -> tuple[list[tuple[float, float, float, int]], tuple[Meal, ...], float]:
    insulin = [e for e in twin.observed.plan.events if e[3] == 0]
    now = float(twin.model_time(np.asarray([twin.now]))[0])
    return insulin, _known_meals(twin) if told is None else tuple(told), now


def meal_plan(twin: Twin, told: Sequence[Meal] | None = None) -> Plan:
    """Return the known plan with these meals in the place of its own, fat, protein and speed included, every uncertain factor at its median.

    Parameters
    ----------
    twin : insulin is taken from what it knows.
    told : as :func:`meals` returns them; left out, the meals the twin knows of.
    """
    insulin, found, now = _parts(twin, told)
    return Plan.of([*insulin, *(e for m in found for e in _events(m, _Draw(), now))], smallest=32)


def meal_draws(twin: Twin, n: int, *, key: PRNGKeyArray, told: Sequence[Meal] | None = None) -> list[Plan]:
    """Return ``n`` plans that differ in what is not known of the meals: size, time, speed, and the worth of fat and protein.

    Sizes are log-normal with the logged amount as mean. A meal ahead is moved by a normal time (standard deviation 10 min), never to before *now*; one
    already eaten keeps its time. Of a meal already eaten only what has not yet entered the gut can still change: its past is the stream's.

    Parameters
    ----------
    twin : at its *now*.
    n : plans.
    key : the same key gives the same plans.
    told : meals as :func:`meals` returns them; left out, the meals the twin knows of.
    """
    insulin, found, now = _parts(twin, told)
    z = np.asarray(jax.random.normal(stream(key, "meals"), (n, len(found), 5)))
    # Two events for each meal at most: one size for all plans, so that one program serves them.
    size = len(insulin) + 2 * len(found)
    out = []
    for row in z:
        events = list(insulin)
        for meal, (a, t, s, w, d) in zip(found, row, strict=True):
            sd = np.sqrt(np.log1p(meal.cv**2))
            draw = _Draw(
                float(np.exp(sd * a - sd**2 / 2)), _constant("time_sd") * float(t), float(np.exp(_constant("absorption_spread") * s)),
                float(np.exp(_constant("equivalent_spread") * w)), float(np.exp(_constant("equivalent_time_spread") * d)),
            )  # fmt: skip
            events += _events(meal, draw, now)
        out.append(Plan.of(events, smallest=max(32, size)))
    return out


@dataclass(frozen=True)
class Spread:
    """A forecast over an ensemble of plans, and what part of its spread the plans add.

    ``draws`` is (plan x draw, time) in the unit of the first output; ``known`` and ``total`` are standard deviations at each time, with each plan's own mean
    and with all plans together; ``reason`` says why there are no draws.
    """

    draws: Float[np.ndarray, "draw time"]
    known: Float[np.ndarray, " time"]
    total: Float[np.ndarray, " time"]
    reason: str = ""

    @property
    def added(self) -> Float[np.ndarray, " time"]:
        """Standard deviation that the meals add: of the plans' means."""
        return np.sqrt(np.maximum(self.total**2 - self.known**2, 0.0))


def spread_by_meals(twin: Twin, plans: Sequence[Plan], times: np.ndarray, *, n: int = 96, key: PRNGKeyArray) -> Spread:
    """Forecast under every plan with the same draws and noise, and split the variance into that within plans and that between them.

    Parameters
    ----------
    twin, times, key : as in ``forecast``.
    plans : of :func:`meal_draws`.
    n : draws of each plan.
    """
    made = [forecast(twin, p, times, n=n, key=key, name="meals drawn") for p in plans]
    refused = next((f for f in made if not len(f.draws)), None)
    if refused is not None:
        empty = np.zeros(0)
        return Spread(np.zeros((0, len(times))), empty, empty, refused.reason)
    each = np.stack([f.draws[:, :, 0] for f in made])
    within, between = each.var(axis=1).mean(axis=0), each.mean(axis=1).var(axis=0)
    return Spread(each.reshape(-1, each.shape[2]), np.sqrt(within), np.sqrt(within + between))
