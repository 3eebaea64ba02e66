"""How a body answers to a change, estimated on virtual people who are not judged: drawn anew, with lives and sensors of their own.

The constants ``effect_*`` of the room come from here (``gemel bench metabolic-replay --learn 20``): those that make the MARD of replayed glucose least
over people of all three groups, once with each third of the people left out (printed: what the rest makes of them), once with all.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

GROUPS, BATCH, FIRST_SEED, DRAWS = ("adult", "adolescent", "child"), 10, 11, 16


def persons_of(group: str, seed: int) -> list[Any]:
    """Draw ten people of a group with ratios that are right for them."""
    from metabolic_replay import drawn

    return [replace(p, name=f"{group}~{seed}~{i}") for i, p in enumerate(drawn(BATCH, seed, group))]


@dataclass(frozen=True)
class Lanes:
    """One lane per person, change and draw: what :func:`gemel.twins.metabolic._effect.difference` needs; truth per person and change."""

    glucose: np.ndarray
    sensitivity: np.ndarray
    insulin: tuple[np.ndarray, np.ndarray]
    appearance: tuple[np.ndarray, np.ndarray]
    middle: np.ndarray
    truth: np.ndarray

    @classmethod
    def joined(cls, parts: list[Lanes]) -> Lanes:
        """Stack batches of people, cut to the shortest day."""
        n = min(p.truth.shape[-1] for p in parts)

        def stack(values: list[np.ndarray]) -> np.ndarray:
            return np.concatenate([v[..., :n] for v in values])

        both = {k: tuple(stack([getattr(p, k)[i] for p in parts]) for i in (0, 1)) for k in ("insulin", "appearance")}
        return cls(**{k: stack([getattr(p, k) for p in parts]) for k in ("glucose", "sensitivity", "middle", "truth")}, **both)  # type: ignore[arg-type]

    def of(self, who: np.ndarray) -> Lanes:
        """Keep some people."""
        both = {k: tuple(v[who] for v in getattr(self, k)) for k in ("insulin", "appearance")}
        return Lanes(**{k: getattr(self, k)[who] for k in ("glucose", "sensitivity", "middle", "truth")}, **both)  # type: ignore[arg-type]


def lanes_of(persons: list[Any], days: int, seed: int) -> Lanes:
    """Identify people and keep what their effects are made of: (person, change, draw, slot)."""
    import jax
    from metabolic_replay import CHANGES, HIGH, LOW, START, identified, truth

    from gemel.core.time import MINUTE
    from gemel.engine.keys import stream
    from gemel.twins.metabolic.replay import _paths, replay_record, scaled

    model, lives, observed, found, keys, *_ = identified(persons, days, seed)
    true = {k: truth(persons, lives, days, f) for k, f in CHANGES.items()}
    made: dict[str, list[Any]] = {
        k: [] for k in ("glucose", "sensitivity", "insulin0", "insulin1", "appearance0", "appearance1", "middle", "truth")
    }
    for j, o in enumerate(observed):
        z = found[j].posterior.draw(256, key=stream(keys[j], "draws"))[:DRAWS]
        context = jax.tree.map(np.asarray, o.context)
        again = replay_record(model, o, found[j].posterior, o.plan, key=keys[j])
        index = np.round((again.time - START) / MINUTE / 5.0).astype(int) - 1
        here: dict[str, list[np.ndarray]] = {k: [] for k in made}
        from gemel.twins.metabolic._minimal import basal_insulin

        basal = basal_insulin(context.basal * 1000.0 / context.weight)
        for change, factors in CHANGES.items():
            _, sensitivity, *acts = (np.asarray(x)[:, : len(index)] for x in _paths(model, z, o.plan, scaled(o.plan, **factors), context))
            here["sensitivity"].append(sensitivity)
            for k, v in zip(("insulin0", "appearance0", "insulin1", "appearance1"), acts, strict=True):
                here[k].append(v - basal if k.startswith("insulin") else v)
            here["glucose"].append(np.broadcast_to(again.quantiles(0.5), sensitivity.shape))
            here["truth"].append(np.clip(true[change][index, j], LOW, HIGH))
        for k, v in here.items():
            if v:
                made[k].append(np.stack(v))
        made["middle"].append(np.repeat(again.quantiles(0.5), len(CHANGES), axis=0))
    n = min(v.shape[-1] for v in made["truth"])
    arrays = {k: np.stack([x[..., :n] for x in v]).astype(np.float32) for k, v in made.items()}
    return Lanes(
        arrays["glucose"], arrays["sensitivity"], (arrays["insulin0"], arrays["insulin1"]), (arrays["appearance0"], arrays["appearance1"]),
        arrays["middle"], arrays["truth"],
    )  # fmt: skip


def marks(lanes: Lanes, response: Any) -> np.ndarray:
    """Return the MARD (person, change) under a response, %."""
    from metabolic_replay import HIGH, LOW

    from gemel.twins.metabolic._effect import Inputs, difference

    shape = lanes.glucose.shape
    flat = [x.reshape(-1, shape[-1]) for x in (lanes.glucose, lanes.sensitivity, *lanes.insulin, *lanes.appearance)]
    e = difference(flat[0], Inputs(flat[2], flat[4]), Inputs(flat[3], flat[5]), flat[1], slot=5.0, response=response)
    said = np.clip(lanes.middle + np.median(e.reshape(shape), axis=2), LOW, HIGH)
    return 100 * np.mean(np.abs(said - lanes.truth) / lanes.truth, axis=-1)


def estimated(lanes: Lanes, start: Any, evaluations: int = 800) -> Any:
    """Return the response that makes the mean MARD least: Nelder-Mead on logarithms (the share: logit), lightly held to the start."""
    from scipy.optimize import minimize

    from gemel.twins.metabolic._effect import Response

    names = [f.name for f in fields(Response)]
    first = np.array([np.log(getattr(start, n) / (1 - getattr(start, n))) if n == "share" else np.log(getattr(start, n)) for n in names])

    def response(x: np.ndarray) -> Any:
        return Response(**{n: float(1 / (1 + np.exp(-v)) if n == "share" else np.exp(v)) for n, v in zip(names, x, strict=True)})

    def loss(x: np.ndarray) -> float:
        return float(marks(lanes, response(x)).mean() + 0.02 * np.sum((x - first) ** 2))

    simplex = np.vstack([first, first + 0.3 * np.eye(len(first))])
    options = {"maxfev": evaluations, "initial_simplex": simplex, "xatol": 1e-2, "fatol": 1e-3, "adaptive": True}
    return response(minimize(loss, first, method="Nelder-Mead", options=options).x)


def kept(folder: Path, group: str, seed: int, days: int) -> Lanes:
    """Return one batch, from the folder when it is there."""
    file = folder / f"replay-{group}-{seed}-{days}.npz"
    if not file.exists():
        made = lanes_of(persons_of(group, seed), days, seed)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            file, glucose=made.glucose, sensitivity=made.sensitivity, insulin=np.stack(made.insulin), appearance=np.stack(made.appearance), middle=made.middle,
            truth=made.truth,
        )  # fmt: skip
    with np.load(file) as data:
        v = {k: data[k] for k in data.files}
    return Lanes(v["glucose"], v["sensitivity"], tuple(v["insulin"]), tuple(v["appearance"]), v["middle"], v["truth"])


def learn(each: int, days: int, folder: Path) -> int:
    """Estimate on ``each`` people of every group and print what was found."""
    from metabolic_replay import CHANGES

    from gemel.twins.metabolic._effect import Response

    start, batches = Response.known(), []
    for group in GROUPS:
        batches += [(group, kept(folder, group, FIRST_SEED + k, days)) for k in range(max(1, each // BATCH))]
    lanes = Lanes.joined([b for _, b in batches])
    group = np.repeat([g for g, _ in batches], BATCH)
    fold = np.arange(len(group)) % 3
    left_out = np.empty((len(group), len(CHANGES)))
    for k in range(3):
        left_out[fold == k] = marks(lanes.of(fold == k), estimated(lanes.of(fold != k), start))
    found = estimated(lanes, start)
    print(f"{len(group)} people drawn anew, {days} day(s) each, simulated; mean MARD %, people left out of the estimate in thirds")
    for g in GROUPS:
        print(f"{g:12s}" + "".join(f"{c:>22s} {v:5.2f}" for c, v in zip(CHANGES, left_out[group == g].mean(axis=0), strict=True)))
    for f in fields(Response):
        print(f"effect_{f.name}: {getattr(found, f.name):.3g} (now {getattr(start, f.name):.3g})")
    print(
        f"MARD: {left_out.mean():.2f} with people left out, {marks(lanes, found).mean():.2f} with all, {marks(lanes, start).mean():.2f} now"
    )
    return 0
