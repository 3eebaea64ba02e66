"""What the tests of ``trials.external`` share: a trial and controls from outside that differ from it, made on the spot."""

from __future__ import annotations

import numpy as np

from gemel.trials.external import ExternalData, external_data


def sources(
    n: int = 120,
    outside: int = 240,
    *,
    seed: int = 0,
    effect: float = 0.5,
    drift: float = 0.0,
    shift: float = 0.6,
    arms: int = 1,
    binary: bool = False,
):
    """Columns of a trial and of controls from outside: x and z explain y, the trial's patients have a larger x."""
    rng = np.random.default_rng(seed)

    def people(count: int, centre: float, arm: np.ndarray, down: float) -> dict[str, list]:
        x, z = centre + rng.normal(size=count), rng.integers(0, 2, size=count).astype(float)
        mean = 0.6 * x + 0.4 * z + effect * arm - down
        y = (rng.random(count) < 1 / (1 + np.exp(-mean))).astype(float) if binary else mean + 0.8 * rng.normal(size=count)
        return {"y": y.tolist(), "x": x.tolist(), "z": z.tolist(), "site": rng.choice(["a", "b"], count).tolist()}

    arm = rng.permutation(np.arange(n) % arms == 0).astype(float)
    trial = people(n, shift, arm, 0.0) | {"id": [f"s{i:03d}" for i in range(n)], "arm": ["active" if a else "control" for a in arm]}
    return trial, people(outside, 0.0, np.zeros(outside), drift) | {"id": [f"s{i:03d}" for i in range(outside)]}


def made(pair, *baseline: str, **more) -> ExternalData:
    return external_data(*pair, outcome="y", baseline=baseline or ("x", "z"), subject="id", arm="arm", treatment="active", **more)
