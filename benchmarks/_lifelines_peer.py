"""lifelines in its own environment: log-rank, Kaplan-Meier and restricted means of the trials in a file. Prints JSON.

python _lifelines_peer.py FILE.npz TAU
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def main() -> None:
    import lifelines
    from lifelines import CoxPHFitter, KaplanMeierFitter
    from lifelines.statistics import logrank_test
    from lifelines.utils import restricted_mean_survival_time

    with np.load(sys.argv[1]) as stored:
        data, tau = {k: stored[k] for k in stored.files}, float(sys.argv[2])
    told, begin = {}, time.process_time()
    for key, (t, d, a) in data.items():
        test = logrank_test(t[a == 1], t[a == 0], d[a == 1], d[a == 0])
        curves = [KaplanMeierFitter().fit(t[a == k], d[a == k]) for k in (0, 1)]
        survival = [c.survival_function_at_times(tau / 2).iloc[0] for c in curves]
        means = [restricted_mean_survival_time(c, tau) for c in curves]
        told[key] = {"chi_squared": float(test.test_statistic), "survival": list(map(float, survival)), "means": list(map(float, means))}
    seconds = time.process_time() - begin
    import pandas as pd

    for key, (t, d, a) in list(data.items())[:20]:  # Cox apart: Efron's ties, so only where there are none
        if len(np.unique(t)) == len(t):
            fit = CoxPHFitter().fit(pd.DataFrame({"t": t, "d": d, "a": a}), "t", "d", fit_options={"precision": 1e-10})
            told[key]["cox"] = [float(fit.params_["a"]), float(fit.standard_errors_["a"])]
    from lifelines.datasets import load_rossi

    rossi = load_rossi()
    t, d, a = (rossi[c].to_numpy(float) for c in ("week", "arrest", "fin"))
    test = logrank_test(t[a == 1], t[a == 0], d[a == 1], d[a == 0])
    means = [float(restricted_mean_survival_time(KaplanMeierFitter().fit(t[a == k], d[a == k]), 52)) for k in (0, 1)]
    real = {"columns": {c: rossi[c].tolist() for c in rossi.columns}, "chi_squared": float(test.test_statistic), "means": means}
    print(json.dumps({"version": lifelines.__version__, "seconds": seconds, "trials": told, "rossi": real}))


if __name__ == "__main__":
    main()
