"""River's drift detectors on streams of predictions and outcomes: run with the Python of the peer's own environment. Imports nothing of ours.

    PEER_PYTHON benchmarks/_drift_peer.py STREAMS.npz OUT.json RUN_LENGTH

Each detector is set to the wanted run length on the tuning streams by bisection of its own parameter, checked on others, then run until its first alarm.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import river
from river.drift import ADWIN, PageHinkley
from river.drift.binary import DDM


def residual(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    return y - p


def squared(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (y - p) ** 2


def wrong(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((p > 0.5) != (y > 0.5)).astype(float)


# name -> signal, detector of one number (larger: rings later), range of that number (searched in logarithms)
DETECTORS: dict[str, tuple[Callable[..., np.ndarray], Callable[[float], Any], tuple[float, float]]] = {
    "ADWIN, y - p": (residual, lambda v: ADWIN(delta=10.0**-v), (0.05, 12.0)),
    "ADWIN, (y - p)^2": (squared, lambda v: ADWIN(delta=10.0**-v), (0.05, 12.0)),
    "PageHinkley, y - p": (residual, lambda v: PageHinkley(threshold=v, alpha=1.0, delta=0.03, min_instances=30), (0.5, 200.0)),
    "PageHinkley, (y - p)^2": (squared, lambda v: PageHinkley(threshold=v, alpha=1.0, delta=0.02, min_instances=30), (0.5, 200.0)),
    "DDM, wrong class": (wrong, lambda v: DDM(warm_start=30, warning_threshold=1.0, drift_threshold=v), (1.05, 12.0)),
}


def first_alarm(make: Callable[[], Any], signal: np.ndarray) -> int:
    """Return the case (from 0) at which it first rings, or -1."""
    detector = make()
    for i, value in enumerate(signal.tolist()):
        detector.update(value)
        if detector.drift_detected:
            return i
    return -1


def share(make: Callable[[], Any], signals: np.ndarray) -> float:
    return float(np.mean([first_alarm(make, s) >= 0 for s in signals]))


def main(source: str, out: str, wanted: float) -> None:
    streams = np.load(source)
    told: dict[str, Any] = {"river": river.__version__, "detectors": {}}
    for name, (signal, build, (low, high)) in DETECTORS.items():
        begin = time.process_time()
        tuning = signal(streams["tune_p"], streams["tune_y"])
        goal = 1 - np.exp(-tuning.shape[1] / wanted)
        a, b = np.log(low), np.log(high)
        for _ in range(9):
            middle = 0.5 * (a + b)
            if share(partial(build, float(np.exp(middle))), tuning) > goal:
                a = middle
            else:
                b = middle
        chosen = float(np.exp(b))
        rang = share(partial(build, chosen), signal(streams["check_p"], streams["check_y"]))
        found = {"parameter": chosen, "share_in_control": rang, "first": {}}
        for kind in streams["kinds"].tolist():
            signals = signal(streams[f"p_{kind}"], streams[f"y_{kind}"])
            found["first"][kind] = [first_alarm(partial(build, chosen), s) for s in signals]
        found["cpu_s"] = time.process_time() - begin
        told["detectors"][name] = found
        print(f"{name}: {found['cpu_s']:.0f} CPU-s", file=sys.stderr, flush=True)
    with open(out, "w", encoding="utf-8") as sink:
        json.dump(told, sink)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
