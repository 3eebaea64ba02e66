"""``gemel demo metabolic-t1d``: a virtual adult behind a simulated sensor, whose other lives are known. SIMULATED in every view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemel.cli.options import use_engine
from gemel.cli.output import atomic_write, plain

if TYPE_CHECKING:
    import numpy as np

    from gemel.core.record import PatientRecord

__all__ = ["run"]

WHO, LEARN_DAYS, STREAM_HOURS, EVERY = "adult#004", 3, 12, 3
"""A virtual adult: three days to calibrate on, half a day streamed, a forecast at every third reading."""
AHEAD = tuple(range(15, 181, 15))


def run(*, output: Path, seed: int, say: Any, progress: Any) -> dict[str, Any]:
    """Calibrate, stream, compare plans before a meal, advise or abstain; then show what each plan would truly have done. ``files`` names what was written."""
    import jax
    import numpy as np

    use_engine()
    from gemel.cli.demo.replay import stream
    from gemel.cli.files import write_forecasts
    from gemel.core.advice import ShownOn
    from gemel.core.time import DAY, HOUR, iso
    from gemel.engine.forecast import compare
    from gemel.engine.recommend import recommend
    from gemel.engine.serialise import dump
    from gemel.engine.twin import assimilate, calibrate, prior_dominated
    from gemel.twins.metabolic import metrics, observe
    from gemel.twins.metabolic.t1d import report
    from gemel.twins.metabolic.t1d.simulate import START, simulate_person
    from gemel.verbs import room
    from gemel.web import render_html

    here, key = room("metabolic-t1d"), jax.random.key(seed)
    record, now, _ = simulate_person(key, who=WHO, days=LEARN_DAYS + STREAM_HOURS / 24 + 0.2)
    cut = START + LEARN_DAYS * DAY
    times = [int(t) for t in observe.glucose(record).time if cut < t <= min(cut + STREAM_HOURS * HOUR, now)][EVERY - 1 :: EVERY]
    say(f"{WHO} (SIMULATED): {len(observe.glucose(record).time)} readings with sensor noise, {len(record.exposures)} meals and doses")
    first = calibrate(here.model(), record, cut, method=here.method(), key=key, progress=progress)
    flagged = prior_dominated(first.model.prior, first.inference.posterior)
    say(f"calibrated on three days by {first.inference.method}: {first.sentence}; prior-dominated: {', '.join(flagged) or 'none'}")
    twin, steps = stream(first, record, times, answers={}, plain=lambda _: None, key=jax.random.key(seed + 1), progress=progress)
    rows = _scores(steps)
    for r in rows:
        say(
            f"  {r['horizon']:.0f} min ahead: RMSE {r['rmse']:.1f} mg/dL (last value {r['rmse_last_value']:.1f}), "
            f"{100 * r['coverage90']:.0f} % of {r['n']} inside the 90 % band, width {r['width90']:.0f}"
        )
    announced, moment = _announced(record, times)
    at_meal = assimilate(first, announced, moment)
    plans = here.plans(at_meal)
    comparison = compare(at_meal, plans, at_meal.times(*AHEAD), n=512, key=jax.random.key(seed + 2))
    outcome = recommend(at_meal, plans, here.objective(), here.limits(), times=at_meal.times(*AHEAD), n=512, key=jax.random.key(seed + 2))
    say(f"before the meal of {iso(moment)}: {outcome.sentence}")
    lived = _other_lives(record, moment, {name: _factor(name) for name in plans})
    truth, base = {}, next(iter(plans))
    for name in list(plans)[1:]:
        told = comparison.difference(name, base)
        low, middle, high = np.quantile(told.mean(axis=1), [0.05, 0.5, 0.95])
        really = float(np.mean(lived[name] - lived[base]))
        truth[name] = {"said": [float(low), float(middle), float(high)], "truth": really}
        say(
            f"  {name}: mean glucose over three hours differs by {middle:+.1f} mg/dL (90 %: {low:+.1f} to {high:+.1f}); in truth {really:+.1f}"
        )
    shown, proposal = ShownOn(kind="simulated", n=1, what="a virtual adult of the UVA/Padova model"), outcome.proposal()
    view = report.person_view(
        record=record, twin=twin, streamed=[(s.issued, s.forecast, s.score) for s in steps], comparison=comparison, outcome=outcome,
        summary=metrics.summary(record), notes=["a virtual person behind a simulated sensor: SIMULATED"], shown_on=shown, simulated=True,
        title="A virtual person's glucose twin",
    )  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    names = {"report": "report.html", "forecasts": "forecasts.csv", "twin": "twin.gemel", "scores": "scores.json"}
    files = {kind: output / name for kind, name in names.items()}
    atomic_write(files["report"], render_html(view).encode())
    atomic_write(files["twin"], dump(twin))
    write_forecasts(files["forecasts"], [s.forecast for s in steps if len(s.forecast.draws)])
    done = {
        "person": record.id, "shown_on": shown.model_dump(), "streamed": len(times), "status": twin.status.name, "method": first.inference.method,
        "prior_dominated": flagged, "scores": rows, "plans": truth, "advice": proposal.model_dump(mode="json"), "lineage": twin.lineage.id,
        "files": {k: str(v) for k, v in files.items()},
    }  # fmt: skip
    atomic_write(files["scores"], (json.dumps(plain(done), indent=1) + "\n").encode())
    return done


def _scores(steps: Any) -> list[dict[str, Any]]:
    """Return one row per horizon, beside the last value."""
    import numpy as np

    rows = []
    for horizon in sorted({r.horizon for s in steps if s.score is not None for r in s.score.rows}):
        found = [(s, r) for s in steps if s.score is not None for r in s.score.rows if r.horizon == horizon]
        y, mean, last = (np.array(x) for x in ([r.observed for _, r in found], [r.mean for _, r in found], [s.last for s, _ in found]))
        rows.append(
            {
                "horizon": horizon, "n": len(found), "rmse": float(np.sqrt(np.mean((y - mean) ** 2))), "rmse_last_value": float(np.sqrt(np.mean((y - last) ** 2))),
                "crps": float(np.mean([r.crps for _, r in found])), "coverage90": float(np.mean([r.inside["0.90"] for _, r in found])),
                "width90": float(np.mean([r.width["0.90"] for _, r in found])),
            }
        )  # fmt: skip
    return rows


def _announced(record: PatientRecord, times: list[int]) -> tuple[PatientRecord, int]:
    """Return the record in which the first meal of the streamed part, and its bolus, were announced at the reading before it; and that moment."""
    from gemel.twins.metabolic import observe

    meal = next(e for e in record.find_exposures(observe.CARBOHYDRATE) if e.start > times[0])
    moment = max(t for t in times if t <= meal.start)
    known = tuple(e.model_copy(update={"recorded": min(e.recorded, moment)}) if e.start == meal.start else e for e in record.exposures)
    return record.model_copy(update={"exposures": known}), moment


def _factor(plan: str) -> float:
    return {"bolus 30 % less": 0.7, "bolus 30 % more": 1.3}.get(plan, 1.0)


def _other_lives(record: PatientRecord, moment: int, factors: dict[str, float]) -> dict[str, np.ndarray]:
    """Return true glucose in the hours after the moment, had every bolus from then on been multiplied: what is only known of virtual people."""
    import numpy as np

    from gemel.core.time import MINUTE
    from gemel.twins.metabolic import observe
    from gemel.twins.metabolic.t1d.priors import people
    from gemel.twins.metabolic.t1d.simulate import START
    from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, simulate

    p, begin = parameters_of([people()[WHO]]), round((moment - START) / MINUTE)
    minutes = begin + AHEAD[-1]
    meals = [((e.start - START) / MINUTE, e.quantity.value) for e in record.find_exposures(observe.CARBOHYDRATE) if e.quantity is not None]
    doses = [
        ((e.start - START) / MINUTE, e.quantity.value)
        for e in record.find_exposures(observe.FAST)
        if e.quantity is not None and e.quantity.unit == "[iU]"
    ]
    found = {}
    for name, factor in factors.items():
        given = bolus([(t, u * (factor if t >= begin else 1.0)) for t, u in doses], minutes) + float(basal_rate(p)[0])
        path = simulate(p, given[:, None], eaten(meals, minutes)[:, None], every=1)[:, 0]
        found[name] = path[begin - 1 + np.asarray(AHEAD)]
    return found
