"""Does a prior fitted on other people help the twin `metabolic`? Known people drawn from a population, then Shanghai T1 and D1NAMO.

    gemel bench metabolic-hierarchy -- [--sets simulated,shanghai-t1,d1namo] [--people 16] [--seed 1] [--json FILE] [--again]

Each person is calibrated (the room's own method) on two days under (a) the room's prior and (b) the hierarchical one of the *other* people, fitted on
their first two days. *Simulated*: people from a population whose mean and spread differ from the room's prior, readings by the process that the likelihood assumes; are mean and spread
recovered, do 90 % intervals hold the truth, beside (c) the prior from which they came. *Real*: the day after, with its meals and insulin as logged: at each
reading of it the mechanistic forecast 30, 60 and 120 min ahead (the trajectory, and the slow error of the calibration's noise model carried from that reading;
no streaming, nothing learnt but the posterior), open loop, and the joint log predictive density of the whole day given the two before.
Differences are paired, people resampled with all of their recordings. Finished stages are kept. The last line is CRPS at 60 min, (b) over (a).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _results import Results, note

SETS = {"shanghai-t1": ("shanghai", "shanghai", "1"), "d1namo": ("d1namo", "d1namo", "")}
LEADS = (30, 60, 120)
DAYS, DRAWS = 2, 200
# the population of the simulated people: shift of the mean in the room's standard deviations, and spread as a share of them
SHIFT = {"SI": -0.7, "SG": 0.5, "Gb": 0.8, "p2": 0.0, "ka2": -0.5, "kd": 0.5, "kempt": -0.5, "kabs": 0.4, "delay": -0.5}
SPREAD = 0.6


class Clock:
    """Keeps CPU-seconds at every round."""

    def start(self, label: str, total: int | None) -> None:
        note(f"  {label}: at most {total} rounds")
        self.label, self.begun, self.rounds = label, time.process_time(), []

    def update(self, done: int, note_: str = "") -> bool:
        self.rounds.append(time.process_time() - self.begun)
        note(f"  {self.label} {done}: {note_}, {self.rounds[-1]:.0f} CPU-s")
        return True

    def finish(self) -> None:
        self.total = time.process_time() - self.begun


def fitted(model: Any, observed: Any, names: Any, seed: int) -> tuple[Any, dict[str, Any]]:
    import jax

    from gemel.engine.hierarchy import hierarchical_prior

    clock = Clock()
    h = hierarchical_prior(model, observed, names, key=jax.random.key(seed), progress=clock)
    scale = np.sqrt(np.diag(np.asarray(model.prior.covariance)))
    steps = np.diff(clock.rounds)
    return h, {
        "people": h.people, "recordings": h.recordings, "rounds": h.rounds, "change": h.change, "left_out": list(h.left_out),
        "cpu_s": clock.total, "cpu_s_a_later_round": float(np.median(steps)) if len(steps) else None, "cpu_s_left_out": clock.total - clock.rounds[-1],
        "shift": ((np.asarray(h.prior.mean) - np.asarray(model.prior.mean)) / scale).tolist(),
        "spread": (np.sqrt(np.diag(np.asarray(h.prior.covariance))) / scale).tolist(),
    }  # fmt: skip


def posteriors(model: Any, observed: Any, priors: Any, seed: int) -> list[Any]:
    """Calibrate everybody by the room's own ladder, each under his own prior, with the same programs."""
    import jax

    from gemel.engine.hierarchy import _alike, _buckets
    from gemel.engine.model import target_of
    from gemel.engine.twin import with_prior
    from gemel.twins.metabolic import room

    first, second = room.method().rungs
    keys, found, padded = jax.random.split(jax.random.key(seed), len(observed)), [None] * len(observed), _alike(observed)
    for members in _buckets(padded):
        targets = [target_of(with_prior(model, priors[i]), padded[i]) for i in members]
        for i, target, inference in zip(members, targets, first.run_batch(targets, keys=keys[members]), strict=True):
            found[i] = inference if inference.usable else second.run(target, key=keys[i])
    return found


def simulated(people: int, seed: int) -> dict[str, Any]:
    import jax

    from gemel.engine.prior import Prior
    from gemel.engine.twin import with_prior
    from gemel.twins.metabolic.model import MetabolicModel
    from gemel.twins.metabolic.simulate import simulate_record

    model = MetabolicModel()
    names, scale, centre = model.prior.names, np.sqrt(np.diag(np.asarray(model.prior.covariance))), np.asarray(model.prior.mean)
    shift = np.array([SHIFT[n.partition("_")[0]] for n in names])
    population = Prior.from_moments(model.prior.parameters, centre + shift * scale, SPREAD**2 * np.asarray(model.prior.covariance))
    made, truth = [], []
    for key in jax.random.split(jax.random.key(seed), people):
        record, now, values = simulate_record(key, model=with_prior(model, population))
        made.append(model.observe(record, now))
        truth.append(np.asarray(model.prior.unconstrain(values)))
    truth = np.array(truth)
    who = [f"p{i}" for i in range(people)]
    h, told = fitted(model, made, who, seed)
    note("  bootstrap of the population over its people")
    rng, moments = np.random.default_rng(seed), []
    for _ in range(200):
        weight = np.bincount(rng.integers(0, people, people), minlength=people).astype(float)
        again = type(h.expansions)(h.expansions.precision, h.expansions.linear, h.expansions.centre, weight).population(
            model.prior, start=h.prior, rounds=100, tolerance=1e-4
        )
        moments.append([(np.asarray(again.mean) - centre) / scale, np.sqrt(np.diag(np.asarray(again.covariance))) / scale])
    low, high = np.quantile(moments, [0.05, 0.95], axis=0)
    arms = {"room": [model.prior] * people, "hierarchical": [h.without(w) for w in who], "true population": [population] * people}
    rows = {}
    for name, priors in arms.items():
        begun = time.process_time()
        found = posteriors(model, made, priors, seed)
        spent = time.process_time() - begun
        note(f"  {name}: {spent:.0f} CPU-s")
        draws = np.array([np.asarray(f.posterior.draw(2000, key=jax.random.key(i))) for i, f in enumerate(found)])
        low_, high_ = np.quantile(draws, [0.05, 0.95], axis=1)
        mean, covariance = (np.array(x) for x in zip(*(f.posterior.moments() for f in found), strict=True))
        sd = np.sqrt(np.einsum("rii->ri", covariance))
        error = truth - mean
        nats = [
            -0.5 * (e @ np.linalg.solve(c, e) + np.linalg.slogdet(2 * np.pi * c)[1])
            for e, c in zip(error / scale, covariance / np.outer(scale, scale), strict=True)
        ]
        rows[name] = {
            "inside90": ((truth >= low_) & (truth <= high_)).tolist(), "squared_error": np.square(error / scale).tolist(), "nats": nats, "sd": (sd / scale).tolist(),
            "fallback": sum(f.method != "adaptive" for f in found), "cpu_s": spent,
        }  # fmt: skip
    return told | {
        "parameters": list(names), "true_shift": shift.tolist(), "drawn_shift": ((truth.mean(axis=0) - centre) / scale).tolist(),
        "drawn_spread": (truth.std(axis=0, ddof=1) / scale).tolist(), "low": low.tolist(), "high": high.tolist(), "arms": rows,
    }  # fmt: skip


def replayed(name: str, seed: int) -> dict[str, Any]:
    from gemel.core.time import DAY, MINUTE
    from gemel.engine.hierarchy import person_of
    from gemel.interop.wearables import read_all
    from gemel.platform.datasets import resolve
    from gemel.twins.metabolic.model import MetabolicModel
    from gemel.twins.metabolic.observe import glucose

    dataset, layout, prefix = SETS[name]
    model, seen, who, later, ends = MetabolicModel(), [], [], [], []
    for record, _ in read_all(resolve(dataset), format=layout):
        if not record.id.startswith(prefix):
            continue
        now = int(glucose(record).time[0]) + DAYS * DAY - 10 * MINUTE
        seen.append(model.observe(record.as_of(now), now))
        who.append(person_of(record))
        later.append(model.observe(record, now + DAY, epoch=seen[-1].epoch))
        ends.append((now - seen[-1].epoch) / MINUTE)
    h, told = fitted(model, seen, who, seed)
    rows: dict[str, list[Any]] = {}
    for arm, priors in {"room": [model.prior] * len(who), "hierarchical": [h.without(w) for w in who]}.items():
        note(f"  {arm}")
        found = posteriors(model, seen, priors, seed)
        rows[arm] = [
            None if f is None else scores(model, f, before, after, end) | {"usable": bool(f.usable), "method": f.method}
            for f, before, after, end in zip(found, seen, later, ends, strict=True)
        ]
    return told | {"names": who, "parameters": list(model.prior.names), "arms": rows}


def scores(model: Any, inference: Any, before: Any, after: Any, end: float) -> dict[str, Any]:
    """Score the day after under one posterior: squared error, CRPS, log density and coverage by lead, open loop (lead 0), and the day's joint log density per reading."""
    import equinox as eqx
    import jax
    from scipy.special import logsumexp

    from gemel.engine.score import crps_draws

    real = np.asarray(after.data.mask)
    time_, value, censored = (np.asarray(c)[real] for c in (after.data.time, after.data.value, after.data.censored))
    test = (time_ > end) & (censored == 0)
    if test.sum() < 12:
        return {"n": int(test.sum())}
    context = eqx.tree_at(lambda c: c.basal, after.context, before.context.basal)  # the basal rate as it was known then
    earlier = eqx.tree_at(lambda d: d.mask, after.data, after.data.mask & (np.asarray(after.data.time) <= end))
    z = inference.posterior.draw(DRAWS, key=jax.random.key(3))
    path, whole, first = (np.asarray(x) for x in _paths(model, z, after.plan, after.data, earlier, jax.tree.map(np.asarray, context)))
    index = np.clip(np.round(time_ / model.slot).astype(int) - 1, 0, path.shape[1] - 1)
    at, rng = path[:, index], np.random.default_rng(0)
    sd, nugget, minutes = (float(x) for x in (model.error_sd, model.nugget_sd, model.error_minutes))
    out: dict[str, Any] = {"n": int(test.sum()), "day": float(logsumexp(whole - first) - np.log(DRAWS)) / max(int((time_ > end).sum()), 1)}
    for lead in (*LEADS, 0):
        j = np.flatnonzero(test)
        i = np.searchsorted(time_, time_[j] - lead + 1e-6, "right") - 1 if lead else np.full(len(j), -1)
        keep = (i >= 0) & (time_[j] - time_[i] < lead + 16) if lead else np.ones(len(j), bool)
        j, i = j[keep], i[keep]
        if len(j) < 6:
            continue
        decay = np.exp(-(time_[j] - time_[i]) / minutes) if lead else np.zeros(len(j))
        carried = decay * (value[i] - at[:, i]) if lead else 0.0
        mean, spread = at[:, j] + carried, np.sqrt(sd**2 * (1 - decay**2) + nugget**2)
        drawn = mean + spread * rng.normal(size=mean.shape)
        density = logsumexp(-0.5 * ((value[j] - mean) / spread) ** 2, axis=0) - np.log(DRAWS) - np.log(spread * np.sqrt(2 * np.pi))
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        out[str(lead)] = {
            "n": len(j), "squared_error": float(np.square(value[j] - mean.mean(axis=0)).mean()), "crps": float(np.mean(crps_draws(drawn, value[j]))),
            "log_density": float(density.mean()), "inside90": float(np.mean((value[j] >= low) & (value[j] <= high))),
        }  # fmt: skip
    return out


def _paths(model: Any, z: Any, plan: Any, data: Any, earlier: Any, context: Any) -> Any:
    global _JITTED
    import equinox as eqx
    import jax

    if _JITTED is None:

        def one(model, z, plan, data, earlier, context):
            params = model.prior.constrain(z)
            whole, first = (model.log_likelihood(params, plan, d, context) for d in (data, earlier))
            return model.trajectory(params, plan, context).IG, whole, first

        _JITTED = eqx.filter_jit(lambda model, z, *rest: jax.lax.map(lambda x: one(model, x, *rest), z, batch_size=50))
    return _JITTED(model, z, plan, data, earlier, context)


_JITTED: Any = None


def show_simulated(told: dict[str, Any]) -> None:
    from gemel.evidence.bootstrap import clustered_interval

    print(f"\nsimulated: {told['people']} people, fit {told['cpu_s']:.0f} CPU-s in {told['rounds']} rounds ({told['cpu_s'] / told['people']:.1f} a person; a later "
          f"round {told['cpu_s_a_later_round']:.1f}; all priors of the others {told['cpu_s_left_out']:.1f})")  # fmt: skip
    print(
        f"{'parameter':16s}{'shift: true':>12s}{'drawn':>8s}{'fitted':>8s}{'90 % over people':>20s}{'spread: drawn':>15s}{'fitted':>8s}{'90 %':>16s}"
    )
    (mean_low, sd_low), (mean_high, sd_high) = told["low"], told["high"]
    for i, name in enumerate(told["parameters"]):
        print(
            f"{name:16s}{told['true_shift'][i]:12.2f}{told['drawn_shift'][i]:8.2f}{told['shift'][i]:8.2f}{f'[{mean_low[i]:.2f}, {mean_high[i]:.2f}]':>20s}"
            f"{told['drawn_spread'][i]:15.2f}{told['spread'][i]:8.2f}{f'[{sd_low[i]:.2f}, {sd_high[i]:.2f}]':>16s}"
        )
    true = np.array(told["true_shift"])
    inside = (np.array(mean_low) <= true) & (true <= np.array(mean_high))
    spread = (np.array(sd_low) <= SPREAD) & (np.array(sd_high) >= SPREAD)
    print(
        f"true mean inside: {inside.sum()} of {len(true)}; true spread ({SPREAD}) inside: {spread.sum()}; error of the mean, RMS in the room's SD: "
        f"room {np.sqrt(np.mean(true**2)):.2f}, fitted {np.sqrt(np.mean((np.array(told['shift']) - true) ** 2)):.2f}"
    )
    n = told["people"]
    base = told["arms"]["room"]
    print(
        f"{'prior':18s}{'inside 90 %':>12s}{'':>18s}{'RMSE, room SD':>15s}{'mean sd':>9s}{'nats of the truth over room':>30s}{'fallback':>10s}"
    )
    for name, arm in told["arms"].items():
        inside90, error = np.array(arm["inside90"], float), np.array(arm["squared_error"])
        low, high = clustered_interval(lambda w, x=inside90: float(w @ x.mean(axis=1) / w.sum()), n)
        gain = np.array(arm["nats"]) - np.array(base["nats"])
        a, b = clustered_interval(lambda w, x=gain: float(w @ x / w.sum()), n)
        print(
            f"{name:18s}{100 * inside90.mean():11.1f} {f'[{100 * low:.1f}, {100 * high:.1f}]':>18s}{np.sqrt(error.mean()):15.3f}{np.mean(arm['sd']):9.2f}"
            f"{f'{gain.mean():+.2f} [{a:+.2f}, {b:+.2f}]':>30s}{arm['fallback']:10d}"
        )


def show_replayed(name: str, told: dict[str, Any]) -> float:
    from gemel.evidence.bootstrap import clustered_interval

    print(f"\n{name}: {told['people']} people, {told['recordings']} recordings, fit {told['cpu_s']:.0f} CPU-s in {told['rounds']} rounds (last change {told['change']:.2g}; "
          f"{told['cpu_s'] / told['recordings']:.1f} a recording; a later round {told['cpu_s_a_later_round'] or 0:.1f}; all priors of the others {told['cpu_s_left_out']:.1f}), left out: "
          f"{', '.join(told['left_out']) or 'nobody'}")  # fmt: skip
    print("shift of the mean / spread, in the room's SD: " + ", ".join(
        f"{p} {s:+.2f} / {w:.2f}" for p, s, w in zip(told["parameters"], told["shift"], told["spread"], strict=True)))  # fmt: skip
    a, b = told["arms"]["room"], told["arms"]["hierarchical"]
    later = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x and y and "day" in x and "day" in y]
    used = [i for i in later if a[i]["usable"] and b[i]["usable"]]
    lost = [sum(not x[i]["usable"] for i in later) for x in (a, b)]
    second = [sum(x[i]["method"] != "adaptive" for i in used) for x in (a, b)]
    print(f"{len(later)} recordings have a day after; no rung gave a usable posterior: room {lost[0]}, hierarchical {lost[1]} (such a twin abstains: left out of the pairs); "
          f"of the {len(used)} pairs by the second rung (ensemble smoother): room {second[0]}, hierarchical {second[1]}")  # fmt: skip
    people = sorted({told["names"][i] for i in used})
    cluster = np.array([people.index(told["names"][i]) for i in used])
    ratio = np.nan
    print(
        f"{'lead':>6s}{'people':>8s}{'RMSE a':>9s}{'b':>8s}{'CRPS a':>9s}{'b':>8s}{'gain of b, % [95 %]':>26s}{'log density b - a, nats':>30s}{'inside 90 % a':>15s}{'b':>7s}"
    )
    for lead in (*LEADS, 0):
        rows = [(a[i][str(lead)], b[i][str(lead)], c) for i, c in zip(used, cluster, strict=True) if str(lead) in a[i]]
        if not rows:
            continue
        who, n = np.array([c for *_, c in rows]), np.array([float(x["n"]) for x, *_ in rows])

        def total(k: int, what: str, w: np.ndarray, rows: Any = rows, who: Any = who, n: Any = n) -> float:
            return float((w[who] * n) @ np.array([r[k][what] for r in rows]) / ((w[who] * n).sum() or np.nan))

        def less(what: str, w: np.ndarray) -> float:
            return total(1, what, w) - total(0, what, w)

        one = np.ones(len(people))
        gain = clustered_interval(lambda w: 100 * (1 - total(1, "crps", w) / total(0, "crps", w)), len(people))
        low, high = clustered_interval(lambda w: less("log_density", w), len(people))
        nats, here = less("log_density", one), total(1, "crps", one) / total(0, "crps", one)
        print(
            f"{lead or 'open':>6}{len(set(who)):8d}{np.sqrt(total(0, 'squared_error', one)):9.1f}{np.sqrt(total(1, 'squared_error', one)):8.1f}{total(0, 'crps', one):9.2f}"
            f"{total(1, 'crps', one):8.2f}{f'{100 * (1 - here):+.1f} [{gain[0]:+.1f}, {gain[1]:+.1f}]':>26s}"
            f"{f'{nats:+.3f} [{low:+.3f}, {high:+.3f}]':>30s}"
            f"{total(0, 'inside90', one):15.3f}{total(1, 'inside90', one):7.3f}"
        )
        ratio = here if lead == 60 else ratio
    day = np.array([b[i]["day"] - a[i]["day"] for i in used])
    each = np.array([day[cluster == c].mean() for c in range(len(people))])
    low, high = clustered_interval(lambda w: float(w @ each / w.sum()), len(people))
    print(
        f"the whole day, nats per reading, b - a: {each.mean():+.4f} [{low:+.4f}, {high:+.4f}], better for {(each > 0).sum()} of {len(each)} people"
    )
    return float(ratio)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="simulated,shanghai-t1,d1namo")
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="do finished stages again")
    parser.add_argument("--json", type=Path, default=Path("gemel-bench") / "metabolic_hierarchy.json")
    options = parser.parse_args()
    kept, ratios = Results(options.json, options.again), {}
    for name in options.sets.split(","):
        settings = {"seed": options.seed, "days": DAYS} | ({"people": options.people} if name == "simulated" else {})
        told = kept.get(name, settings)
        if told is None:
            note(name)
            told = kept.put(
                name, settings, simulated(options.people, options.seed) if name == "simulated" else replayed(name, options.seed)
            )
        if name == "simulated":
            show_simulated(told)
        else:
            ratios[name] = show_replayed(name, told)
    print("\nCRPS at 60 min, hierarchical / room's prior: " + (", ".join(f"{n} {v:.3f}" for n, v in ratios.items()) or "not run"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
