"""statsmodels in its own environment: OLS with HC1 and HC3 of the designs in a file, or with the kinds that are named, then with p-values and intervals. Prints JSON.

python _statsmodels_peer.py FILE.npz [hc1,hc3]
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def main() -> None:
    import statsmodels
    import statsmodels.api as sm

    with np.load(sys.argv[1]) as stored:
        data = {k: stored[k] for k in stored.files}
    kinds = sys.argv[2].split(",") if len(sys.argv) > 2 else ["hc1", "hc3"]
    told, begin = {}, time.process_time()
    for key in sorted(k for k in data if k.startswith("x")):
        y = data["y" + key[1:]]
        fits = {kind: sm.OLS(y, data[key]).fit(cov_type=kind.upper()) for kind in kinds}
        if len(sys.argv) > 2:
            for fit in fits.values():
                _ = fit.pvalues, fit.conf_int()
        told[key] = {"estimate": float(fits[kinds[0]].params[1])} | {k: float(f.bse[1]) for k, f in fits.items()}
    print(json.dumps({"version": statsmodels.__version__, "seconds": time.process_time() - begin, "fits": told}))


if __name__ == "__main__":
    main()
