"""``gemel demo metabolic-t2d``: one real person with type 2 diabetes, meals and tablets, from data to plans compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemel.cli.options import use_engine
from gemel.cli.output import atomic_write, plain

if TYPE_CHECKING:
    from gemel.core.record import PatientRecord

__all__ = ["PERSON", "run"]

DATASET, PERSON, SHARE, READINGS = "shanghai", "2068-0", 0.6, 96
"""One recording with acarbose and repaglinide at the meals, no insulin; the first 60 % calibrate, a day of readings after it is streamed."""
HORIZONS = (30.0, 60.0, 120.0)


def run(*, output: Path, seed: int, say: Any, progress: Any) -> dict[str, Any]:
    """Take one person from data to advice and return what was found; ``files`` names what was written."""
    record, simulated = _record(seed, say)
    use_engine()
    import jax
    import numpy as np

    from gemel.core.advice import ShownOn
    from gemel.core.time import iso
    from gemel.core.view import Table
    from gemel.engine.forecast import forecast
    from gemel.engine.recommend import recommend
    from gemel.engine.serialise import dump
    from gemel.engine.twin import calibrate, prior_dominated
    from gemel.twins.metabolic.observe import glucose
    from gemel.twins.metabolic.t2d import report
    from gemel.verbs import room
    from gemel.web import render_html

    here, key = room("metabolic-t2d"), jax.random.key(seed)
    known = glucose(record)
    cut = round(SHARE * len(known.time))
    start, times = int(known.time[cut]), [int(t) for t in known.time[cut + 1 :]][:READINGS]
    words = f"{record.id}{' (SIMULATED)' if simulated else ''}"
    say(
        f"{words}: {len(known.time)} CGM readings over {(known.time[-1] - known.time[0]) / 8.64e13:.1f} days, {len(record.exposures)} meals and tablets"
    )
    first = calibrate(here.model(), record, start, method=here.method(), key=key, progress=progress)
    flagged = prior_dominated(first.model.prior, first.inference.posterior)
    say(
        f"calibrated on what was known at {iso(start)} by {first.inference.method}: {first.sentence}; prior-dominated: {', '.join(flagged) or 'none'}"
    )
    for note in first.notes:
        say(f"  {note}")
    twin, scores = _streamed(first, record, times, key, progress)
    for row in scores:
        say(
            f"{row['horizon']:.0f} min: RMSE {row['rmse']:.1f} mg/dL, last value {row['rmse_last_value']:.1f}; "
            f"CRPS {row['crps']:.1f}; inside 90 % {row['coverage90']:.2f} ({row['n']} forecasts)"
        )
    ahead, plans = twin.times(*range(15, 241, 15)), here.plans(twin)
    advice = recommend(twin, plans, here.objective(), here.limits(), times=ahead, n=512, key=key)
    say(f"at {iso(twin.now)}: {advice.sentence}")
    shown = ShownOn(kind="simulated" if simulated else "replayed", n=1, what="one person's recording")
    made = forecast(twin, None, ahead, n=512, key=key)
    columns = (
        ("horizon", "min", "horizon"),
        ("RMSE", "mg/dL", "rmse"),
        ("last value", "mg/dL", "rmse_last_value"),
        ("CRPS", "mg/dL", "crps"),
    )
    columns += (("inside 90 %", "1", "coverage90"), ("forecasts", "1", "n"))
    table = Table.of(
        *((label, unit, [float(r[name]) for r in scores]) for label, unit, name in columns), title="How the streamed forecasts did",
        note="One person's day of readings, each forecast scored when its outcome was known.",
    ) if scores else None  # fmt: skip
    view = report.view(twin, record, made, advice, shown_on=shown, simulated=simulated, scores=table)
    output.mkdir(parents=True, exist_ok=True)
    files = {"report": output / "report.html", "twin": output / "twin.gemel", "scores": output / "scores.json"}
    atomic_write(files["report"], render_html(view).encode())
    atomic_write(files["twin"], dump(twin))
    told = {
        "person": record.id, "shown_on": shown.model_dump(), "readings": len(known.time), "streamed": len(times), "status": twin.status.name,
        "method": first.inference.method, "prior_dominated": flagged, "notes": list(twin.notes), "scores": scores,
        "advice": advice.proposal().model_dump(mode="json"), "plans": list(plans), "lineage": twin.lineage.id,
        "minutes_per_reading": float(np.median(np.diff(known.time)) / 6e10), "files": {k: str(v) for k, v in files.items()},
    }  # fmt: skip
    atomic_write(files["scores"], (json.dumps(plain(told), indent=1) + "\n").encode())
    return told


def _record(seed: int, say: Any) -> tuple[PatientRecord, bool]:
    from gemel.core.errors import DatasetError
    from gemel.interop.wearables import read_all
    from gemel.platform.datasets import resolve

    try:
        found = {r.id: r for r, _ in read_all(resolve(DATASET), format="shanghai")}
    except DatasetError as error:
        say(f"The data set cannot be had ({error.what}); a person drawn from the model is shown instead: SIMULATED.")
        import jax

        from gemel.twins.metabolic.t2d.simulate import simulate_person

        return simulate_person(jax.random.key(seed))[0], True
    return found[PERSON], False


def _streamed(twin: Any, record: PatientRecord, times: list[int], key: Any, progress: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Assimilate and forecast at each reading; score when the outcomes are known, beside the last value."""
    import numpy as np

    from gemel.core.time import HOUR
    from gemel.engine.forecast import forecast
    from gemel.engine.scoring import score
    from gemel.engine.twin import assimilate

    found: dict[float, list[tuple[Any, float]]] = {h: [] for h in HORIZONS}
    progress.start("stream", len(times))
    for i, now in enumerate(times):
        twin = assimilate(twin, record, now)
        made = forecast(twin, None, twin.times(*HORIZONS), n=256, key=key)
        if len(made.draws):
            for row in score(made, record, now + 4 * HOUR, tolerance=7.5).rows:
                found[min(HORIZONS, key=lambda h, r=row: abs(h - r.horizon))].append((row, float(twin.observed.last or np.nan)))
        progress.update(i + 1)
    rows = []
    for horizon, pairs in found.items():
        if pairs:
            error = np.array([r.mean - r.observed for r, _ in pairs])
            still = np.array([last - r.observed for r, last in pairs])
            inside = [r.inside["0.90"] for r, _ in pairs]
            rows.append(
                {
                    "horizon": horizon, "n": len(pairs), "rmse": float(np.sqrt(np.mean(error**2))), "rmse_last_value": float(np.sqrt(np.mean(still**2))),
                    "crps": float(np.mean([r.crps for r, _ in pairs])), "coverage90": float(np.mean(inside)),
                }
            )  # fmt: skip
    return twin, rows
