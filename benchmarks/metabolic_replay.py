"""What-if replay against known answers: days of the thirty virtual people of UVA/Padova, identified with the other, smaller model, replayed with changed inputs.

    gemel bench metabolic-replay [--days 1] [--seed 1] [--json FILE] [--drawn N [--group adult]] [--learn N]

For each person: CGM with simglucose's noise, three meals a day, boluses by the clinic's ratio with an error of up to 20 %, programmed basal. Then boluses
+-50 %, basal +-30 %, carbohydrate +-30 %, each simulated (the truth) and replayed by the twin from the record of the original days alone.

Scored is the median against the simulator's own interstitial glucose in the sensor's range, as the study does that the floors are from (Hughes et al. 2021,
doi:10.1177/1932296820973193: replayed against true traces of the simulator): MARD, Clarke zones, share of truth inside the 90 % band. Printed beside,
not scored: MARD against what the noisy sensor would have shown; MARD that would remain with the true effect of the change on the twin's account of the
day (*day*: the noise of the record), and with the twin's effect on the true day (*effect*); MARD where the truth is below 70 mg/dL.

How a body answers to a change was estimated on other virtual people (``--learn N``: N drawn anew of each group, _replay_learn.py), never on the thirty,
whose changed days nobody chose anything by; the population from which people are drawn has the mean of each ten and the covariance of all thirty.
``--drawn N`` judges N such people instead. Finished people are kept. The last line is the coverage of the 90 % band by change.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

CHANGES = {
    "bolus -50 %": {"bolus": 0.5}, "bolus +50 %": {"bolus": 1.5}, "basal -30 %": {"basal": 0.7}, "basal +30 %": {"basal": 1.3},
    "carbohydrate -30 %": {"carbohydrate": 0.7}, "carbohydrate +30 %": {"carbohydrate": 1.3},
}  # fmt: skip
FLOORS = {"MARD": 10.0, "A+B": 95.0, "coverage": 85.0}
START = 1_767_225_600_000_000_000  # 2026-01-01T00:00Z
LOW, HIGH = 40.0, 400.0


def life(person: Any, days: int, seed: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Draw meals (minute, g) and the boluses (minute, U) that go with them."""
    rng = np.random.default_rng([seed, sum(person.name.encode())])
    meals, doses = [], []
    for day in range(days):
        for hour, grams in ((7.0, 50.0), (12.5, 70.0), (19.0, 80.0)):
            at, amount = day * 1440 + round((hour + rng.normal(0, 0.4)) * 60), float(np.round(grams * np.exp(rng.normal(0, 0.25))))
            meals.append((float(at), amount))
            doses.append((float(at), amount / person.carbohydrate_ratio * (1 + 0.2 * rng.uniform(-1, 1))))
    return meals, doses


def truth(persons: list[Any], lives: list[Any], days: int, change: dict[str, float]) -> np.ndarray:
    """Simulate everyone under a change: subcutaneous glucose every five minutes (time, person)."""
    from gemel.twins.metabolic.t1d.virtual import basal_rate, bolus, eaten, parameters_of, simulate

    p, minutes = parameters_of(persons), days * 1440
    basal = np.asarray(basal_rate(p)) * change.get("basal", 1.0)
    food = np.stack([eaten([(t, g * change.get("carbohydrate", 1.0)) for t, g in meals], minutes) for meals, _ in lives], axis=1)
    doses = np.stack([bolus([(t, u * change.get("bolus", 1.0)) for t, u in given], minutes) for _, given in lives], axis=1)
    return simulate(p, doses + basal, food)


def record_of(person: Any, lived: Any, glucose: np.ndarray, basal: float, days: int, key: Any) -> Any:
    """Make the record that a clinic would have: CGM with noise, meals, boluses, basal rate, weight."""
    from gemel.core.record import Demographics, Exposure, PatientRecord, Quantity
    from gemel.core.series import Series
    from gemel.core.time import MINUTE
    from gemel.twins.metabolic import observe
    from gemel.twins.metabolic.sensor import cgm_series

    minutes = 5.0 * np.arange(len(glucose) + 1)
    series = cgm_series(START, minutes, np.r_[glucose[0], glucose], key=key)
    meals, doses = lived
    facts = [
        Exposure(code=observe.CARBOHYDRATE, quantity=Quantity(value=g, unit="g"), start=START + int(t) * MINUTE, source="simulated")
        for t, g in meals
    ]
    facts += [
        Exposure(code=observe.FAST, quantity=Quantity(value=u, unit="[iU]"), start=START + int(t) * MINUTE, source="simulated")
        for t, u in doses
    ]
    begin = START - 1440 * MINUTE
    facts.append(
        Exposure(
            code=observe.FAST,
            quantity=Quantity(value=60 * basal, unit="[iU]/h"),
            start=begin,
            end=START + days * 1440 * MINUTE,
            recorded=begin,
            source="simulated",
        )
    )
    weight = Series(code=observe.WEIGHT, unit="kg", time=np.array([START]), value=np.array([person.parameters["BW"]]), source="simulated")
    age = Demographics(age=float(person.age))
    return PatientRecord(id=person.name.replace("#", "-"), demographics=age).with_facts(series, weight, *facts)


def identified(persons: list[Any], days: int, seed: int) -> tuple[Any, ...]:
    """Identify everyone in one batch: the model, lives, data, results, keys, glucose that was lived, CPU-seconds per person."""
    import jax

    from gemel.core.time import MINUTE
    from gemel.engine.infer.adaptive import Adaptive
    from gemel.engine.model import target_of
    from gemel.twins.metabolic.model import MetabolicModel
    from gemel.twins.metabolic.t1d.virtual import basal_rate, parameters_of

    model, lives = MetabolicModel(), [life(p, days, seed) for p in persons]
    basal = np.asarray(basal_rate(parameters_of(persons)))
    original = truth(persons, lives, days, {})
    keys = jax.random.split(jax.random.key(seed), len(persons))
    now = START + days * 1440 * MINUTE
    records = [
        record_of(p, lived, original[:, j], float(basal[j]), days, jax.random.fold_in(keys[j], 1))
        for j, (p, lived) in enumerate(zip(persons, lives, strict=True))
    ]
    observed = [model.observe(r, now) for r in records]
    begin = time.process_time()
    found = Adaptive(starts=8, draws=512, rounds=4, enough=300, kept=256).run_batch([target_of(model, o) for o in observed], keys=keys)
    return model, lives, observed, found, keys, original, (time.process_time() - begin) / len(persons)


def shown(glucose: np.ndarray, key: Any) -> np.ndarray:
    """Return what the sensor would have shown of another life with the noise it had."""
    from gemel.twins.metabolic.sensor import cgm_series

    return cgm_series(START, 5.0 * np.arange(len(glucose) + 1), np.r_[glucose[0], glucose], key=key).value[1:]


def run(persons: list[Any], days: int, seed: int) -> list[dict[str, Any]]:
    """Identify everyone and replay every change."""
    import jax

    from gemel.core.time import MINUTE
    from gemel.twins.metabolic.replay import replay_record, scaled

    model, lives, observed, found, keys, original, spent = identified(persons, days, seed)
    rows: list[dict[str, Any]] = [
        {"name": p.name, "cpu_s": spent, "status": int(f.status), "changes": {}} for p, f in zip(persons, found, strict=True)
    ]
    account: dict[int, np.ndarray] = {}
    for change, factors in {"nothing": {}, **CHANGES}.items():
        true = truth(persons, lives, days, factors)
        for j, o in enumerate(observed):
            again = replay_record(model, o, found[j].posterior, scaled(o.plan, **factors), key=keys[j])
            index = np.round((again.time - START) / MINUTE / 5.0).astype(int) - 1
            y, low, middle, high = np.clip(true[index, j], LOW, HIGH), *again.quantiles(0.05, 0.5, 0.95)
            before = np.clip(original[index, j], LOW, HIGH)
            day = account.setdefault(j, middle)
            cgm = np.clip(shown(true[:, j], jax.random.fold_in(keys[j], 1))[index], LOW, HIGH)
            hypo = y < 70.0
            rows[j]["changes"][change] = zones(y, middle) | {
                "n": len(y), "MARD": mard(y, middle), "coverage": float(100 * np.mean((low <= y) & (y <= high))),
                "width": float(np.mean(high - low)), "moved": float(np.mean(np.abs(y - before))), "to CGM": mard(cgm, middle),
                "day": mard(y, day + true[index, j] - original[index, j]), "effect": mard(y, before + middle - day),
                "below 70": int(hypo.sum()), "below 70 error": float(100 * np.sum(np.abs(middle - y)[hypo] / y[hypo])),
            }  # fmt: skip
    return rows


def mard(reference: np.ndarray, said: np.ndarray) -> float:
    """Mean absolute relative difference of what is said, cut to the sensor's range, %."""
    return float(100 * np.mean(np.abs(np.clip(said, LOW, HIGH) - reference) / reference))


def drawn(n: int, seed: int, group: str = "adult") -> list[Any]:
    """Draw people anew, with ratios that are right for them: the drop by one unit, and the dose that brings a meal of 60 g back after five hours."""
    from dataclasses import replace

    import jax

    from gemel.twins.metabolic.t1d.virtual import basal_rate, eaten, parameters_of, sample, simulate

    persons = sample(n, group, key=jax.random.key(seed + 100))
    p, minutes = parameters_of(persons), 480
    rest = np.repeat(np.asarray(basal_rate(p))[None], minutes, axis=0)

    def under(units: Any, grams: float) -> np.ndarray:
        insulin = rest.copy()
        insulin[60] += units
        return simulate(p, insulin, np.repeat(eaten([(60, grams)], minutes)[:, None], n, axis=1))

    one = under(1.0, 0.0)
    low, high = np.full(n, 0.2), np.full(n, 40.0)
    for _ in range(14):
        middle = (low + high) / 2
        path = under(middle, 60.0)
        less = path[72] > path[0]
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    ratio, drop = 60.0 / ((low + high) / 2), one[0] - one.min(axis=0)
    return [replace(x, carbohydrate_ratio=float(a), correction_factor=float(b)) for x, a, b in zip(persons, ratio, drop, strict=True)]


def zones(reference: np.ndarray, said: np.ndarray) -> dict[str, float]:
    from gemel.twins.metabolic.error_grids import clarke

    labels = clarke(reference, said)
    return {"A": float(100 * np.mean(labels == "A")), "A+B": float(100 * np.mean(np.isin(labels, ("A", "B"))))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--drawn", type=int, default=0)
    parser.add_argument("--group", default="adult")
    parser.add_argument("--learn", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("gemel-bench") / "metabolic_replay.json")
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    import gemel.engine  # noqa: F401  sets the numerics
    from gemel.twins.metabolic.t1d.priors import people

    if options.learn:
        from _replay_learn import learn

        return learn(options.learn, options.days, options.json.parent)
    persons = list(people().values()) if not options.drawn else drawn(options.drawn, options.seed, options.group)
    rows = []
    for first in range(0, len(persons), 10):
        key = f"{options.days} day(s), seed {options.seed}, {persons[first].name} and {min(10, len(persons) - first) - 1} more"
        if key not in done:
            done[key] = run(persons[first : first + 10], options.days, options.seed)
            options.json.write_text(json.dumps(done, indent=1))
        rows += done[key]
    print(
        f"{len(rows)} virtual people, {options.days} days each, simulated; {np.mean([r['cpu_s'] for r in rows]):.1f} CPU-s to identify one"
    )
    columns = ("moved", "MARD", "A", "A+B", "coverage", "width", "to CGM", "day", "effect")
    heads = ("moved by", "MARD %", "A %", "A+B %", "in 90 %", "width", "to CGM", "day", "effect", "below 70", "worst MARD")
    print(f"{'change':20s}" + "".join(f"{h:>11s}" for h in heads))
    missed, coverage, rng = [], [], np.random.default_rng(0)
    for change in ("nothing", *CHANGES):
        each = {k: np.array([r["changes"][change][k] for r in rows]) for k in columns}
        mean = {k: float(v.mean()) for k, v in each.items()}
        hypo = [sum(r["changes"][change][k] for r in rows) for k in ("below 70 error", "below 70")]
        low_error = f"{hypo[0] / hypo[1]:11.1f}" if hypo[1] else f"{'none':>11s}"
        print(f"{change:20s}" + "".join(f"{mean[k]:11.2f}" for k in columns) + low_error + f"{each['MARD'].max():11.1f}")
        low, high = np.quantile(each["coverage"][rng.integers(0, len(rows), (2000, len(rows)))].mean(axis=1), [0.025, 0.975])
        coverage.append(f"{change} {mean['coverage']:.1f} [{low:.1f}, {high:.1f}]")
        missed += [f"{change}: {k}" for k, v in FLOORS.items() if (mean[k] > v if k == "MARD" else mean[k] < v)]
    print("missed: " + ("; ".join(missed) or "none"))
    print("inside the 90 % band: " + ", ".join(coverage))
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
