"""What the tests of ``trials.survival`` share: the leukaemia trial of Freireich et al. 1963, and one made on the spot."""

from __future__ import annotations

import numpy as np

from gemel.trials.survival import SurvivalData, survival_data

TREATED = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def freireich_columns() -> dict[str, list]:
    """As printed in Blood 21:699 (1963); a plus is a censored time, weeks."""
    words = [(arm, word) for arm, text in (("6-MP", TREATED), ("placebo", PLACEBO)) for word in text.split()]
    return {
        "id": [f"p{i:02d}" for i in range(len(words))],
        "arm": [arm for arm, _ in words],
        "weeks": [float(word.rstrip("+")) for _, word in words],
        "event": [int(not word.endswith("+")) for _, word in words],
        "cnsr": [2 * int(word.endswith("+")) for _, word in words],
    }


def freireich() -> SurvivalData:
    return survival_data(freireich_columns(), time="weeks", event="event", arm="arm", subject="id", reference="placebo")


def columns(n: int = 200, *, seed: int = 0, log_ratio: float = 0.0, slope: float = 1.0, digits: int | None = None) -> dict[str, list]:
    """A trial: exponential times with hazard exp(slope x + log_ratio A), censored uniformly; rounding makes ties."""
    rng = np.random.default_rng(seed)
    x, noise, arm = rng.normal(size=n), rng.normal(size=n), rng.permutation(np.arange(n) % 2)
    time, end = rng.exponential(np.exp(-(slope * x + log_ratio * arm))), rng.uniform(0.5, 3, size=n)
    seen = np.minimum(time, end)
    return {
        "id": [f"s{i:04d}" for i in range(n)],
        "arm": [f"arm{a}" for a in arm],
        "t": (seen if digits is None else np.ceil(seen * 10**digits) / 10**digits).tolist(),
        "d": (time <= end).astype(int).tolist(),
        "x": x.tolist(),
        "noise": noise.tolist(),
        "site": rng.choice(["a", "b", "c"], n).tolist(),
    }


def made(source: dict[str, list], *baseline: str, **more) -> SurvivalData:
    return survival_data(source, time="t", event="d", arm="arm", subject="id", baseline=baseline, **more)
