"""``gemel demo metabolic-trial``: a lifestyle programme on virtual people with type 2 diabetes, as a trial. SIMULATED in every view."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gemel.cli.options import use_engine
from gemel.cli.output import atomic_write, plain

__all__ = ["run"]

PEOPLE, REPLICAS, TRIALS, MAP_PEOPLE = 10_000, 200, 1000, 1000
DEFICITS, KEPT, RESERVE = (250.0, 500.0, 750.0, 1000.0), (0.4, 0.6, 0.8, 1.0), (1.0, 1.5, 2.5)


def run(*, output: Path, seed: int, say: Any, progress: Any) -> dict[str, Any]:
    """Check the model against published aggregates, predict the trial forward, repeat it, map the assumptions, withdraw drugs; ``files`` names what was written."""
    import jax
    import numpy as np

    use_engine()
    from gemel.core.lineage import Lineage
    from gemel.engine.keys import stream
    from gemel.evidence.fingerprint import model_hash
    from gemel.trials.simulate import Design, DifferenceInProportions, Population, simulate
    from gemel.twins.metabolic.slow import trial
    from gemel.twins.metabolic.slow.evidence import CREDIBILITY, external_checks
    from gemel.twins.metabolic.slow.model import SlowModel
    from gemel.twins.metabolic.slow.trial_report import trial_view
    from gemel.web import render_html

    key, steps = jax.random.key(seed), 5
    progress.start("trial", steps)
    external = external_checks(key=stream(key, "external"))
    for line in external.lines():
        say(line)
    progress.update(1)
    people = trial.enrolled(PEOPLE, key=stream(key, "people"))
    arms = trial.arms(people, replicas=REPLICAS, key=stream(key, "arms"))
    say(f"{people.size:,} virtual people (SIMULATED), forward, nothing fitted to the trial: median [90 % predictive interval], published")
    for arm, name in zip(arms, ("coached", "usual"), strict=True):
        low, middle, high = (100 * x for x in arm.share)
        published = 100 * trial.PUBLISHED[name]
        word = "inside" if low <= published <= high else "OUTSIDE"
        say(
            f"  {arm.name}: {middle:.0f} % [{low:.0f}, {high:.0f}] below 6.5 % without drugs but metformin; published {published:g} %, {word}; weight {100 * arm.weight[1]:+.1f} % "
            f"(published {100 * trial.PUBLISHED[name + ' weight']:+.1f} %)"
        )
    progress.update(2)
    usual, coached = (trial.outcomes(people, p, key=stream(key, "outcomes")).reached.astype(float) for p in (trial.USUAL, trial.COACHED))
    world = Population(usual, coached, np.stack([np.asarray(people.hba1c), np.asarray(people.person.duration)], axis=1))
    found = simulate(Design(50, 100, (DifferenceInProportions(),)), world, TRIALS, key=stream(key, "trials"))["proportions"]
    low, middle, high = (float(x) for x in np.quantile(found.estimates, [0.05, 0.5, 0.95]))
    say(
        f"  100 and 50 people, {TRIALS:,} trials: difference {100 * middle:.0f} points [{100 * low:.0f}, {100 * high:.0f}], power {100 * found.power:.1f} %"
    )
    progress.update(3)
    some = people.take(np.arange(MAP_PEOPLE))
    grid = trial.assumption_map(some, deficits=DEFICITS, kept=KEPT, reserve=RESERVE, key=stream(key, "map"))
    best = np.unravel_index(int(grid.argmax()), grid.shape)
    say(
        f"  highest share on the map {100 * grid.max():.0f} % (deficit {DEFICITS[best[1]]:.0f} kcal/d, {100 * KEPT[best[2]]:.0f} % kept, "
        f"beta cells recovering {RESERVE[best[0]]:g} times as much); published 71 %"
    )
    progress.update(4)
    withdrawals = trial.deprescribing(people, key=stream(key, "withdrawals"))
    for name, w in withdrawals.items():
        say(f"  {name}: {w['people']} people, HbA1c {w['hba1c']:.1f} % ({w['change']:+.1f}), {100 * w['below 6.5']:.0f} % below 6.5 %")
    say(CREDIBILITY)
    progress.update(5)
    model = SlowModel()
    lineage = Lineage(
        record="virtual people",
        model=model.id,
        model_version=model.version,
        code_version=_version(),
        method=f"forward, model {model_hash(model.id)[:12]}",
        seed=seed,
    )
    view = trial_view(
        external=external, arms=arms, people=people.size, power=(found.power, found.errors["power"]), difference=(low, middle, high), grid=grid,
        deficits=DEFICITS, kept=KEPT, reserve=RESERVE, withdrawals=withdrawals, lineage=lineage,
    )  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    files = {"report": output / "report.html", "scores": output / "scores.json"}
    atomic_write(files["report"], render_html(view).encode())
    told = {
        "shown_on": {"kind": "simulated", "n": people.size}, "external": {"passed": external.passed, "lines": external.lines()},
        "arms": {a.name: {"share": a.share, "weight": a.weight} for a in arms}, "published": trial.PUBLISHED, "trial": found.to_dict(),
        "map": {"deficits": DEFICITS, "kept": KEPT, "reserve": RESERVE, "share": grid.tolist()}, "withdrawals": withdrawals, "assumed": trial.ASSUMED,
        "credibility": CREDIBILITY, "lineage": lineage.id, "files": {k: str(v) for k, v in files.items()},
    }  # fmt: skip
    atomic_write(files["scores"], (json.dumps(plain(told), indent=1) + "\n").encode())
    return told


def _version() -> str:
    from gemel import __version__

    return __version__
