"""Borrowed controls: what does each method cost when the controls from outside have drifted?

    gemel bench trials-borrowing -- [--replicates 10000] [--parts patients,priors,oracles] [--json FILE]

*patients* (SIMULATED) draws trials of 100 treated and 50 own controls with 200 controls from outside, whose covariates differ, in a world where every model is
right and in one where outcome and odds bend; each method analyses each trial, drifts of 0 to 0.5 SD are put in, and type-I error, power and error are printed
with Monte-Carlo SE beside those of the own controls. *priors* does the same for priors made of two published histories: exactly, and again by simulated trials
whose posterior is integrated apart from the product's code. *oracles* prints the meta-analytic priors of both histories beside the specification's numbers.
"""

from __future__ import annotations

import argparse
import math
import time
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from _results import Results, note
from scipy import integrate, special, stats

DRIFTS = (0.0, 0.1, 0.2, 0.3, 0.5)
METHODS = ("iptw", "overlap", "entropy", "doubly-robust", "maic", "stc")
WORLDS = ("models right", "models bent")
SIZES, EFFECT = (100, 50, 200), 0.4
HISTORIES = {
    "secukinumab controls": ("as_secukinumab_controls.csv", None, (24, 24)),
    "Crohn controls": ("crohn_controls.csv", 88.0, (40, 40)),
}


def trial(rng: np.random.Generator, world: str) -> tuple[Any, float, float]:
    """Draw a trial without effect; return it with the mean difference from its own controls and that one's error. Outcomes have SD 1."""
    from gemel.trials.data import TrialData
    from gemel.trials.external import ExternalData

    treated, own, outside = SIZES
    count = treated + own + outside
    x = rng.normal(size=(count, 3))
    x[: treated + own, 0] += 0.5
    x[: treated + own, 1] *= 1.0 if world == "models right" else 1.25  # odds that a straight line misses
    bend = 0.0 if world == "models right" else 0.3 * (x[:, 1] ** 2 - 1)
    y = 0.45 * x[:, 0] + 0.3 * x[:, 2] + bend + rng.normal(size=count) * math.sqrt(1 - 0.45**2 - 0.3**2)
    arm = np.repeat([1, 2, 0], [treated, own, outside])
    data = TrialData(tuple(map(str, range(count))), ("external", "active", "control"), arm, y, x, ("x0", "x1", "x2"))
    a, b = y[arm == 1], y[arm == 2]
    return ExternalData(data, "active", "control"), float(a.mean() - b.mean()), math.sqrt(a.var(ddof=1) / treated + b.var(ddof=1) / own)


def patients(world: str, replicates: int) -> dict[str, Any]:
    from dataclasses import replace

    from gemel.core.errors import GemelError
    from gemel.trials.adjust.base import of_means
    from gemel.trials.estimand import Summary
    from gemel.trials.external import arm_means

    rng, begin = np.random.default_rng([replicates, WORLDS.index(world)]), time.process_time()
    found = {m: np.full((replicates, 2), np.nan) for m in METHODS}
    own, apart = np.empty((replicates, 2)), 0.0
    for k in range(replicates):
        if k % 1000 == 0:
            note(f"{world}: {k} of {replicates}")
        data, *own[k] = trial(rng, world)
        for method in METHODS:
            try:
                found[method][k] = of_means(arm_means(data, method, seed=k), Summary.MEAN_DIFFERENCE, 0, 1)
                if k < 50:  # a drift moves the estimate by as much: seen, not only believed
                    moved = replace(data.trial, outcome=np.where(data.trial.arm == 0, data.trial.outcome - 0.3, data.trial.outcome))
                    again = of_means(arm_means(replace(data, trial=moved), method, seed=k), Summary.MEAN_DIFFERENCE, 0, 1)
                    apart = max(apart, abs(again[0] - found[method][k, 0] - 0.3), abs(again[1] - found[method][k, 1]))
            except GemelError:
                continue
    told: dict[str, Any] = {"seconds": time.process_time() - begin, "shift_error": apart, "methods": {}}
    for name, drawn in {**found, "own controls": own}.items():
        kept = drawn[np.isfinite(drawn[:, 0])]
        rows = []
        for drift in DRIFTS if name != "own controls" else (0.0,):
            estimate, error = kept[:, 0] + drift, kept[:, 1]
            rate = float((np.abs(estimate) > 1.959964 * error).mean())
            power = float((np.abs(estimate + EFFECT) > 1.959964 * error).mean())
            square = estimate**2
            rows.append([drift, rate, power, float(square.mean()), float(square.std() / math.sqrt(len(kept)))])
        told["methods"][name] = {
            "rows": rows,
            "refused": int(replicates - len(kept)),
            "said_over_seen": float(kept[:, 1].mean() / kept[:, 0].std()),
        }
    return told


def history_of_file(name: str) -> Any:
    from gemel.platform.datasets import resolve
    from gemel.trials import columns_of
    from gemel.trials.external import history_of

    file, sigma, _ = HISTORIES[name]
    return history_of(columns_of((resolve("rbest-controls", download=False) / file).read_text().splitlines()), sigma=sigma)


def simulated(prior: Any, history: Any, sizes: tuple[int, int], truth: float, replicates: int, rng: np.random.Generator) -> float:
    """Share of trials without an effect in which the arms are told apart; the posterior written out apart from the product's code."""
    nc, nt = sizes
    if not history.is_rate:
        control, treated = (truth + history.sigma / math.sqrt(n) * rng.normal(size=replicates) for n in sizes)
        e2 = history.sigma**2 / nc
        logs = np.log(prior.weights) - 0.5 * np.log(prior.sds**2 + e2) - 0.5 * (control[:, None] - prior.means) ** 2 / (prior.sds**2 + e2)
        share = prior.sds**2 / (prior.sds**2 + e2)
        centre, spread = prior.means + share * (control[:, None] - prior.means), np.sqrt(share * e2 + history.sigma**2 / nt)
        above = (special.softmax(logs, axis=1) * special.ndtr((treated[:, None] - centre) / spread)).sum(axis=1)
        return float(((above > 0.975) | (above < 0.025)).mean())

    @cache
    def chance(rc: int, rt: int) -> float:
        a, b = prior.a + rc, prior.b + nc - rc
        w = special.softmax(np.log(prior.weights) + special.betaln(a, b) - special.betaln(prior.a, prior.b))
        inside = lambda p: float(w @ stats.beta.pdf(p, a, b)) * float(special.betaincc(1 + rt, 1 + nt - rt, p))  # noqa: E731
        return integrate.quad(inside, 0, 1, limit=100, epsabs=1e-6)[0]

    control, treated = (rng.binomial(n, truth, replicates) for n in sizes)
    above = np.array([chance(int(a), int(b)) for a, b in zip(control, treated, strict=True)])
    return float(((above > 0.975) | (above < 0.025)).mean())


def priors(name: str, replicates: int) -> dict[str, Any]:
    from gemel.trials.external.drift import prior_map
    from gemel.trials.external.power_prior import weak_prior
    from gemel.trials.external.priors import PRIORS, prior_of

    history, sizes, begin = history_of_file(name), HISTORIES[name][2], time.process_time()
    told: dict[str, Any] = {"methods": {}}
    for method in PRIORS:
        note(f"{name}: {method}")
        prior, _ = prior_of(history, method)
        found = prior_map(
            prior,
            weak=weak_prior(history),
            n_control=sizes[0],
            n_treated=sizes[1],
            centre=history.pooled,
            sigma=history.sigma,
            drifts=DRIFTS,
        )
        rng = np.random.default_rng([replicates, PRIORS.index(method)])
        again = [simulated(prior, history, sizes, history.pooled + shift, replicates, rng) for shift in found.shift]
        told["methods"][method] = {
            "exact": found.type_one.tolist(),
            "simulated": again,
            "power": found.power.tolist(),
            "root_mse": np.sqrt(found.squared_error).tolist(),
            "without": list(found.without),
            "worth": prior.effective_size() if history.is_rate else prior.effective_size(history.sigma),
        }
    return told | {"seconds": time.process_time() - begin}


def oracles() -> None:
    from gemel.trials.external import map_prior

    begin = time.process_time()
    rates, means = history_of_file("secukinumab controls"), history_of_file("Crohn controls")
    for scale, said in ((1.0, ".2583 .0873 .1109 .2486 .4713; tau .3788 .3490"), (0.5, ".2561 .0768 .1232 .2485 .4403; tau .3312")):
        m = map_prior(rates, tau_scale=scale)
        q = " ".join(f"{m.quantile(p):.4f}" for p in (0.025, 0.5, 0.975))
        print(
            f"secukinumab, tau ~ HN({scale:g}): mean {m.mean:.4f} SD {m.sd:.4f} quantiles {q}; tau {m.tau_mean:.4f} median {m.tau_median:.4f}; specification {said}"
        )
        print(f"  worth {m.mixture.effective_size():.1f} patients by ELIR (RBesT's vignette, from memory, says about 30 to 40: not a gate)")
    m = map_prior(means, tau_scale=44.0, mu_mean=0.0, mu_sd=88.0)
    print(
        f"Crohn, sigma 88 (from memory), tau ~ HN(44): mean {m.mean:.3f} SD {m.sd:.3f}; tau {m.tau_mean:.3f}; mu SD {m.mu_sd:.3f}; specification -49.817 19.419; 14.421; 8.557"
    )
    print(f"  worth {m.mixture.effective_size(88.0):.1f} patients by ELIR; three priors in {time.process_time() - begin:.1f} CPU-s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--parts", default="patients,priors,oracles")
    parser.add_argument("--json", type=Path, default=Path("build/bench/trials_borrowing.json"))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    kept, parts = Results(options.json, options.again), options.parts.split(",")
    settings, missed = {"replicates": options.replicates}, []
    error = math.sqrt(0.05 * 0.95 / options.replicates)
    for world in WORLDS if "patients" in parts else ():
        found = kept.get(world, settings) or kept.put(world, settings, patients(world, options.replicates))
        print(
            f"SIMULATED, {world}: {SIZES[0]} treated, {SIZES[1]} own controls, {SIZES[2]} from outside, {options.replicates} trials, type-I error not controlled"
        )
        for name, told in found["methods"].items():
            cells = "  ".join(
                f"{d:g}: {r:.4f} ({math.sqrt(r * (1 - r) / options.replicates):.4f}) {p:.3f} {math.sqrt(m):.4f}"
                for d, r, p, m, _ in told["rows"]
            )
            print(f"  {name:14s} drift: type-I (MC SE) power root MSE  {cells}")
            rates = [row[1] for row in told["rows"]]
            if world == "models right" and any(b < a for a, b in pairwise(rates)):
                missed.append(f"{world}, {name}")
            print(f"  {'':14s} stated over realised error {told['said_over_seen']:.3f}, refused {told['refused']}")
        print(f"  a drift moves the estimate by as much, to {found['shift_error']:.1e}; {found['seconds']:.0f} CPU-s")
    for name in HISTORIES if "priors" in parts else ():
        found = kept.get(name, settings) or kept.put(name, settings, priors(name, options.replicates))
        print(f"{name} (REAL history), trial of {HISTORIES[name][2]}, SIMULATED, type-I error not controlled")
        for method, told in found["methods"].items():
            cells = "  ".join(
                f"{d:g}: {a:.4f} [{b:.4f}] {p:.3f} {m:.4g}"
                for d, a, b, p, m in zip(DRIFTS, *(told[k] for k in ("exact", "simulated", "power", "root_mse")), strict=True)
            )
            print(f"  {method:17s} worth {told['worth']:6.1f}; drift: type-I exact [simulated, MC SE {error:.4f}] power root MSE  {cells}")
            far = max(
                abs(a - b) / math.sqrt(max(a * (1 - a), 1e-4) / options.replicates)
                for a, b in zip(told["exact"], told["simulated"], strict=True)
            )
            if far > 3.5:
                missed.append(f"{name}, {method}: {far:.1f} MC SE between exact and simulated")
            if method in ("power", "map", "commensurate") and any(b < a for a, b in pairwise(told["exact"])):
                missed.append(f"{name}, {method}: not rising")
        a, p, m = told["without"]
        print(f"  own controls alone: type-I {a:.4f}, power {p:.3f}, root MSE {math.sqrt(m):.4g}; {found['seconds']:.0f} CPU-s")
    if "oracles" in parts:
        oracles()
    print("not as theory says: " + ("; ".join(missed) if missed else "nothing"))


if __name__ == "__main__":
    main()
