"""``gemel demo metabolic-slow``: two years of one virtual person's weight and HbA1c, plans compared, advice or an abstention, and what became of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gemel.cli.options import use_engine
from gemel.cli.output import atomic_write, plain

__all__ = ["run"]

DRAWS = 512


def run(*, output: Path, seed: int, say: Any, progress: Any) -> dict[str, Any]:
    """Take one virtual person from two years of measurements to advice and return what was found; ``files`` names what was written.

    The person is drawn from the model: nobody openly shares years of weighings and HbA1c of one person. SIMULATED stands in every view.
    """
    use_engine()
    import jax

    from gemel.core.advice import ShownOn
    from gemel.core.time import DAY, iso
    from gemel.engine.forecast import forecast
    from gemel.engine.recommend import Choice, recommend
    from gemel.engine.serialise import dump
    from gemel.engine.twin import calibrate, prior_dominated
    from gemel.twins.metabolic.slow import report
    from gemel.twins.metabolic.slow._external import CREDIBILITY
    from gemel.verbs import room
    from gemel.web import render_html

    here, key = room("metabolic-slow"), jax.random.key(seed)
    record, end, truth = here.simulate_record(key)
    counts = {s.code.display or str(s.code): len(s) for s in record.series}
    say(
        f"{record.id} (SIMULATED): {', '.join(f'{n} of {what}' for what, n in counts.items())}, over {(end - record.series[0].time[0]) / DAY:.0f} days"
    )
    say(CREDIBILITY)
    past = _replayed(here, record, end, key, progress)
    for row in past:
        say(
            f"{row['days']} days ahead, said {row['issued']}: HbA1c {row['median']:.1f} [{row['low']:.1f}, {row['high']:.1f}] %, measured {row['observed']:.1f} %"
        )
    twin = calibrate(here.model(), record, end, method=here.method(), key=key, progress=progress)
    flagged = prior_dominated(twin.model.prior, twin.posterior)
    say(
        f"calibrated on what was known at {iso(end)} by {twin.inference.method}: {twin.sentence}; prior-dominated: {', '.join(flagged) or 'none'}"
    )
    times = here.times(twin)
    advice = recommend(twin, here.plans(twin), here.objective(), here.limits(), times=times, n=DRAWS, key=key)
    say(f"advice: {advice.sentence}")
    made = forecast(twin, None, times, n=DRAWS, key=key)
    shown = ShownOn(kind="simulated", n=1, what="a person drawn from the model")
    view = report.view(twin, record, made, advice, shown_on=shown, simulated=True)
    output.mkdir(parents=True, exist_ok=True)
    files = {"report": output / "report.html", "twin": output / "twin.gemel", "scores": output / "scores.json"}
    atomic_write(files["report"], render_html(view).encode())
    atomic_write(files["twin"], dump(twin))
    told = {
        "person": record.id, "shown_on": shown.model_dump(), "credibility": CREDIBILITY, "measurements": counts, "status": twin.status.name,
        "method": twin.inference.method, "prior_dominated": flagged, "replayed": past, "advice": advice.proposal().model_dump(mode="json"),
        "advised": isinstance(advice, Choice), "truth": dict(truth), "lineage": twin.lineage.id, "files": {k: str(v) for k, v in files.items()},
    }  # fmt: skip
    atomic_write(files["scores"], (json.dumps(plain(told), indent=1) + "\n").encode())
    return told


def _replayed(here: Any, record: Any, end: int, key: Any, progress: Any) -> list[dict[str, Any]]:
    """Return how forecasts issued half way, from what was known then, did against the HbA1c measured later."""
    import numpy as np

    from gemel.core.time import DAY, iso
    from gemel.engine.forecast import forecast
    from gemel.engine.scoring import score
    from gemel.engine.twin import calibrate
    from gemel.twins.metabolic.slow.observe import HBA1C, measured

    time, value = measured(record, HBA1C)
    cut = len(time) // 2
    then = int(time[cut - 1]) + DAY
    twin = calibrate(here.model(), record, then, method=here.method(), key=key, progress=progress)
    later = time[cut:]
    made = forecast(twin, None, later, n=DRAWS, key=key)
    if not len(made.draws):
        return []
    done = score(made, record, end)
    low, median, high = (np.quantile(made.draws[:, :, 0], q, axis=0) for q in (0.05, 0.5, 0.95))
    crps = {r.horizon: r.crps for r in done.rows if r.output == "hba1c"}
    return [
        {
            "issued": iso(then), "days": round((int(t) - then) / DAY), "observed": float(v), "low": float(a), "median": float(m), "high": float(b),
            "inside": bool(a <= v <= b), "crps": crps.get((int(t) - then) / 6e10),
        }
        for t, v, a, m, b in zip(later, value[cut:], low, median, high, strict=True)
    ]  # fmt: skip
