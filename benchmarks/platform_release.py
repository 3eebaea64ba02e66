"""Differential privacy: has a mean of 50 people the variance of the Laplace mechanism (problem V12), and what does a draw cost?

    gemel bench platform-release -- [--draws 100000] [--people 50] [--epsilon 1.0]

The answer is known: 2 (sensitivity / epsilon)², sensitivity (upper - lower) / n. The noise is OpenDP's and has no seed; with 100,000 draws the measured variance
of an honest mechanism has a relative standard error of 0.7 %, so that 2 % is missed by chance once in 200 runs. Beside it Laplace draws of NumPy of the same scale.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from gemel.platform.differential import _mean_measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--epsilon", type=float, default=1.0)
    settings = parser.parse_args()
    lower, upper = 0.0, 10.0
    measure, scale = _mean_measurement(settings.people, lower, upper, settings.epsilon)
    values = [5.0] * settings.people
    begun = time.process_time()
    draws = np.array([measure(values) for _ in range(settings.draws)])
    spent = time.process_time() - begun
    known = 2 * ((upper - lower) / settings.people / settings.epsilon) ** 2
    plain = np.var(np.random.default_rng(1).laplace(scale=scale, size=settings.draws))
    print(f"known variance            {known:.6g}")
    print(f"measured, OpenDP          {np.var(draws):.6g}  ({settings.draws:,} draws, standard error {math.sqrt(5 / settings.draws):.2%})")
    print(f"measured, NumPy's Laplace {plain:.6g}")
    print(f"{settings.draws / spent:,.0f} draws per CPU-second")
    ratio = np.var(draws) / known
    print(f"V12: measured / known = {ratio:.4f}; within 2 %: {'yes' if abs(ratio - 1) <= 0.02 else 'NO'}")


if __name__ == "__main__":
    main()
