"""Carbohydrate that nobody announced, and readings that pressure made too low: what a record does not say of itself, with probabilities.

The stream carries an appearance of glucose that no logged meal explains. Where its posterior lies above a threshold, something is being absorbed beyond
what was logged: a meal, sugar against a low, more than was counted; and also a wrong insulin sensitivity, stress or a sensor that rises. A detection is a
question to the person ("did you eat?"), never a reason to dose.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import norm

from gemel.core.errors import ModelError, TimeError
from gemel.core.time import MINUTE
from gemel.engine.prior import ASSUMED
from gemel.engine.twin import Twin
from gemel.twins.metabolic._compression import CompressionLow, compression_lows, compression_suspected, marked
from gemel.twins.metabolic._minimal import MinimalState
from gemel.twins.metabolic.model import MetabolicModel
from gemel.twins.metabolic.priors import Constant, fixed

__all__ = [
    "CONSTANTS", "CompressionLow", "Episode", "Unannounced", "Watch", "WatchSettings", "compression_lows", "compression_suspected", "marked",
    "unannounced_meals",
]  # fmt: skip

LEARNT = "learnt on 28 adults drawn anew; benchmarks/metabolic_detect.py --learn fits again on other lives of theirs; ASSUMED for real ones"

CONSTANTS: dict[str, Constant] = {
    "threshold": Constant(0.1, "g/min", ASSUMED, "appearance of carbohydrate beyond what was logged that counts as eating: 6 g an hour"),
    "offset": Constant(-0.76, "1", LEARNT, "log odds of eating when the stream's mean lies at the threshold"),
    "slope": Constant(1.55, "1", LEARNT, "log odds for each standard deviation that it lies higher (an exact posterior has about 1.7)"),
    "begin": Constant(0.0073, "/min", LEARNT, "rate at which unannounced eating begins, in the watch"),
    "end": Constant(0.065, "/min", LEARNT, "rate at which it ends"),
    "weight": Constant(0.504, "1", LEARNT, "log odds of a reading for each standard deviation: below the exact 1.7, for neighbours share their noise"),
    "centre": Constant(-0.76, "1", LEARNT, "standard score at which a reading says nothing"),
    "size_at_first": Constant(5.5, "1", LEARNT, "grams eaten for each gram of the stream's when an episode is raised: appearance is drawn towards zero"),
    "size_later": Constant(2.6, "1", LEARNT, "the same long after"),
    "size_minutes": Constant(45.0, "min", ASSUMED, "over which the first becomes the second"),
    "size_spread": Constant(0.6, "1", LEARNT, "standard deviation of the logarithm of the error of a size"),
    "lag": Constant(40.0, "min", LEARNT, "by how much eating began before the watch became uncertain"),
}  # fmt: skip
"""Constants of detection, with unit and source, as in ``priors.py``."""

_APPEARANCE = tuple(f for f in MinimalState.__dataclass_fields__).index("appearance") - len(MinimalState.__dataclass_fields__)


def _constant(name: str) -> float:
    return CONSTANTS[name].value


@dataclass(frozen=True)
class Unannounced:
    """What one moment of a twin says of carbohydrate beyond what was logged.

    ``probability`` that more than ``threshold`` g/min appear now; ``posterior`` the same as the stream alone has it, before it was calibrated on virtual
    people; ``score`` by how many standard deviations the mean lies above the threshold; ``rate`` (g/min) with its 90 % interval; ``coming`` the grams
    still to come when the appearance fades as the stream expects. ``reason`` says why there is no answer: then the numbers are NaN.
    """

    time: int
    threshold: float
    probability: float = float("nan")
    posterior: float = float("nan")
    score: float = float("nan")
    rate: float = float("nan")
    interval: tuple[float, float] = (float("nan"), float("nan"))
    coming: float = float("nan")
    reason: str = ""


def grams_per_appearance(weight: float) -> float:
    """Return the grams of carbohydrate a minute behind an appearance of 1 mg/dL/min: ``VG weight / f``.

    Examples
    --------
    >>> round(grams_per_appearance(75.0), 4)
    0.1208
    """
    return fixed("VG") * weight / fixed("f") / 1000.0


def unannounced_meals(twin: Twin, *, threshold: float | None = None) -> Unannounced:
    """Return the probability that carbohydrate beyond what was logged is being absorbed at the twin's *now*.

    Appearance ``a`` (mg/dL/min) in the stream's ensemble is ``VG weight / f`` as much in g/min. Its posterior, normal as the filter has it, above a
    threshold in g/min is a probability under the model; that is made honest by one logistic line learnt on virtual people, and both are given.

    Parameters
    ----------
    twin : a twin ``metabolic`` with a stream, at its *now*.
    threshold : g/min; left out, 0.1. The calibration was learnt at 0.1.

    Raises
    ------
    ModelError
        When the twin is not of this room or has no stream.

    Notes
    -----
    Outside the room's domain (the sensor silent, say) there is no answer, with the reason. Innovations that are too large are no reason to keep silent
    here: a meal that nobody logged makes them.
    """
    model = twin.model
    if twin.stream is None or not isinstance(model, MetabolicModel):
        raise ModelError("unannounced meals are read from the stream of the twin `metabolic`", seen=model.id, expected="metabolic")
    limit = _constant("threshold") if threshold is None else threshold
    rows = twin.stream.rows
    if twin.domain.reason is not None:
        return Unannounced(twin.now, limit, reason=f"{twin.domain.reason}: {twin.domain.sentence}")
    if not np.isfinite(rows).all():
        return Unannounced(twin.now, limit, reason="the stream is not finite")
    grams = rows[:, _APPEARANCE] * grams_per_appearance(float(np.asarray(twin.observed.context.weight)))
    mean, sd = float(grams.mean()), max(float(grams.std(ddof=1)), 1e-9)
    score = (mean - limit) / sd
    # Half an interval either way is 1.645 standard deviations; the fade is the stream's own: an Ornstein-Uhlenbeck process with this correlation time.
    return Unannounced(
        twin.now, limit, _logistic(_constant("offset") + _constant("slope") * score), float(norm.cdf(score)), score, mean,
        (mean - 1.645 * sd, mean + 1.645 * sd), max(mean, 0.0) * float(model.appearance_minutes),
    )  # fmt: skip


def _size_factor(minutes: float) -> float:
    """Grams eaten for each gram that the stream has seen appear or expects, so many minutes after an episode was raised."""
    first, later = np.log(_constant("size_at_first")), np.log(_constant("size_later"))
    return float(np.exp(later + (first - later) * np.exp(-minutes / _constant("size_minutes"))))


def _logistic(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-np.clip(x, -50.0, 50.0))))


@dataclass(frozen=True)
class WatchSettings:
    """When an episode is raised and when it is over.

    Parameters
    ----------
    raise_at : probability at which an episode is raised.
    end_at : probability below which it must stay for ``quiet`` minutes to end; lower than ``raise_at``, so that it does not flicker.
    """

    raise_at: float = 0.5
    end_at: float = 0.25
    quiet: float = 15.0


@dataclass(frozen=True)
class Episode:
    """Unannounced eating: about when it began, when it was raised, when it ended (``None`` while it lasts), the highest probability, and its size.

    ``grams`` is the carbohydrate of the whole, what is still to come included, with its 90 % interval.
    """

    began: int
    raised: int
    ended: int | None
    probability: float
    grams: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Watch:
    """Looks at a twin reading by reading and keeps what it has seen. Immutable: ``watch = watch.seen(twin)``.

    A person eats unannounced or does not; each begins and ends at its rate; each reading moves the odds by how far the stream's appearance lies above the
    threshold. That is the exact filter of a two-state chain but for one exponent: neighbouring readings share the noise of the sensor, so each counts
    for less than alone. A reading that comes late changes the twin, not what the watch said before it.
    """

    settings: WatchSettings = field(default_factory=WatchSettings)
    time: int | None = None
    latest: int | None = None
    probability: float = _constant("begin") / (_constant("begin") + _constant("end"))
    since: int | None = None
    appeared: float = 0.0
    low_minutes: float = 0.0
    episodes: tuple[Episode, ...] = ()

    @property
    def current(self) -> Episode | None:
        """The episode that lasts, if there is one."""
        return self.episodes[-1] if self.episodes and self.episodes[-1].ended is None else None

    def seen(self, twin: Twin) -> Watch:
        """Return the watch that has also seen this twin. The same moment twice counts once.

        Raises
        ------
        TimeError
            When the twin is older than what was seen before.
        """
        if self.time is not None and twin.now < self.time:
            raise TimeError(
                "a watch cannot look backwards", seen=twin.now, expected=f">= {self.time}", fix="feed twins in order of their now"
            )
        if twin.now == self.time:
            return self
        minutes = 5.0 if self.time is None else (twin.now - self.time) / MINUTE
        ahead = self._after(minutes)
        said = unannounced_meals(twin)
        if said.reason or twin.observed.latest == self.latest:
            return replace(self, time=twin.now, probability=ahead)._kept(twin.now, minutes, None)
        # A reading sooner than five minutes after the last tells a part of what one after five minutes tells.
        logit = np.log(ahead / (1.0 - ahead)) + _constant("weight") * min(minutes / 5.0, 1.0) * (said.score - _constant("centre"))
        moved = replace(self, time=twin.now, latest=twin.observed.latest, probability=float(np.clip(_logistic(logit), 1e-6, 1.0 - 1e-6)))
        return moved._kept(twin.now, minutes, said)

    def _after(self, minutes: float) -> float:
        """Probability after so many minutes without news: towards the share of time that people eat unannounced."""
        begin, end = _constant("begin"), _constant("end")
        usual = begin / (begin + end)
        return usual + (self.probability - usual) * float(np.exp(-(begin + end) * minutes))

    def _kept(self, now: int, minutes: float, said: Unannounced | None) -> Watch:
        """Raise, carry on or end an episode."""
        s, p = self.settings, self.probability
        rate, coming = (0.0, 0.0) if said is None else (max(said.rate, 0.0), said.coming)
        is_high = p >= s.end_at
        since = (now if self.since is None else self.since) if is_high or self.current else None
        appeared = self.appeared + rate * min(minutes, 15.0) if since is not None else 0.0
        low = 0.0 if is_high else self.low_minutes + minutes
        episodes = self.episodes
        if since is not None and (self.current is not None or p >= s.raise_at):
            grams = _size_factor(0.0 if self.current is None else (now - self.current.raised) / MINUTE) * (appeared + coming)
            width = np.exp(1.645 * _constant("size_spread"))
            interval = (float(grams / width), float(grams * width))
            before = self.current
            if before is None:
                episodes = (*episodes, Episode(since - round(_constant("lag") * MINUTE), now, None, p, float(grams), interval))
            else:
                ended = now if low >= s.quiet else None
                episodes = (
                    *episodes[:-1],
                    replace(before, ended=ended, probability=max(before.probability, p), grams=float(grams), interval=interval),
                )
                if ended is not None:
                    since, appeared = None, 0.0
        return replace(self, since=since, appeared=appeared, low_minutes=low, episodes=episodes)
