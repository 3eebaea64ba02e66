"""What a discrepancy layer says at one origin, and how it enters the draws of a forecast."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gemel.engine.bands import LEVELS, Spread
from gemel.engine.discrepancy import BlockRidge, Discrepancy, Ridge, Settings

__all__ = ["Correction", "DiscrepancySet"]


@dataclass(frozen=True)
class Correction:
    """The calibrated distribution of the first output at some horizons from one origin.

    Parameters
    ----------
    horizons : (h,) minutes, increasing.
    quantiles : (h, 99) at :data:`gemel.engine.bands.LEVELS`, in the output's unit.
    """

    horizons: Float[np.ndarray, " h"]
    quantiles: Float[np.ndarray, "h level"]

    def apply(
        self, draws: Float[np.ndarray, "draw time"], horizons: Float[np.ndarray, " time"], now: float
    ) -> Float[np.ndarray, "draw time"]:
        """Give the draws of each time the calibrated distribution, and keep their order: who was high stays high.

        Ensemble copula coupling (Schefzik et al. 2013, doi:10.1214/13-STS443): dependence between times is the mechanistic model's, the margins are
        the calibrated ones. Between horizons quantiles are interpolated from the value ``now``; beyond the last, the draws keep the shift and
        the stretch of the last.
        """
        n = len(draws)
        ranks = (np.argsort(np.argsort(draws, axis=0, kind="stable"), axis=0) + 0.5) / n
        grid = np.concatenate([[0.0], self.horizons])
        table = np.concatenate([np.full((1, len(LEVELS)), now), self.quantiles])
        out = np.empty_like(draws)
        for j, h in enumerate(horizons):
            if h <= grid[-1]:
                quantile = np.array([np.interp(h, grid, table[:, k]) for k in range(len(LEVELS))])
                out[:, j] = _inverse(ranks[:, j], quantile)
            else:
                centre, size = np.median(draws[:, j]), np.subtract(*np.quantile(draws[:, j], [0.9, 0.1]))
                wanted = table[-1, 89] - table[-1, 9]
                out[:, j] = table[-1, 49] + (draws[:, j] - centre) * max(1.0, wanted / max(size, 1e-9))
        return out


def _inverse(u: np.ndarray, quantile: np.ndarray) -> np.ndarray:
    """Return the quantile function at ``u``, continued linearly beyond 1 % and 99 %."""
    middle = np.interp(u, LEVELS, quantile)
    low = quantile[0] + (u - LEVELS[0]) * (quantile[2] - quantile[0]) / (LEVELS[2] - LEVELS[0])
    high = quantile[-1] + (u - LEVELS[-1]) * (quantile[-1] - quantile[-3]) / (LEVELS[-1] - LEVELS[-3])
    return np.where(u < LEVELS[0], low, np.where(u > LEVELS[-1], high, middle))


@dataclass(frozen=True)
class DiscrepancySet:
    """What was learnt for several horizons, from a cohort or from one person's own past.

    Parameters
    ----------
    horizons : minutes. step : minutes per slot. level : mean of the output in the training parts.
    plain : the plain regression beside which the hierarchical one is guarded.
    parts : one discrepancy per horizon.
    until : ns UTC: origins before it trained the weights.
    source : on whose data it was learnt.
    """

    horizons: tuple[int, ...]
    step: int
    level: float
    plain: Ridge
    parts: tuple[Discrepancy, ...]
    until: int
    source: str

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return plain arrays; text goes as JSON in a byte array."""
        one = self.parts[0]
        told = {
            "horizons": self.horizons, "step": self.step, "level": self.level, "until": self.until, "source": self.source,
            "names": one.ridge.names, "sizes": [len(one.ridge.columns[k]) for k in one.ridge.names], "settings": dataclasses.asdict(one.settings),
            "parts": [{"guard": p.guard, "guard_size": p.guard_size, "pooled": p.pooled, "overlap": p.overlap, "day": p.day, "intercept": p.ridge.intercept,
                       "penalties": dict(p.ridge.penalties)} for p in self.parts],
        }  # fmt: skip
        arrays: dict[str, np.ndarray] = {"told": np.frombuffer(json.dumps(told, sort_keys=True).encode(), np.uint8)}
        arrays |= {f"plain/{f.name}": np.asarray(getattr(self.plain, f.name)) for f in dataclasses.fields(Ridge)}
        for i, p in enumerate(self.parts):
            arrays |= {f"{i}/ridge/{k}": np.asarray(getattr(p.ridge, k)) for k in ("centre", "spread", "weights")}
            arrays |= {f"{i}/scale/{f.name}": np.asarray(getattr(p.scale, f.name)) for f in dataclasses.fields(Spread)}
            arrays[f"{i}/table"] = p.table
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> DiscrepancySet:
        """Undo :meth:`to_arrays`."""
        told: dict[str, Any] = json.loads(arrays["told"].tobytes())
        s = told["settings"]
        settings = Settings(**s | {
            "rare": tuple(s["rare"]), "grid": tuple(s["grid"]), "bounds": tuple(s["bounds"]), "personal": tuple((k, tuple(c), v) for k, c, v in s["personal"]),
        })  # fmt: skip
        names, ends = tuple(told["names"]), np.cumsum(told["sizes"])
        columns = {k: np.arange(e - n, e) for k, n, e in zip(names, told["sizes"], ends, strict=True)}
        plain = Ridge(**{f.name: arrays[f"plain/{f.name}"] for f in dataclasses.fields(Ridge)})
        parts = []
        for i, p in enumerate(told["parts"]):
            centre, spread, weights = (arrays[f"{i}/ridge/{k}"] for k in ("centre", "spread", "weights"))
            ridge = BlockRidge(names, columns, centre, spread, p["intercept"], weights, p["penalties"], settings)
            scale = Spread(**{f.name: arrays[f"{i}/scale/{f.name}"] for f in dataclasses.fields(Spread)})
            parts.append(
                Discrepancy(ridge, p["guard"], p["guard_size"], scale, p["pooled"], arrays[f"{i}/table"], p["overlap"], p["day"], settings)
            )
        return cls(tuple(told["horizons"]), told["step"], told["level"], plain, tuple(parts), told["until"], told["source"])
