"""The periodic safety-update report: what was watched, on whom, what rang, what was done, what was changed, and which device it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gemel.core.advice import ShownOn
from gemel.core.time import DAY
from gemel.core.view import Table, Text, View
from gemel.evidence.change.device import ClassRow, UdiFields
from gemel.evidence.change.gate import Gate
from gemel.evidence.surveillance.incidents import Incident
from gemel.evidence.surveillance.release import Release
from gemel.evidence.surveillance.view import watch_view
from gemel.evidence.surveillance.watch import Watch, moment

__all__ = ["device_table", "incident_table", "periodic_report", "trend_table"]


def incident_table(incidents: Sequence[Incident], now: int) -> Table | None:
    """Return all incidents with their clocks, open ones first; None when there is none."""
    if not incidents:
        return None
    rows = sorted(incidents, key=lambda i: (not i.is_open, i.opened, i.id))
    state = [
        ("OVERDUE" if i.is_overdue(now) else "open") if i.is_open else f"closed {moment(i.closed or 0)} by {i.closed_by}: {i.reason}"
        for i in rows
    ]
    columns = {
        "incident": [i.id for i in rows], "state": state, "severity": [i.severity for i in rows], "opened": [moment(i.opened) for i in rows],
        "due": [moment(i.due) for i in rows], "owner": [i.owner or "nobody named" for i in rows], "change plan says": [i.branch or "-" for i in rows],
        "roll back to": [i.rollback or "-" for i in rows], "what was seen": [i.sentence for i in rows], "since": [f"rang again {len(i.notes)} times" if i.notes else "-" for i in rows],
    }  # fmt: skip
    open_, late = sum(i.is_open for i in rows), sum(i.is_overdue(now) for i in rows)
    return Table.of(
        *((name, None, values) for name, values in columns.items()),
        title=f"Incidents: {open_} open, {len(rows) - open_} closed, {late} overdue",
    )


def device_table(release: Release | None, udi: UdiFields | None) -> Table:
    """Return version and identifiers, or say that they were not told."""
    told = udi or (release.udi if release else None)
    rows = [
        ("model", release.model if release else "not told"), ("version", release.version if release else "not told"),
        ("release", release.id if release else "not told"), ("UDI-DI", f"{told.device_identifier} ({told.issuer})" if told else "not told"),
        ("UDI-PI", (told.production_identifier or "not told") if told else "not told"),
    ]  # fmt: skip
    if told is not None and told.has_valid_check_digit is False:
        rows.append(("UDI-DI", "WRONG check digit"))
    return Table.of(("field", None, [r[0] for r in rows]), ("value", None, [r[1] for r in rows]), title="Device and version")


def trend_table(watch: Watch, days: int = 30) -> Table:
    """Return predictions, outcomes, alarms and performance by period of prediction, oldest first.

    Parameters
    ----------
    days : length of a period.
    """
    log, span = watch.log, days * DAY
    place = (log.time - log.time[0]) // span
    alarms = np.array([(a.time - log.time[0]) // span for a in watch.alarms], np.int64)
    names = ("from", "predictions", "patients", "outcomes known", "alarms", "observed", "predicted", "mean square error")
    columns: dict[str, list[str]] = {k: [] for k in names}
    p, y, known = log.numbers["prediction"], log.numbers["outcome"], log.known
    for k in range(int(max(place.max(), alarms.max(initial=0))) + 1):
        rows = np.flatnonzero(place == k)
        real = rows[known[rows]]
        few = len(real) < watch.settings.smallest
        figures = ("-",) * 3 if few else (f"{y[real].mean():.4g}", f"{p[real].mean():.4g}", f"{np.mean((y[real] - p[real]) ** 2):.4g}")
        counts = (moment(int(log.time[0] + k * span)), len(rows), len(set(log.patient[rows].tolist())), len(real), int((alarms == k).sum()))
        for name, value in zip(names, (*counts, *figures), strict=True):
            columns[name].append(str(value))
    return Table.of(*((name, None, values) for name, values in columns.items()), title=f"Trend, periods of {days} days (means; fewer than {watch.settings.smallest} outcomes: not shown)")  # fmt: skip


def periodic_report(
    watch: Watch, incidents: Sequence[Incident], *, title: str, shown_on: ShownOn, changes: Sequence[Gate] = (), classes: Sequence[ClassRow] = (),
    udi: UdiFields | None = None, chain: str = "", period_days: int = 30,
) -> View:  # fmt: skip
    """Return the report over the period that the log covers.

    Parameters
    ----------
    watch : as of the end of the period.
    incidents : all that were opened until then.
    changes : gates that were run in the period.
    classes : proposals of :func:`gemel.evidence.change.device.propose_classes`.
    chain : hash of the last line of the file of incidents: whoever keeps it can tell later that no line was taken off the end.
    """
    log = watch.log
    days = len(set(zip(log.patient.tolist(), (log.time // DAY).tolist(), strict=True)))
    exposure = f"{moment(int(log.time[0]))} to {moment(watch.as_of)}: {len(set(log.patient.tolist()))} patients, {days} patient-days, {len(log)} predictions."
    open_ = [i for i in incidents if i.is_open]
    head = f"{exposure}\n- Alarms {len(watch.alarms)}; incidents open {len(open_)}, overdue {sum(i.is_overdue(watch.as_of) for i in open_)}, closed {len(incidents) - len(open_)}; changes judged {len(changes)}."
    if chain:
        head += f"\n- Last line of the file of incidents: {chain[:32]}."
    head += "\n- Whether an alarm is a reportable incident, and whether the benefit still outweighs the risk, is for a person to say: human judgement needed."
    extra: list[Any] = [Text(title="Exposure and summary", body=head), device_table(watch.release, udi)]
    told = incident_table(incidents, watch.as_of)
    extra.append(told if told is not None else Text(title="Incidents", body="None was opened."))
    extra.append(trend_table(watch, period_days))
    if changes:
        extra.append(Table.of(
            ("change", None, [f"{g.old} to {g.new}" for g in changes]), ("gate", None, ["passed" if g.passed else "BLOCKED" for g in changes]),
            ("failed rows", None, ["; ".join(r.id for r in g.rows if r.status == "failed") or "-" for g in changes]), title="Changes",
        ))  # fmt: skip
    else:
        extra.append(Text(title="Changes", body="No change was judged in this period."))
    if classes:
        extra.append(Table.of(
            ("authority", None, [c.authority for c in classes]), ("scheme", None, [c.scheme for c in classes]), ("proposed", None, [c.proposed for c in classes]),
            ("because", None, [c.because for c in classes]), ("lacks", None, [", ".join(c.lacks) or "-" for c in classes]), title="Class and category: proposed, human judgement needed",
        ))  # fmt: skip
    return watch_view(watch, title=title, shown_on=shown_on, extra=tuple(extra))
