"""Operating characteristics of a design: level in the null world, power in the other, and the same with every kind of wrong twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gemel import __version__
from gemel.core.errors import ModelError
from gemel.core.lineage import Lineage, digest
from gemel.core.protocols import Executor, Progress
from gemel.trials.simulate.batch import philox_key
from gemel.trials.simulate.engine import Characteristics, Watch, reduction, simulate
from gemel.trials.simulate.worlds.base import World
from gemel.trials.simulate.worlds.twin import QUALITIES, refuse_quality

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from gemel.trials.simulate.batch import SimulationKey

__all__ = ["PANEL", "Row", "Study", "study"]

PANEL = ("true", "noise", "biased", "shifted", "anti-correlated")
"""The panel *what if the twin is wrong*."""

FEW = 0.001
"""Share of trials without a result up to which two analyses are compared: beyond it they rest on different trials."""


@dataclass(frozen=True)
class Row:
    """One analysis with one twin.

    Parameters
    ----------
    twin : quality of the prognosis. ``analysis`` : its name.
    under_null, under_effect : in the world without and with the effect; the second None where the world has none.
    reduction, reduction_error : share of patients saved beside the first analysis, from the variances of the estimates in the null world, and its
        Monte-Carlo error; None for the first itself, where the trial may stop early, and where more than :data:`FEW` of the trials have no result.
    """

    twin: str
    analysis: str
    under_null: Characteristics
    under_effect: Characteristics | None
    reduction: float | None
    reduction_error: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures without the replicates."""
        return {
            "twin": self.twin,
            "analysis": self.analysis,
            "under_null": self.under_null.to_dict(),
            "under_effect": None if self.under_effect is None else self.under_effect.to_dict(),
            "reduction": self.reduction,
            "reduction_error": self.reduction_error,
        }


@dataclass(frozen=True)
class Study:
    """What was simulated. Every figure is SIMULATED.

    Parameters
    ----------
    asked, done : trials asked for in each world, and the fewest done in any of them. ``left_out`` : twins that a stop left no time for.
    """

    rows: tuple[Row, ...]
    asked: int
    done: int
    left_out: tuple[str, ...]
    alpha: float
    lineage: Lineage

    @property
    def is_whole(self) -> bool:
        """Whether every world ran to the end."""
        return self.done >= self.asked and not self.left_out

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values, without the replicates."""
        return {
            "rows": [row.to_dict() for row in self.rows], "replicates": {"asked": self.asked, "done": self.done, "left_out": list(self.left_out)}, "alpha": self.alpha,
            "lineage": self.lineage.model_dump() | {"id": self.lineage.id}, "shown_on": {"kind": "simulated", "n": self.done},
        }  # fmt: skip


def study(
    design: Any,
    world: World,
    replicates: int,
    *,
    key: SimulationKey | PRNGKeyArray,
    twins: Sequence[str] = (),
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Study:
    """Run a design in a world and in its null, for each quality of the twin.

    Parameters
    ----------
    twins : among :data:`~gemel.trials.simulate.worlds.twin.QUALITIES`; left out, the world's own. :data:`PANEL` is *what if the twin is wrong*.
    progress : where it asks for a stop, what is done is kept.

    Raises
    ------
    ModelError
        For a twin that is not known, or a world without one.
    """
    own = getattr(world, "twin", None)
    for quality in twins:
        refuse_quality(quality)
    if twins and own is None:
        raise ModelError("this world has no twin", seen=type(world).__name__, expected=f"a world with one of {QUALITIES}")
    watch = Watch(progress)
    rows: list[Row] = []
    done, wanted = replicates, tuple(twins) or (own or "true",)
    for quality in wanted:
        here = replace(world, twin=quality) if own is not None else world  # type: ignore[type-var]  # worlds are frozen dataclasses
        null = simulate(design, here.null(), replicates, key=key, progress=watch, executor=executor)
        has_effect = here.effect != here.null().effect and not watch.stopped
        under = simulate(design, here, replicates, key=key, progress=watch, executor=executor) if has_effect else None
        first = next(iter(null))
        for name, found in null.items():
            comparable = name != first and len(found.stops) == 1 and max(found.failed, null[first].failed) <= FEW * replicates
            saved = reduction(null[first], found) if comparable else (None, None)
            rows.append(Row(quality, name, found, None if under is None else under[name], *saved))
            for one in (found, None if under is None else under[name]):
                done = min(done, done if one is None else one.replicates + one.failed)
        if watch.stopped:
            break
    left_out = wanted[len({row.twin for row in rows}) :]
    lineage = Lineage(
        record=digest([type(design).__name__, design, type(world).__name__, world, list(twins), replicates]),
        model=type(world).__name__,
        model_version="1",
        code_version=__version__,
        method="simulate",
        seed=philox_key(key)[0],
        note="SIMULATED" + ("; stopped before its end" if done < replicates or left_out else ""),
    )
    return Study(tuple(rows), replicates, done, left_out, design.alpha, lineage)
