"""What the tests of ``trials`` share: real trials read once, and one made on the spot."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from _data import require_dataset
from gemel.trials import Estimand, columns_of, trial_data

ACTG = ("cd40", "cd80", "age", "wtkg", "karnof", "hemo", "homo", "drugs", "race", "gender", "str2", "symptom")


def estimand(reference: str, treatment: str, summary: str = "mean difference") -> Estimand:
    return Estimand(
        population="all randomised", reference=reference, treatment=treatment, variable="outcome", no_intercurrent_events=True, summary=summary
    )  # fmt: skip


@lru_cache(maxsize=8)
def _lines(name: str, file: str = "") -> tuple[str, ...]:
    path = require_dataset(name)
    return tuple((path / file if file else path).read_text(encoding="utf-8").splitlines())


def robincar(outcome: str, *baseline: str, **more):
    return trial_data(
        columns_of(_lines("robincar2-glm", "glm_data.csv")), outcome=outcome, arm="treatment", baseline=baseline, subject="id", reference="pbo", **more
    )  # fmt: skip


def actg(*baseline: str, arms: tuple[str, ...] = ()):
    columns = columns_of(_lines("actg175"))
    keep = [not arms or a in arms for a in columns["arms"]]
    columns = {k: [v for v, kept in zip(values, keep, strict=True) if kept] for k, values in columns.items()}
    return trial_data(columns, outcome="cd420", arm="treat", baseline=baseline, subject="pidnum", reference="0")


def adas(*baseline: str):
    where = {"PARAMCD": "ACTOT", "AVISIT": "Week 24", "EFFFL": "Y", "ANL01FL": "Y"}
    columns = columns_of(_lines("cdisc-pilot", "tplyr_adas.csv"), where=where)
    return trial_data(
        columns, outcome="CHG", arm="TRTP", baseline=baseline, categories=("SITEGR1",), subject="USUBJID", reference="Placebo"
    )  # fmt: skip


def simulated(
    n: int = 200, *, seed: int = 0, effect: float = 0.4, slope: float = 0.6, arms: int = 2, binary: bool = False
) -> dict[str, list]:
    """Columns of a trial: x explains y, noise explains nothing, site has three levels."""
    rng = np.random.default_rng(seed)
    x, noise, arm = rng.normal(size=n), rng.normal(size=n), rng.permutation(np.arange(n) % arms)
    y = slope * x + effect * arm + rng.normal(size=n) * np.sqrt(max(1 - slope**2, 1e-3))
    if binary:
        y = (rng.random(n) < 1 / (1 + np.exp(-y))).astype(float)
    return {
        "id": [f"s{i:04d}" for i in range(n)],
        "arm": [f"arm{a}" for a in arm],
        "y": y.tolist(),
        "x": x.tolist(),
        "noise": noise.tolist(),
        "site": rng.choice(["a", "b", "c"], n).tolist(),
    }


def made(columns: dict[str, list], *baseline: str, **more):
    return trial_data(columns, outcome="y", arm="arm", baseline=baseline, subject="id", **more)


class Nothing:
    """A learner that knows the mean and no more."""

    name = "nothing"

    def calibrate(self, x, y):
        mean = y.mean()
        return lambda new: np.full(len(new), mean)
