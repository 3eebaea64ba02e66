"""``gemel demo metabolic``: a real person's glucose twin, from data to advice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemel.cli.options import use_engine
from gemel.cli.output import atomic_write, echo, plain, print_table

if TYPE_CHECKING:
    from gemel.core.record import PatientRecord

__all__ = ["PERSON", "run"]

DATASET, PERSON, SHARE = "shanghai", "1002-0", 0.6
"""One recording with type 1 diabetes, CGM every 15 min, meals in grams of food and insulin; the first 60 % calibrate, the rest is streamed."""


def run(
    *, output: Path, seed: int, say: Any, progress: Any, person: str = PERSON, simulated: bool = False, readings: int | None = None
) -> dict[str, Any]:
    """Take one person from data to advice and return what was found; ``files`` names what was written."""
    record, notes, simulated = _record(person, simulated, seed, say)
    use_engine()
    return _run(record, notes, simulated=simulated, readings=readings, output=output, seed=seed, say=say, bar=progress)


def _record(person: str, simulated: bool, seed: int, say: Any) -> tuple[PatientRecord, list[str], bool]:
    from gemel.core.errors import DataError, DatasetError

    if not simulated:
        from gemel.interop.wearables import read_all
        from gemel.platform.datasets import resolve

        try:
            found = {r.id: (r, report) for r, report in read_all(resolve(DATASET), format="shanghai")}
        except DatasetError as error:
            say(f"The data set cannot be had ({error.what}); a person drawn from the model is shown instead: SIMULATED.")
        else:
            if person not in found:
                raise DataError(f"no recording {person!r} in {DATASET}", expected=f"one of {', '.join(sorted(found))}")
            record, report = found[person]
            return record, report.to_text().splitlines(), False
    import jax

    from gemel.twins.metabolic.simulate import simulate_person

    return simulate_person(jax.random.key(seed))[0], ["drawn from the model: SIMULATED"], True


def _meal(record: PatientRecord, times: list[int]) -> tuple[PatientRecord, int] | None:
    """Return the first real meal with a bolus, six hours and more into the streamed part, and the record in which both were announced beforehand.

    The moment is the earlier of the two; a diary writes them down when they happen, an announcement is known at that moment.
    """
    from gemel.core.time import HOUR, MINUTE
    from gemel.twins.metabolic import observe

    boluses = [e for e in record.find_exposures(observe.FAST, observe.PREMIXED) if e.end == e.start]
    for meal in record.find_exposures(observe.CARBOHYDRATE):
        near = [b for b in boluses if abs(b.start - meal.start) <= 30 * MINUTE]
        moment = min([meal.start, *(b.start for b in near)])
        before = [t for t in times if t <= moment]
        if near and before and moment > times[0] + 6 * HOUR and moment - before[-1] <= 15 * MINUTE and moment < times[-1] - 2 * HOUR:
            told = {id(e) for e in (meal, *near)}
            known = tuple(e.model_copy(update={"recorded": min(e.recorded, moment)}) if id(e) in told else e for e in record.exposures)
            return record.model_copy(update={"exposures": known}), moment
    return None


def _run(
    record: PatientRecord, notes: list[str], *, simulated: bool, readings: int | None, output: Path, seed: int, say: Any, bar: Any
) -> dict[str, Any]:
    import jax
    import numpy as np

    from gemel.cli.demo.replay import scores_beside_baselines, stream
    from gemel.cli.files import write_forecasts
    from gemel.core.advice import ShownOn
    from gemel.core.time import MINUTE, iso
    from gemel.engine.forecast import compare, forecast
    from gemel.engine.recommend import recommend
    from gemel.engine.serialise import dump
    from gemel.engine.twin import assimilate, calibrate, prior_dominated
    from gemel.interop.fhir import result_bundle
    from gemel.twins.metabolic import correct, metrics, observe, report
    from gemel.verbs import room
    from gemel.web import figure_svg, render_html

    here = room("metabolic")
    known = observe.glucose(record)
    cut = round(SHARE * len(known.time))
    start = int(known.time[cut])
    times = [int(t) for t in known.time[cut + 1 :]][:readings]
    days = (known.time[-1] - known.time[0]) / 8.64e13
    say(
        f"{record.id}{' (SIMULATED)' if simulated else ''}: {len(known.time)} CGM readings over {days:.1f} days, {len(record.exposures)} meals and doses"
    )
    key = jax.random.key(seed)
    first = calibrate(here.model(), record, start, method=here.method(), key=key, progress=bar)
    flagged = prior_dominated(first.model.prior, first.inference.posterior)
    say(
        f"calibrated on what was known at {iso(start)} by {first.inference.method}: {first.sentence}; prior-dominated: {', '.join(flagged) or 'none'}"
    )
    answers, ridge = {}, {}
    if first.learnt is not None:
        answers = correct.corrections(record, first.learnt)
        ridge = correct.plain_forecasts(record, first.learnt)
        _same(record, first.learnt, answers, times)
    twin, steps = stream(first, record, times, answers=answers, plain=ridge.get, key=jax.random.key(seed + 1), progress=bar)
    rows = scores_beside_baselines(steps)
    _print(rows, say)
    found = _meal(record, times)
    comparison = outcome = None
    if found is not None:
        announced, moment = found
        at_meal = assimilate(first, announced, moment)
        plans = here.plans(at_meal)
        comparison = compare(at_meal, plans, at_meal.times(*range(15, 121, 15)), n=512, key=jax.random.key(seed + 2))
        outcome = recommend(
            at_meal,
            plans,
            here.objective(),
            here.limits(),
            times=at_meal.times(*range(15, 121, 15)),
            n=512,
            key=jax.random.key(seed + 2),
            record=announced,
        )
        say(f"before the meal of {iso(moment)}: {outcome.sentence}")
    proposal = None if outcome is None else outcome.proposal()
    summary = metrics.summary(record)
    shown = ShownOn(kind="simulated" if simulated else "replayed", n=1, what="one person's recording")
    pieces = [(s.issued, s.forecast, s.score) for s in steps]
    view = report.person_view(
        record=record, twin=twin, streamed=pieces, comparison=comparison, outcome=outcome, summary=summary, notes=notes, shown_on=shown, simulated=simulated,
        title="One person's glucose twin",
    )  # fmt: skip
    last = steps[-1].forecast if len(steps[-1].forecast.draws) else forecast(twin, None, twin.times(30), key=key)
    tables = [last.table(probabilities={"below 70 mg/dL": last.probability(below=70.0)})] if len(last.draws) else []
    bundle = result_bundle(
        record, summary=summary, forecasts=tables, proposal=proposal, issued=twin.now, lineage=twin.lineage, simulated=simulated
    )
    output.mkdir(parents=True, exist_ok=True)
    files = {
        "report": output / "report.html",
        "bundle": output / "bundle.json",
        "forecasts": output / "forecasts.csv",
        "twin": output / "twin.gemel",
        "scores": output / "scores.json",
    }
    atomic_write(files["report"], render_html(view).encode())
    picture = next((part for part in view.sections if getattr(part, "title", "").startswith("What was said")), None)
    if picture is not None:
        files["picture"] = output / "said-before.svg"
        atomic_write(files["picture"], figure_svg(picture).encode())
    atomic_write(files["bundle"], (json.dumps(plain(bundle), indent=1) + "\n").encode())
    atomic_write(files["twin"], dump(twin))
    write_forecasts(files["forecasts"], [s.forecast for s in steps if len(s.forecast.draws)])
    told = {
        "person": record.id, "shown_on": shown.model_dump(), "readings": len(known.time), "streamed": len(times), "status": twin.status.name,
        "method": first.inference.method, "prior_dominated": flagged, "scores": rows, "advice": None if proposal is None else proposal.model_dump(mode="json"),
        "summary": summary, "lineage": twin.lineage.id, "files": {k: str(v) for k, v in files.items()}, "minutes_per_slot": float(np.median(np.diff(known.time)) / MINUTE),
    }  # fmt: skip
    atomic_write(files["scores"], (json.dumps(plain(told), indent=1) + "\n").encode())
    return told


def _same(record: PatientRecord, learnt: Any, answers: dict[int, Any], times: list[int]) -> None:
    """Hold the answers of the one pass against asking at single moments with what was known then: no look-ahead, shown on this very person."""
    import numpy as np

    from gemel.core.errors import ContractError
    from gemel.twins.metabolic import correct

    for now in times[:: max(1, len(times) // 3)]:
        alone = correct.correction(record.as_of(now), now, learnt)
        whole = answers.get(now)
        if (alone is None) != (whole is None) or (
            alone is not None and whole is not None and not np.allclose(alone.quantiles, whole.quantiles, atol=1e-6)
        ):
            raise ContractError("a forecast depends on what was not known yet", seen=now, fix="report this: it is a defect")


def _print(rows: list[dict[str, Any]], say: Any) -> None:
    if not rows:
        say("no forecast could be scored")
        return
    columns = (
        "horizon, min",
        "n",
        "RMSE twin",
        "ridge",
        "last value",
        "MAE twin",
        "last value",
        "CRPS",
        "inside 50 %",
        "inside 90 %",
        "width 90 %",
        "gain over ridge, %",
    )
    names = (
        "horizon",
        "n",
        "rmse",
        "rmse_ridge",
        "rmse_last_value",
        "mae",
        "mae_last_value",
        "crps",
        "coverage50",
        "coverage90",
        "width90",
        "gain_over_ridge_percent",
    )
    table = [[round(r[n], 3 if n.startswith("cov") else 1) if isinstance(r[n], float) else r[n] for n in names] for r in rows]
    if say is echo:
        print_table(
            "Forecasts of the streamed part, each scored when its outcome was known (mg/dL):", columns, table, right=range(len(columns))
        )
