"""A binary outcome whose chance a twin foretells in part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from gemel.core.errors import ModelError
from gemel.trials.simulate.batch import Batch, Enrolment
from gemel.trials.simulate.worlds.base import World
from gemel.trials.simulate.worlds.twin import prognosis, refuse_quality

__all__ = ["BinaryWorld"]


@dataclass(frozen=True)
class BinaryWorld(World):
    """Happens where ``r s + sqrt(1 - r^2) e`` lies under the normal quantile of the arm's chance: marginal chances are exact whatever ``r``.

    Parameters
    ----------
    control, treated : chances under either arm.
    correlation : of the best prognosis and the latent variable.
    twin : how good the prognosis is; it says the chance under control.
    """

    control: float = 0.3
    treated: float = 0.3
    correlation: float = 0.5
    twin: str = "true"

    def __post_init__(self) -> None:
        refuse_quality(self.twin)
        if not (0 < self.control < 1 and 0 < self.treated < 1 and -1 < self.correlation < 1):
            raise ModelError("no such world", seen=self, expected="chances between 0 and 1, correlation between -1 and 1")

    @property
    def effect(self) -> float:
        """Return the risk difference."""
        return self.treated - self.control

    def null(self) -> BinaryWorld:
        """Return the same world without an effect."""
        return replace(self, treated=self.control)

    def draw(self, enrolment: Enrolment, rng: np.random.Generator) -> Batch:
        """Enrol patients."""
        one, r = np.float32, self.correlation
        signal, error = rng.standard_normal((2, *enrolment.shape), dtype=one)
        limits = special.ndtri([self.control, self.treated]).astype(one)
        happens = one(r) * signal + one(np.sqrt(1 - r**2)) * error < limits[enrolment.arm]
        said = special.ndtr((limits[0] - one(r) * prognosis(self.twin, signal, rng)) / one(np.sqrt(1 - r**2)))
        return Batch(enrolment.arm, said[None].astype(one), happens.astype(one))
