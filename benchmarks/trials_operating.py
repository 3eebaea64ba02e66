"""Does the level hold whatever the twin is, do intervals cover, and does R² come back as patients saved?

    gemel bench trials-operating -- [--replicates 1000000] [--mixed 10000] [--parts closed,robust,mixed] [--sizes 200,500,60] [--json FILE]

*closed* reads trials of 200, 500 and 60 without and with the prognosis by closed form, under no effect, with the true model and four wrong ones (noise, one SD too high, learnt in a
shifted population, anti-correlated), by HC3, HC2 (Bell and McCaffrey's degrees of freedom) and HC1. *robust* does the same where nothing is normal or equal: skewed errors, twice the SD under
treatment, two treated for one control. *mixed* reads longitudinal trials of 200 with 25 % dropout by mixed models. Bands at 200 patients or more: type-I error .0486 to .0514,
coverage .946 to .954, patients saved within 2 points of R²; 60 patients are reported. All of it is SIMULATED. Stages are kept and taken up again where a run stopped.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse  # noqa: E402
import hashlib  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
from _results import Results, note  # noqa: E402

from gemel.trials.simulate import Design, LinearModel, LinearWorld, LongitudinalWorld, RepeatedMeasures, reduction, simulate  # noqa: E402

KINDS = ("hc3", "hc2", "hc1")
TWINS = ("true", "noise", "biased", "shifted", "anti-correlated")
LEVEL, COVERAGE = (0.0486, 0.0514), (0.946, 0.954)
R_SQUARED = 0.25
SHIFTED = R_SQUARED * 0.25 / np.expm1(0.25)
"""What a prognosis exp((s + 1) / 2) is worth, that bends: its squared correlation with s is 0.25 / (e^0.25 - 1)."""
WORTH = {"true": R_SQUARED, "noise": 0.0, "biased": R_SQUARED, "shifted": SHIFTED, "anti-correlated": R_SQUARED}
PARTS = ("closed", "robust", "mixed")
ROBUST = [(noise, ratio, allocation) for allocation in (1, 2) for noise in ("normal", "skewed") for ratio in (1.0, 2.0)]


def key_of(what: str) -> int:
    """Return a key of a cell's own, so that cells are independent."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:7], "little")


class Told:
    """A word now and then to whoever waits."""

    def __init__(self, what: str) -> None:
        self.what, self.label = what, ""

    def start(self, _label: str, total: int | None) -> None:
        self.label = f"of {total}"

    def update(self, done: int, _note: str = "") -> bool:
        if done % 250_000 == 0:
            note(f"{self.what}: {done} {self.label}")
        return True

    def finish(self) -> None:
        pass


def figures(found: Any) -> dict[str, Any]:
    return {
        "type_one": found.power, "type_one_error": found.errors["power"], "coverage": found.coverage, "coverage_error": found.errors["coverage"],
        "failed": found.failed, "replicates": found.replicates,
    }  # fmt: skip


def closed(world: LinearWorld, sizes: tuple[int, int], replicates: int, what: str) -> dict[str, Any]:
    begin = time.process_time()
    design = Design(*sizes, (LinearModel(0, "hc2", "unadjusted"), *(LinearModel(1, kind, kind) for kind in KINDS)))
    found = simulate(design, world, replicates, key=key_of(what), progress=Told(what))
    saved, error = reduction(found["unadjusted"], found["hc2"])
    told = {name: figures(one) for name, one in found.items()}
    return told | {"saved": saved, "saved_error": error, "seconds": time.process_time() - begin}


def mixed(world: LongitudinalWorld, replicates: int, what: str) -> dict[str, Any]:
    begin = time.process_time()
    found = simulate(Design(100, 100, (RepeatedMeasures(0), RepeatedMeasures(1))), world, replicates, key=key_of(what))
    saved, error = reduction(found["mmrm unadjusted"], found["mmrm"])
    return {name: figures(one) for name, one in found.items()} | {
        "saved": saved,
        "saved_error": error,
        "seconds": time.process_time() - begin,
    }


def where(value: float, band: tuple[float, float]) -> str:
    return "inside" if band[0] <= value <= band[1] else "OUTSIDE"


def line(name: str, one: dict[str, Any], *, judged: bool) -> str:
    level, cover = one["type_one"], one["coverage"]
    return (
        f"  {name:16s} type-I {level:.4f} ({one['type_one_error']:.4f})" + (f" {where(level, LEVEL):7s}" if judged else "")
        + f"  coverage {cover:.4f} ({one['coverage_error']:.4f})" + (f" {where(cover, COVERAGE)}" if judged else "") + (f"  {one['failed']} failed" if one["failed"] else "")
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1_000_000)
    parser.add_argument("--mixed", type=int, default=10_000)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--sizes", default="200,500,60")
    parser.add_argument("--json", type=Path, default=Path("build/bench/trials_operating.json"))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    kept, parts = Results(options.json, options.again), options.parts.split(",")
    sizes = [int(n) for n in options.sizes.split(",")]
    outside: dict[str, list[str]] = {kind: [] for kind in KINDS}
    seconds, wrong = 0.0, []
    if "closed" in parts:
        for n in sizes:
            for twin in TWINS:
                name, settings = f"{n} patients, {twin}", {"replicates": options.replicates}
                found = kept.get(name, settings) or kept.put(
                    name, settings, closed(LinearWorld(twin=twin), (n // 2, n // 2), options.replicates, name)
                )
                seconds += found["seconds"]
                print(
                    f"{name}: saved {100 * found['saved']:.2f} % ({100 * found['saved_error']:.2f}), R² of the prognosis {100 * WORTH[twin]:.2f} %"
                )
                for kind in ("unadjusted", *KINDS):
                    print(line(kind, found[kind], judged=n >= 200))
                    if kind in KINDS and n >= 200:
                        if where(found[kind]["type_one"], LEVEL) == "OUTSIDE":
                            outside[kind].append(f"{name} {found[kind]['type_one']:.4f}")
                        if where(found[kind]["coverage"], COVERAGE) == "OUTSIDE":
                            outside[kind].append(f"{name} coverage {found[kind]['coverage']:.4f}")
                if n >= 200 and abs(found["saved"] - WORTH[twin]) > 0.02:
                    wrong.append(name)
    if "robust" in parts:
        for n in sizes:
            for noise, ratio, allocation in ROBUST:
                name = f"{n} patients at {allocation}:1, {noise} errors, SD under treatment times {ratio:g}"
                settings, treated = {"replicates": options.replicates}, round(n * allocation / (1 + allocation))
                world = LinearWorld(noise=noise, sd_ratio=ratio)
                found = kept.get(name, settings) or kept.put(
                    name, settings, closed(world, (n - treated, treated), options.replicates, name)
                )
                seconds += found["seconds"]
                print(
                    name + ": " + "; ".join(f"{k} {found[k]['type_one']:.4f}" for k in KINDS) + f" ({found['hc2']['type_one_error']:.4f})"
                )
    if "mixed" in parts:
        for twin in TWINS:
            name, settings = f"mixed models, {twin}", {"replicates": options.mixed}
            found = kept.get(name, settings) or kept.put(
                name, settings, mixed(LongitudinalWorld(twin=twin, dropout=0.25), options.mixed, name)
            )
            seconds += found["seconds"]
            print(f"{name}, 200 patients: saved {100 * found['saved']:.2f} % ({100 * found['saved_error']:.2f})")
            for kind in ("mmrm unadjusted", "mmrm"):
                print(line(kind, found[kind], judged=False))
    if "closed" in parts:
        for kind in KINDS:
            print(f"{kind}, 200 patients or more, outside its band: " + ("; ".join(outside[kind]) or "nowhere"))
        print("patients saved within 2 points of R²: " + ("everywhere" if not wrong else "not in " + "; ".join(wrong)))
    print(f"{seconds:.0f} CPU-s; SIMULATED")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
