"""Pinned forecasts: one simulated person per twin, calibrated, assimilated and forecast; a changed constant, equation or method shows here first.

``python -m gemel.testing.golden FOLDER`` pins them anew; that needs a new version of the model and a line in the changelog.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gemel.engine.forecast import forecast
from gemel.engine.keys import stream
from gemel.engine.room import Room
from gemel.engine.twin import assimilate, calibrate

__all__ = ["LEVELS", "TOLERANCE", "difference", "golden_forecast", "pin"]

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
TOLERANCE = 0.02
"""Share of the width of the 90 % band by which a quantile may differ: other processors round otherwise, and optimisers amplify it. A constant that is changed
by one per cent moves the toys and the metabolic twins by more."""
DRAWS, SHARE = 512, 0.85


def golden_forecast(room: Room, *, seed: int = 20) -> dict[str, Any]:
    """Return quantiles of the forecast of one simulated person, calibrated at 85 % of the record and assimilated to its end.

    Returns
    -------
    Plain values: twin, version, outputs, minutes ahead, levels and quantiles (level, time, output).
    """
    key = jax.random.key(seed)
    record, now, _ = room.simulate_record(stream(key, "golden"))
    first = min(int(s.time.min()) for s in record.series)
    model = room.model()
    twin = calibrate(model, record, first + round(SHARE * (now - first)), method=room.method(), key=stream(key, "calibrate"))
    twin = assimilate(twin, record, now)
    made = forecast(twin, None, room.times(twin), n=DRAWS, key=stream(key, "forecast"))
    return {
        "twin": room.id, "version": model.version, "outputs": [o.name for o in model.outputs], "minutes": [float(h) for h in made.horizons],
        "levels": list(LEVELS), "quantiles": np.round(np.quantile(made.draws, LEVELS, axis=0), 6).tolist(),
    }  # fmt: skip


def difference(pinned: dict[str, Any], found: dict[str, Any]) -> float:
    """Return the largest difference of a quantile, as a share of the width of the pinned 90 % band at that time; infinite for other shapes."""
    a, b = np.asarray(pinned["quantiles"], float), np.asarray(found["quantiles"], float)
    if a.shape != b.shape or pinned["outputs"] != found["outputs"] or pinned["minutes"] != found["minutes"]:
        return float("inf")
    width = np.maximum(a[-1] - a[0], 1e-9)
    return float((np.abs(a - b) / width).max())


def pin(folder: Path) -> list[Path]:
    """Write the forecast of every installed twin of ours into a folder."""
    from gemel.core.manifest import installed
    from gemel.verbs import room

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in installed():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(golden_forecast(room(name)), indent=1) + "\n", encoding="utf-8")
        written.append(path)
    return written


if __name__ == "__main__":
    for made in pin(Path(sys.argv[1])):
        print(made)
