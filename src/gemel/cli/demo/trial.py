"""``gemel demo trial``: ACTG 175, a real trial. A prognosis from half of its controls is locked, and the rest is analysed with it and without it."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gemel.cli.output import plain

__all__ = ["run"]

COVARIATES = ("cd40", "cd80", "age", "wtkg", "karnof", "hemo", "homo", "drugs", "race", "gender", "str2", "symptom")
REAL = {
    "population": "adults with HIV and 200 to 500 CD4 cells/mm3 (ACTG 175, arms 0 to 2)",
    "reference": "zidovudine",
    "treatment": "zidovudine and a second drug",
    "variable": "CD4 cells at week 20",
    "intercurrent_events": [{"name": "stopping the drug", "strategy": "treatment policy"}],
}
MADE = REAL | {"population": "SIMULATED adults, drawn here", "variable": "SIMULATED CD4 cells at week 20"}
UNIT = "/mm3"


def _real() -> tuple[dict[str, list[Any]], str]:
    """Return the trial and where it came from: the data set, else the copy that lifelines carries, where that is installed."""
    from gemel.core.errors import DatasetError
    from gemel.interop.tables import read_columns
    from gemel.platform.datasets import resolve

    try:
        columns, source = read_columns(resolve("actg175", environ=dict(os.environ))), "R package speff2trial"
    except DatasetError:
        spec = importlib.util.find_spec("lifelines")
        path = Path(spec.origin).parent / "datasets" / "ACTG175.csv" if spec and spec.origin else None
        if path is None or not path.is_file():
            raise
        columns, source = read_columns(path), "carried by lifelines"
        keep = [a in ("0", "1", "2") for a in columns["arms"]]
        columns = {k: [v for v, kept in zip(values, keep, strict=True) if kept] for k, values in columns.items() if k}
    return columns | {"arm": [REAL["reference"] if t == "0" else REAL["treatment"] for t in columns["treat"]]}, source


def _simulated(seed: int) -> dict[str, list[Any]]:
    """Draw a trial of the same shape: CD4 at week 20 depends on CD4 and CD8 at baseline, age and weight; the effect is 50 cells."""
    import numpy as np

    rng = np.random.default_rng([seed, 175])
    n = 1500
    arm = rng.permutation(np.arange(n) % 3 > 0)
    columns = {
        "cd40": np.clip(rng.normal(350, 115, n), 0, None), "cd80": np.clip(rng.normal(980, 470, n), 40, None), "age": rng.normal(35, 8.7, n), "wtkg": rng.normal(75, 13, n),
        "karnof": rng.choice([80.0, 90.0, 100.0], n, p=[0.06, 0.36, 0.58]),
    }  # fmt: skip
    columns |= {
        name: (rng.random(n) < share).astype(float)
        for name, share in zip(COVARIATES[5:], (0.08, 0.66, 0.13, 0.29, 0.83, 0.58, 0.17), strict=True)
    }
    y = 90 + 0.7 * columns["cd40"] + 0.01 * columns["cd80"] + 50 * arm + rng.normal(0, 105, n) - 20 * columns["symptom"]
    out: dict[str, list[Any]] = {k: v.round(1).tolist() for k, v in columns.items()}
    return out | {
        "pidnum": [f"s{i:04d}" for i in range(n)],
        "cd420": y.round(0).tolist(),
        "arm": [MADE["treatment"] if a else MADE["reference"] for a in arm],
    }


def run(*, output: Path, seed: int, say: Any, progress: Any, simulated: bool = False) -> dict[str, Any]:
    """Lock a prognosis, analyse the trial with and without it, and write the report; ``files`` names what was written."""
    import numpy as np

    from gemel.cli.trial._sealed import seal
    from gemel.cli.trial.options import told_of
    from gemel.core.errors import DatasetError
    from gemel.core.time import iso
    from gemel.trials import analyse, calibrate, size, trial_data
    from gemel.trials.code import Plan
    from gemel.trials.report import data_files, programs, rtf
    from gemel.trials.report import report as report_
    from gemel.web import render_html
    from gemel.web.pdf import render_pdf

    progress.start("trial", 4)
    try:
        columns, source = (_simulated(seed), "drawn here") if simulated else _real()
    except DatasetError as error:
        say(f"ACTG 175 cannot be had ({error.what}): the trial is SIMULATED")
        columns, source, simulated = _simulated(seed), "drawn here", True
    asked = MADE if simulated else REAL
    rng = np.random.default_rng(seed)
    controls = rng.permutation([i for i, a in enumerate(columns["arm"]) if a == asked["reference"]])
    past = set(controls[: len(controls) // 2].tolist())
    history, rest = (
        {k: [v for i, v in enumerate(values) if (i in past) is kept] for k, values in columns.items()} for kept in (True, False)
    )
    progress.update(1, "prognosis")
    bundle = calibrate(history, outcome="cd420", inputs=COVARIATES, subject="pidnum", seed=seed).lock(
        name="half of the controls", today=datetime.now(UTC).date()
    )
    low, high = bundle.r_squared_interval
    planned = size(bundle.assumptions(), 50.0)
    say(
        f"{'SIMULATED trial' if simulated else 'ACTG 175, a real trial'}: {len(columns['arm'])} patients ({source}); a prognosis learnt from {bundle.n} of its controls and locked: {bundle.hash[:16]}"
    )
    say(
        f"  cross-validated R² {bundle.r_squared:.3f} ({low:.3f} to {high:.3f}): the whole trial could shrink by {planned.total_reduction:.0%}, or its control arm alone by {planned.control_arm_reduction:.0%}"
    )
    say(f"  to find 50 cells with power 0.9: {planned.unadjusted:.0f} patients without it, {planned.n:.0f} with it")
    progress.update(2, "analysis")
    data = trial_data(rest, outcome="cd420", arm="arm", subject="pidnum", reference=asked["reference"], prognosis_inputs=COVARIATES)
    ours, bare = analyse(data, asked, "ancova2", prognosis=bundle), analyse(data, asked, "unadjusted")
    for label, r in (("without the prognosis", bare), ("with it", ours)):
        say(
            f"  {label}: {r.estimate:.1f} cells/mm3 ({r.interval[0]:.1f} to {r.interval[1]:.1f}), SE {r.standard_error:.2f}, p {r.p_value:.2g}"
        )
    say(
        f"  variance ratio {ours.variance_ratio:.3f}: {ours.n} patients are worth {ours.effective_n:.0f}; every control patient of the trial stays"
    )
    progress.update(3, "report")
    plan = Plan(
        data="simulated" if simulated else "ACTG175_arms012.txt", method="ancova2", outcome="cd420", arm="arm", reference=asked["reference"], treatments=(asked["treatment"],),
        arms=data.arms, subject="pidnum", prognosis=bundle.hash, seed=seed,
    )  # fmt: skip
    told = told_of([ours], data, dict(asked)) | {"plan": asdict(plan) | {"hash": plan.hash}}
    now = time.time_ns()
    made = report_(
        [told], title="ACTG 175 with and without a prognosis" if not simulated else "A SIMULATED trial with and without a prognosis", created=iso(now // 10**9 * 10**9), data=data,
        prognosis=bundle, unit=UNIT, is_simulated=simulated, seed=seed,
    )  # fmt: skip
    files = {
        "report.html": render_html(made.view).encode(),
        "report.pdf": render_pdf(made.view),
        "report.rtf": rtf(made).encode(),
        "prognosis.json": (bundle.model_dump_json(indent=1) + "\n").encode(),
        "result.json": (json.dumps(plain(told), indent=1, ensure_ascii=False) + "\n").encode(),
    }
    files |= data_files([told], made, data, bundle, study="demo", created=datetime.fromtimestamp(now // 10**9, UTC).replace(tzinfo=None))
    files |= {name: text.encode() for name, text in programs([told], bundle).items()}
    result = {
        "shown_on": {"kind": "simulated" if simulated else "real", "n": data.n}, "source": source, "trained_on": bundle.n, "r_squared": bundle.r_squared,
        "r_squared_interval": bundle.r_squared_interval, "variance_ratio": ours.variance_ratio, "with": asdict(ours) | {"lineage": ours.lineage.id},
        "without": asdict(bare) | {"lineage": bare.lineage.id}, "size": asdict(planned),
    }  # fmt: skip
    files["scores.json"] = (json.dumps(plain(result), indent=1, ensure_ascii=False) + "\n").encode()
    written = seal(output, files, who="gemel demo trial", what="demonstration", inputs={}, signer=None, meaning="")
    progress.update(4)
    named = {"report": "report.html", "pdf": "report.pdf", "scores": "scores.json", "prognosis": "prognosis.json", "trail": "trail"}
    return result | {"files": {k: str(written[v]) for k, v in named.items()}}
