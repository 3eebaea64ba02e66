"""Plans: what is done to the patient, as padded events; and spaces of plans."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gemel.core.errors import DomainError, ModelError
from gemel.engine.compile import bucket

__all__ = ["Channel", "ContinuousPlans", "GridPlans", "Plan"]


@dataclass(frozen=True)
class Channel:
    """One way to act on the patient: name and unit of an amount."""

    name: str
    unit: str


class Plan(eqx.Module):
    """Events: an amount of a channel given evenly over a duration. Padding has mask 0.

    Times are in the unit of the model since its epoch. A rate is an event whose amount is the rate times its duration.
    """

    start: Float[Array, " event"]
    duration: Float[Array, " event"]
    amount: Float[Array, " event"]
    channel: Int[Array, " event"]
    mask: Bool[Array, " event"]

    @classmethod
    def of(cls, events: Sequence[tuple[float, float, float, int]] = (), *, smallest: int = 8) -> Plan:
        """Build a plan from ``(start, duration, amount, channel index)`` tuples."""
        size = bucket(max(len(events), 1), smallest=smallest)
        table = np.zeros((size, 4))
        if events:
            table[: len(events)] = np.asarray(sorted(events), float)
        if not np.isfinite(table).all() or (table[:, 1] < 0).any():
            raise ModelError(
                "a plan has an event that is not finite or lasts less than nothing",
                seen=[e for e in events if not np.isfinite(e).all() or e[1] < 0],
            )
        start, duration, amount, channel = (jnp.asarray(column) for column in table.T)
        return cls(start, duration, amount, channel.astype(int), jnp.asarray(np.arange(size) < len(events)))

    @property
    def events(self) -> list[tuple[float, float, float, int]]:
        """The real events, host side."""
        columns = [np.asarray(c)[np.asarray(self.mask)] for c in (self.start, self.duration, self.amount, self.channel)]
        return [(float(s), float(d), float(a), int(c)) for s, d, a, c in zip(*columns, strict=True)]

    def with_events(self, *events: tuple[float, float, float, int]) -> Plan:
        """Return the plan with these events added."""
        return Plan.of([*self.events, *events])

    def scaled(self, channel: int, factor: float, *, after: float = -np.inf) -> Plan:
        """Return the plan with the amounts of one channel multiplied, from a time on."""
        return Plan.of([(s, d, a * factor if c == channel and s >= after else a, c) for s, d, a, c in self.events])

    def shifted(self, channel: int, by: float, *, after: float = -np.inf) -> Plan:
        """Return the plan with the events of one channel moved in time, from a time on."""
        return Plan.of([(s + by if c == channel and s >= after else s, d, a, c) for s, d, a, c in self.events])

    def rates(self, start: float, step: float, n: int, channels: int) -> Float[Array, "step channel"]:
        """Return mean rates on a uniform grid: the overlap integral of every event with every step.

        Parameters
        ----------
        start, step : grid, in the unit of the model.
        n : number of steps.
        channels : number of channels.

        Notes
        -----
        What was given is conserved: rates times step sum to the amounts whose events lie inside the grid.
        """
        edge = start + step * jnp.arange(n + 1)
        length = jnp.maximum(self.duration, step)
        done = jnp.clip((edge[:, None] - self.start) / length, 0.0, 1.0)
        given = jnp.diff(done, axis=0) * jnp.where(self.mask, self.amount, 0.0)
        return given @ (self.channel[:, None] == jnp.arange(channels)).astype(given.dtype) / step


@dataclass(frozen=True)
class GridPlans:
    """A finite space of plans: every combination of the levels."""

    levels: Mapping[str, Sequence[float]]
    build: Callable[[Mapping[str, float]], Plan]

    def named(self) -> dict[str, Plan]:
        """Return all plans by a name that says their levels."""
        names = list(self.levels)
        found = {}
        for values in itertools.product(*(self.levels[n] for n in names)):
            setting = dict(zip(names, values, strict=True))
            found[", ".join(f"{k} {v:g}" for k, v in setting.items())] = self.build(setting)
        return found


@dataclass(frozen=True)
class ContinuousPlans:
    """A bounded continuous space of plans, searched by differential evolution on fixed draws."""

    bounds: Mapping[str, tuple[float, float]]
    build: Callable[[Mapping[str, float]], Plan]
    evaluations: int = field(default=200)

    def __post_init__(self) -> None:
        for name, (low, high) in self.bounds.items():
            if not (np.isfinite(low) and np.isfinite(high) and low < high):
                raise DomainError(f"bounds of {name!r} are not an interval", seen=(low, high), expected="low < high, both finite")
