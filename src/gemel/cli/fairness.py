"""``gemel fairness``: audit any model's predictions by subgroup."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, as_json, common, existing, seed_option
from gemel.cli.output import atomic_write, echo, plain, print_json, print_table

if TYPE_CHECKING:
    from gemel.core.advice import ShownOn
    from gemel.evidence.fairness.mitigation import Remedy
    from gemel.evidence.fairness.proxy import ProxyAudit
    from gemel.evidence.fairness.public_synthetic import LabelAudit
    from gemel.evidence.fairness.report import FairnessReport

__all__ = ["fairness"]

LONGEST = 20


class _Names(click.ParamType):
    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        found = tuple(part.strip() for part in str(value).split(",") if part.strip())
        if not found:
            self.fail("no column is named", param, ctx)
        return found


class _Pairs(click.ParamType):
    name = "name=column"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        if isinstance(value, dict):
            return value
        pairs = [part.partition("=") for part in str(value).split(",")]
        if any(not (name.strip() and mark and column.strip()) for name, mark, column in pairs):
            self.fail(f"{value!r} is not a list such as need=conditions,cost=cost", param, ctx)
        return {name.strip(): column.strip() for name, _, column in pairs}


@click.command()
@click.option("--predictions", "source", type=FilePath, help="A table with a head: one row per prediction, of any model.")
@click.option("--groups", type=_Names(), help="Columns that tell groups apart, with commas; age:18:40:65 makes bands.")
@click.option("--outcome", metavar="COL", help="0 or 1; left out, 'outcome'.")
@click.option("--prediction", metavar="COL", help="The probability; left out, 'prediction' or 'probability'.")
@click.option("--score", metavar="COL", help="What people are ranked by, on any scale, for --proxy; left out, the prediction.")
@click.option("--patient", metavar="COL", help="Who: people are resampled, not rows; left out, 'patient' or 'id'.")
@click.option("--time", "predicted", metavar="COL", help="When the prediction was made; left out, 'time'.")
@click.option("--outcome-time", "occurred", metavar="COL", help="When the outcome became true; left out, 'outcome_time'.")
@click.option("--tz", help="IANA zone of times that carry none.")
@click.option("--value", metavar="COL", help="A measured outcome, for intervals; left out, 'value'.")
@click.option("--lower", metavar="COL", help="Of the interval; left out, 'lower'.")
@click.option("--upper", metavar="COL", help="Of the interval; left out, 'upper'.")
@click.option("--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.9, show_default=True, help="Of the interval.")
@click.option("--abstained", metavar="COL", help="1 where no prediction was given; left out, 'abstained'.")
@click.option("--alarm", "alarmed", metavar="COL", help="1 where an alarm rang; left out, 'alarm'.")
@click.option("--days", metavar="COL", help="Patient-days that each row stands for; left out, 'days'.")
@click.option(
    "--inputs", type=_Names(), default=(), help="Columns that the model was given: searched for leaks, and what remedies learn from."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Of a positive prediction.",
)
@click.option("--depth", type=click.IntRange(1, 4), default=2, show_default=True, help="How many attributes are crossed.")
@click.option("--minimum", type=click.IntRange(min=20), default=20, show_default=True, help="Groups with fewer people are suppressed.")
@click.option(
    "--replicates", type=click.IntRange(0, 100_000), default=1000, show_default=True, help="Resamples of people; 0, no intervals."
)
@click.option(
    "--reference", type=_Pairs(), default=dict, help="Groups that others are compared with, such as sex=f; left out, the largest."
)
@click.option("--elsewhere", type=_Names(), default=(), help="Usual attributes that are held under another name, such as ethnicity.")
@click.option("--keep-certain", is_flag=True, help="Accept predictions of exactly 0 and 1; there is no calibration slope then.")
@click.option("--proxy", type=_Pairs(), help="need=COL[,NAME=COL]: does the score stand for need; other labels are told where they lie.")
@click.option("--bins", type=click.IntRange(2, 1000), default=100, show_default=True, help="Percentile bins of the score, for --proxy.")
@click.option(
    "--above",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.97,
    show_default=True,
    help="Quantile above which people are chosen, for --proxy.",
)
@click.option(
    "--mitigate",
    multiple=True,
    metavar="NAME",
    help="recalibration, multicalibration, reweighing, adversarial, adversarial-parity or conformal; may be repeated.",
)
@click.option("--on", metavar="COL", help="The attribute that --proxy and --mitigate are about; left out, the first of --groups.")
@click.option(
    "--public-file",
    type=FilePath,
    help="The public synthetic file of Obermeyer 2019, fetched by yourself: retrain on three labels, and audit each.",
)
@click.option("--simulated", is_flag=True, help="The people are virtual: every figure says so.")
@click.option("-o", "--output", type=FilePath, help="A folder for fairness.html and fairness.json.")
@seed_option
@as_json
@common
def fairness(
    source: Path | None, groups: tuple[str, ...] | None, inputs: tuple[str, ...], tz: str | None, level: float, threshold: float, depth: int, minimum: int, replicates: int,
    reference: dict[str, str], elsewhere: tuple[str, ...], keep_certain: bool, proxy: dict[str, str] | None, bins: int, above: float, mitigate: tuple[str, ...],
    public_file: Path | None, simulated: bool, output: Path | None, seed: int, json_: bool, on: str | None, score: str | None, prediction: str | None, **columns: str | None,
) -> int:  # fmt: skip
    """Audit any model's predictions by subgroup and intersection, with intervals over people; small groups are suppressed.

    Nothing here says that a model is fair. The exit code is 1 when no group could be assessed.
    """
    if public_file is not None:
        return _public(public_file, bins, above, replicates, seed, output, json_)
    if source is None or groups is None:
        raise click.UsageError(f"Missing option '{'--predictions' if source is None else '--groups'}'.")
    from gemel.core.advice import ShownOn
    from gemel.evidence.fairness.report import Settings
    from gemel.evidence.fairness.scored_table import Columns, groups_of, read_columns

    table = read_columns(existing(source))
    named = Columns(probability=prediction, **columns)
    attributes = groups_of(table, groups)
    settings = Settings(threshold=threshold, depth=depth, minimum=minimum, replicates=replicates, seed=seed)
    who = named.find("patient", table)
    people = len(set(table[who])) if who else len(next(iter(table.values())))
    shown_on = ShownOn(kind="simulated" if simulated else "replayed", n=people)
    report, remedies = None, []
    has_all = [all(named.find(what, table) for what in pair) for pair in (("outcome", "probability"), ("value", "lower"))]
    if proxy is None or any(has_all):
        from gemel.evidence.fairness.audit import audit
        from gemel.evidence.fairness.mitigation import mitigate as remedied
        from gemel.evidence.fairness.scored_table import scored_of

        scored = scored_of(table, named, inputs=inputs, level=level, tz=tz, keep_certain=keep_certain)
        report = audit(scored, attributes, settings=settings, reference=reference, elsewhere=(*elsewhere, *table), shown_on=shown_on)
        remedies = [remedied(name, scored, attributes, settings=settings, shown_on=shown_on, on=on, seed=seed) for name in mitigate]
    found = None
    if proxy is not None:
        found = _proxy(table, named, score, attributes, on, proxy, inputs, who, reference, bins, above, replicates, minimum, seed)
    told = {
        "audit": None if report is None else report.to_dict(),
        "remedies": [r.to_dict() for r in remedies],
        "proxy": None if found is None else found.to_dict(),
    }
    if output is not None:
        _write(output, told, report, remedies, found, proxy or {}, shown_on)
    if json_:
        print_json(told)
    else:
        if report is not None:
            _print(report)
        for remedy in remedies:
            _print_remedy(remedy)
        if found is not None:
            _print_proxy("need at equal score", found)
        if output is not None:
            echo(f"written: {output / 'fairness.html'}, {output / 'fairness.json'}")
    return 0 if found is not None or (report is not None and report.groups) else 1


def _proxy(
    table: Any, named: Any, score: str | None, attributes: dict[str, Any], on: str | None, proxy: dict[str, str], inputs: tuple[str, ...], who: str | None, reference: dict[str, str], bins: int,
    above: float, replicates: int, minimum: int, seed: int,
) -> ProxyAudit:  # fmt: skip
    """Hand the columns to the audit of a proxy: with inputs after a change of label on half of the people, without them as it is."""
    import numpy as np

    from gemel.core.errors import EvidenceError
    from gemel.evidence.fairness.mitigation import change_label, design
    from gemel.evidence.fairness.proxy import audit_proxy
    from gemel.evidence.fairness.scored_table import number_column

    score = score or named.find("probability", table)
    on = on or next((name for name, column in attributes.items() if column is not None), None)
    if "need" not in proxy or score is None or on is None or attributes.get(on) is None:
        raise EvidenceError(
            "an audit of a proxy needs a score, a need and groups", seen=f"score {score}, {', '.join(f'{k}={v}' for k, v in proxy.items())}, groups {on}",
            fix="--score COL --groups COL --proxy need=COL,cost=COL",
        )  # fmt: skip
    totals = {name: number_column(table, column) for name, column in proxy.items()}
    options = {
        "bins": bins,
        "totals": totals,
        "reference": reference.get(on),
        "threshold": above,
        "replicates": replicates,
        "minimum": minimum,
    }
    patient = None if who is None else np.array(table[who])
    given = number_column(table, score), totals["need"], attributes[on]
    if not inputs:
        return audit_proxy(*given, patient=patient, seed=seed, **options)
    taken = set(inputs) & set(proxy.values())
    if taken:
        raise EvidenceError("a label leaks into the inputs", seen=sorted(taken), fix="leave it out of --inputs")
    features = design({name: np.array(table[name]) for name in inputs if name in table})[0]
    return change_label(*given, features, patient=patient, seed=seed, **options)


def _public(path: Path, bins: int, above: float, replicates: int, seed: int, output: Path | None, json_: bool) -> int:
    from gemel.core.advice import ShownOn
    from gemel.evidence.fairness.public_synthetic import audit_labels, read_public_file

    file = read_public_file(existing(path))
    audits = audit_labels(file, bins=bins, threshold=above, replicates=replicates, seed=seed)
    told = {
        "sha256": file.sha256,
        "is_the_known_file": file.is_the_known_file,
        "rows": len(file.race),
        "labels": {a.label: a.audit.to_dict() for a in audits},
    }
    if output is not None:
        _write_labels(
            output, told, audits, ShownOn(kind="simulated", n=len(file.race), what="a synthetic file that the user fetched"), file.sha256
        )
    if json_:
        print_json(told)
        return 0
    echo(f"{len(file.race)} rows; sha256 {file.sha256}, {'the known file' if file.is_the_known_file else 'NOT the known file'}")
    for each in audits:
        _print_proxy(f"score for {each.label}", each.audit)
    return 0


def _write_labels(output: Path, told: dict[str, Any], audits: tuple[LabelAudit, ...], shown_on: ShownOn, sha256: str) -> None:
    from gemel.core.view import View
    from gemel.evidence.fairness.remedy_view import proxy_sections
    from gemel.web import render_html

    parts = [
        s
        for a in audits
        for s in proxy_sections(
            a.audit, lineage=sha256[:16], shown_on=shown_on, need="active chronic conditions", score=f"a score for {a.label}"
        )
    ]
    _files(output, told, render_html(View(id=f"labels-{sha256[:12]}", title="Which label, which people", sections=tuple(parts))))


def _write(
    output: Path,
    told: dict[str, Any],
    report: FairnessReport | None,
    remedies: list[Remedy],
    found: ProxyAudit | None,
    proxy: dict[str, str],
    shown_on: ShownOn,
) -> None:
    from gemel.core.lineage import digest
    from gemel.core.view import View
    from gemel.evidence.fairness.remedy_view import proxy_sections, remedy_sections
    from gemel.evidence.fairness.view import fairness_view
    from gemel.web import render_html

    lineage = report.data[:16] if report is not None else digest(json.dumps(plain(told), sort_keys=True))[:16]
    more: list[Any] = [section for remedy in remedies for section in remedy_sections(remedy)]
    if found is not None:
        more += proxy_sections(found, lineage=lineage, shown_on=shown_on, need=proxy["need"])
    view = (
        fairness_view(report, more=more) if report is not None else View(id=f"proxy-{lineage}", title="Label audit", sections=tuple(more))
    )
    _files(output, told, render_html(view))


def _files(output: Path, told: dict[str, Any], page: str) -> None:
    output.mkdir(parents=True, exist_ok=True)
    atomic_write(output / "fairness.json", (json.dumps(plain(told), indent=1, sort_keys=True) + "\n").encode())
    atomic_write(output / "fairness.html", page.encode())


def _print(report: FairnessReport) -> None:
    from gemel.evidence.fairness.subgroups import METRICS
    from gemel.evidence.fairness.view import SHOWN, interval_text

    echo(report.summary)
    echo(f"shown on: {report.shown_on}; {', '.join(f'{n} {k}' for k, n in report.counts.items())}")
    names = [n for n in SHOWN if n in report.overall.metrics][:5]
    marks = {"shown": "", "few": "few", "suppressed": "suppressed"}
    rows = [
        (g.label, g.people, g.events, *(interval_text(g.metrics.get(n)) for n in names), marks[g.standing])
        for g in (report.overall, *report.groups)
    ]
    print_table(
        "groups, 95 % intervals over people", ("group", "people", "events", *(METRICS[n].label for n in names), ""), rows, right=(1, 2)
    )
    if report.flagged:
        most = sorted(report.flagged, key=lambda d: d.p_value)[:LONGEST]
        lines = [(d.group, d.reference, METRICS[d.metric].label, interval_text(d.difference), f"{d.adjusted:.2g}") for d in most]
        print_table(
            f"differ after Holm's correction ({len(most)} of {len(report.flagged)} shown)",
            ("group", "beside", "measure", "difference", "adjusted p"),
            lines,
            right=(4,),
        )
    for name, why in report.not_assessable.items():
        echo(f"not assessable: {name} ({why})")
    echo(f"not collected, as far as the columns say: {', '.join(report.not_collected) or 'none of the usual attributes'}")
    for note in report.notes:
        echo(f"note: {note}")


def _print_remedy(remedy: Remedy) -> None:
    from gemel.evidence.fairness.subgroups import METRICS
    from gemel.evidence.fairness.view import interval_text

    rows = [
        (c.group, METRICS[c.metric].label, c.before, c.after, interval_text(c.change), "worse" if c.is_worse else "better")
        for c in remedy.changes
        if c.is_worse or c.is_better
    ]
    print_table(f"{remedy.name}: {remedy.what}", ("group", "measure", "before", "after", "change", ""), rows, right=(2, 3))
    for note in remedy.notes:
        echo(f"note: {note}")


def _print_proxy(title: str, found: ProxyAudit) -> None:
    from gemel.evidence.fairness.view import interval_text

    rows = []
    for g in found.groups:
        for when, s in (("before", g.before), ("after", g.after)):
            if s is not None:
                rows.append(
                    (
                        g.group,
                        g.reference,
                        when,
                        interval_text(s.gap),
                        interval_text(s.excess),
                        interval_text(s.share_above),
                        "yes" if s.is_flagged else "no",
                    )
                )
    print_table(title, ("group", "beside", "label change", "gap per person", "excess", f"share above {found.threshold:g}", "differs"), rows)
    for g in found.groups:
        echo(f"{g.group}: by the proxy {interval_text(g.by_proxy)}, not explained by a proxy alone {interval_text(g.unexplained)}")
        if g.reduction is not None:
            echo(f"{g.group}: changing the label takes away {interval_text(g.reduction)} of the excess")
    for note in found.notes:
        echo(f"note: {note}")
