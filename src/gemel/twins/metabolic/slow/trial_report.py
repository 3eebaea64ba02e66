"""What a person sees of the in-silico trial: the external check first, then what the model expects, what would have to be true for a published figure,
and what follows when drugs are withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.lineage import Lineage
from gemel.core.view import Table, Text, View, bars_figure
from gemel.twins.metabolic.slow._external import CREDIBILITY, External
from gemel.twins.metabolic.slow.trial import ASSUMED, PUBLISHED, Arm

__all__ = ["trial_view"]


def trial_view(
    *, external: External, arms: tuple[Arm, Arm], people: int, power: tuple[float, float], difference: tuple[float, float, float], grid: np.ndarray,
    deficits: Sequence[float], kept: Sequence[float], reserve: Sequence[float], withdrawals: Mapping[str, Mapping[str, float]], lineage: Lineage,
) -> View:  # fmt: skip
    """Return one page.

    Parameters
    ----------
    external : checks against published aggregates. arms : predicted shares. people : virtual people drawn.
    power : of the trial's test and its Monte-Carlo error. difference : median and 90 % interval of the difference of shares, a world held fixed.
    grid : (reserve, deficit, kept) share at the endpoint. withdrawals : plan -> figures.
    lineage : of the run.
    """
    shown = ShownOn(kind="simulated", n=people, what="virtual people with type 2 diabetes")
    standing = {"status": "simulated", "lineage": lineage, "shown_on": shown}
    checks = (*external.look_ahead, *external.uninformed, *external.informed)
    kinds = ["Look AHEAD, priors alone"] * len(external.look_ahead) + ["DiRECT, priors alone"] * len(external.uninformed)
    kinds += ["DiRECT, informed by Look AHEAD"] * len(external.informed)
    verdict = "PASS" if external.passed else "FAIL"
    sections = [
        Text(title="What this is", tone="limit", body=f"SIMULATED. {CREDIBILITY} Nothing was fitted to the trial whose criteria are used."),
        Text(
            title=f"External check: {verdict}", tone="note" if external.passed else "warning",
            body="Set beforehand: every stratum of DiRECT inside the 90 % predictive interval when Look AHEAD and weights alone inform the priors. "
            + ("It holds." if external.passed else "It does not hold: what follows rests on links that have failed this check."),
        ),
        Table.of(
            ("check", None, [f"{k}: {c.name}" for k, c in zip(kinds, checks, strict=True)]), ("published", "1", _short(c.published for c in checks)),
            ("predicted", "1", _short(c.median for c in checks)), ("5 %", "1", _short(c.low for c in checks)), ("95 %", "1", _short(c.high for c in checks)),
            ("inside", None, ["PASS" if c.passed else "FAIL" for c in checks]), title="Against published aggregates",
        ),
        bars_figure(
            title="Below 6.5 % without drugs other than metformin after a year", quantity="Share of the arm", unit="%",
            values={
                "coached, predicted": 100 * arms[0].share[1], "coached, published": 100 * PUBLISHED["coached"],
                "usual care, predicted": 100 * arms[1].share[1], "usual care, published": 100 * PUBLISHED["usual"],
            },
            intervals={f"{a.name}, predicted": (100 * a.share[0], 100 * a.share[2]) for a in arms}, level=0.9, category="Arm", **standing,
        ),
        Table.of(
            ("arm", None, [a.name for a in arms]), ("share, predicted", "%", _short((100 * a.share[1] for a in arms), 0)), ("5 %", "%", _short((100 * a.share[0] for a in arms), 0)),
            ("95 %", "%", _short((100 * a.share[2] for a in arms), 0)), ("published", "%", [100 * PUBLISHED[k] for k in ("coached", "usual")]),
            ("published inside", None, [_inside(a, PUBLISHED[k]) for a, k in zip(arms, ("coached", "usual"), strict=True)]),
            ("weight, predicted", "%", _short((100 * a.weight[1] for a in arms), 1)), ("weight, published", "%", [100 * PUBLISHED[f"{k} weight"] for k in ("coached", "usual")]),
            title="Forward prediction", note="Predictive intervals: what is unknown of everyone at once, and who is enrolled",
        ),
        Text(
            title="The trial as designed",
            body=f"100 coached, 50 in usual care, repeated 1,000 times in one world: difference {100 * difference[1]:.0f} points "
            f"({100 * difference[0]:.0f} to {100 * difference[2]:.0f}), significant at 5 % in {100 * power[0]:.1f} % of trials (Monte-Carlo error {100 * power[1]:.1f}).",
        ),
        *(
            Table.of(
                ("deficit asked for", "kcal/d", list(deficits)), *((f"kept: {k:g}", "%", np.round(100 * grid[i, :, j], 0)) for j, k in enumerate(kept)),
                title=f"Share at the endpoint where beta cells recover {factor:g} times as much",
                note="Which assumptions would give a published share: read the cells, not the model's opinion",
            )
            for i, factor in enumerate(reserve)
        ),
        Table.of(
            ("withdrawn after three months", None, list(withdrawals)), ("people", "1", [float(w["people"]) for w in withdrawals.values()]),
            ("HbA1c after a year", "%", _short(w["hba1c"] for w in withdrawals.values())), ("change", "%", _short(w["change"] for w in withdrawals.values())),
            ("below 6.5 %", "%", _short((100 * w["below 6.5"] for w in withdrawals.values()), 0)), ("below 7 %", "%", _short((100 * w["below 7"] for w in withdrawals.values()), 0)),
            title="De-prescribing under the coached programme", note="Consequences of the model, for those who took what is withdrawn; no advice to anybody",
        ),
        Text(title="Assumed", tone="limit", body="\n".join(f"- {line}" for line in ASSUMED)),
    ]  # fmt: skip
    return View(
        id="metabolic-trial",
        title="A lifestyle programme in type 2 diabetes, on virtual people",
        subtitle=f"{people:,} virtual people",
        sections=tuple(sections),
    )


def _short(values: Iterable[float], digits: int = 2) -> np.ndarray:
    return np.round(np.array(list(values), float), digits)


def _inside(arm: Arm, published: float) -> str:
    return "yes" if arm.share[0] <= published <= arm.share[2] else "NO"
