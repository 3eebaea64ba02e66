"""The audit of a proxy, and what a remedy changed, as sections of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gemel.core.advice import ShownOn
from gemel.core.view import Column, Figure, Table, Text, bars_figure
from gemel.core.view.words import number_text
from gemel.evidence.fairness.mitigation.base import Remedy
from gemel.evidence.fairness.proxy import ProxyAudit
from gemel.evidence.fairness.subgroups import METRICS
from gemel.evidence.fairness.view import interval_text

__all__ = ["proxy_sections", "remedy_sections"]


def _words(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Table:
    return Table(
        columns=tuple(Column(label=h, values=tuple(r[i] for r in rows), kind="text") for i, h in enumerate(heads)), title=title, note=note
    )


def proxy_sections(
    audit: ProxyAudit, *, lineage: str, shown_on: ShownOn, need: str = "need", score: str = "score"
) -> tuple[Figure | Table | Text, ...]:
    """Describe need at equal score, who is chosen, and where each label is concentrated."""
    rows, bars, ends = [], {}, {}
    for g in audit.groups:
        for when, s in (("by the score", g.before), ("by a score for need", g.after)):
            if s is None:
                continue
            rows.append([
                g.group, g.reference, when, interval_text(s.gap), interval_text(s.excess), interval_text(s.share_above), f"{s.bins} ({s.left_out} left out)",
                number_text(s.adjusted, digits=2) + (", differs" if s.is_flagged else ""),
            ])  # fmt: skip
            bars[f"{g.group}, {when}"] = s.gap.value
            ends[f"{g.group}, {when}"] = (s.gap.low, s.gap.high)
    told = [
        f"- {g.group} beside {g.reference}: by the proxy {interval_text(g.by_proxy)}, not explained by a proxy alone {interval_text(g.unexplained)}"
        + (f"; changing the label takes away {interval_text(g.reduction)} of the excess" if g.reduction else "")
        + (f"; it moves the share above the threshold by {interval_text(g.change_above)}" if g.change_above else "")
        for g in audit.groups
    ]
    told += [f"- {note}" for note in audit.notes]
    if audit.suppressed:
        told.append(f"- Suppressed, too few people or needed to hide them: {', '.join(audit.suppressed)}")
    sections: list[Figure | Table | Text] = [
        Text(title=f"Does {score} stand for {need}?", body="\n".join(told)),
        bars_figure(
            title=f"{need} beyond the reference's at equal score, per person", quantity=need, unit="1", values=bars,
            intervals=ends if all(math.isfinite(v) for pair in ends.values() for v in pair) else None, level=audit.groups[0].before.gap.level,
            status="simulated" if shown_on.kind == "simulated" else "current", lineage=lineage, shown_on=shown_on,
        ),
        _words(
            f"{need} at equal score",
            ("group", "beside", "ranked", "gap per person", "excess in all", f"share above quantile {audit.threshold:g}", "bins", "adjusted p"),
            rows,
        ),
    ]  # fmt: skip
    if audit.concentrations:
        names = {"score": "the score", "need score": "a score for need"}
        held = [[c.label, names[c.ranked_by], f"{c.top:.0%}", interval_text(c.share)] for c in audit.concentrations]
        sections.append(_words("Who holds how much of each label", ("label", "ranked by", "highest", "share of the total"), held))
    return tuple(sections)


def remedy_sections(remedy: Remedy) -> tuple[Table | Text, ...]:
    """Describe what a remedy changed in every group, what got worse first."""
    costs, gains = [c for c in remedy.changes if c.is_worse], [c for c in remedy.changes if c.is_better]
    rows = [
        [c.group, METRICS[c.metric].label, number_text(c.before), number_text(c.after), interval_text(c.change), "worse" if c.is_worse else "better" if c.is_better else ""]
        for c in sorted(remedy.changes, key=lambda c: (not c.is_worse, not c.is_better))
    ]  # fmt: skip
    body = f"{remedy.what[:1].upper()}{remedy.what[1:]}. {len(gains)} measures of groups got better, {len(costs)} got worse, as far as the intervals say."
    heads = ("group", "measure", "before", "after", "change", "surely")
    return (
        Text(title=f"Remedy: {remedy.name}", body="\n".join([body, *(f"- {note}" for note in remedy.notes)])),
        *(
            [
                _words(
                    f"What {remedy.name} changed",
                    heads,
                    rows,
                    "intervals of the change are of the same resamples of people, before and after",
                )
            ]
            if rows
            else []
        ),
    )
