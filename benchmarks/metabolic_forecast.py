"""Forecasts of the metabolic twin under protocol P on every public set, beside last value, pooled ridge and a small LSTM trained on the same parts;
then each person by what was learnt from the others only.

    gemel bench metabolic-forecast [--sets colas,d1namo] [--no-peers] [--no-unseen] [--json FILE]

Finished sets are kept in the JSON file and not repeated. The last line is the ratio of the twin's RMSE to ridge's at 60 minutes, set by set.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

SETS = {
    "d1namo": ("d1namo", "d1namo", None),
    "shanghai-t1": ("shanghai", "shanghai", "1"),
    "shanghai-t2": ("shanghai", "shanghai", "2"),
    "colas": ("colas", "colas", None),
    "physiocgm": ("physiocgm", "glucose-ml", None),
    "azt1d": ("azt1d", "glucose-ml", None),
    "hupa-ucm": ("hupa-ucm", "glucose-ml", None),
    "brist1d": ("brist1d", "glucose-ml", None),
}


def run(name: str, *, peers: bool, unseen: bool) -> dict[str, Any]:
    from gemel.evidence.validation import validate
    from gemel.interop.wearables import read_all
    from gemel.platform.datasets import resolve
    from gemel.twins.metabolic.evidence import PROTOCOL

    dataset, layout, prefix = SETS[name]
    records = [r for r, _ in read_all(resolve(dataset), format=layout) if prefix is None or r.id.startswith(prefix)]
    begin = time.process_time()
    told = validate(PROTOCOL, records, peers=peers, unseen=unseen).to_dict()
    return told | {"set": name, "cpu_seconds": round(time.process_time() - begin, 1)}


def show(told: dict[str, Any]) -> None:
    print(
        f"\n{told['set']}: {told['people']} people, {told['recordings']} recordings, windows {told['windows']}, {told['cpu_seconds']} CPU-s"
    )
    print(
        f"{'forecaster':22s}{'min':>5s}{'RMSE':>8s}{'median':>8s}{'MAE':>7s}{'CRPS':>7s}{'90 %':>7s}{'<70':>7s}{'70-180':>8s}{'>180':>7s}{'person':>8s}{'width':>7s}{'gain %':>8s}  95 % interval"
    )
    for r in told["rows"]:
        bands = "".join(f"{'-' if b is None else format(b, '.3f'):>{w}s}" for b, w in zip(r["coverage90_bands"], (7, 8, 7), strict=True))
        low, high = r["gain_rmse_interval"]
        print(
            f"{r['forecaster']:22s}{r['horizon']:5d}{r['rmse']:8.2f}{r['rmse_median_person']:8.2f}{r['mae']:7.2f}{r['crps']:7.2f}{r['coverage90']:7.3f}{bands}"
            f"{r['coverage90_median_person']:8.3f}{r['width90']:7.1f}{r['gain_rmse']:8.1f}  [{low}, {high}]"
        )
    for who, a in told["alarms"].items():
        print(
            f"alarm, {who}: {a['events']} events in {a['days']} days, sensitivity {a['sensitivity']:.2f} at {a['false_alarms_per_day']:.2f} false alarms a day"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--no-peers", action="store_true", help="leave the LSTM out")
    parser.add_argument("--no-unseen", action="store_true", help="leave out the people forecast by what was learnt from others only")
    parser.add_argument("--json", type=Path, default=Path("gemel-bench") / "metabolic_forecast.json")
    options = parser.parse_args()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    for name in options.sets.split(","):
        if name not in done:
            done[name] = run(name, peers=not options.no_peers, unseen=not options.no_unseen)
            options.json.write_text(json.dumps(done, indent=1))
        show(done[name])
    ratios = {
        n: next(r["rmse"] for r in done[n]["rows"] if (r["forecaster"], r["horizon"]) == ("twin", 60))
        / next(r["rmse"] for r in done[n]["rows"] if (r["forecaster"], r["horizon"]) == ("ridge", 60))
        for n in options.sets.split(",")
    }
    print("\nRMSE twin / ridge at 60 min: " + ", ".join(f"{n} {v:.3f}" for n, v in ratios.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
