"""What a person is shown of borrowed controls: the label first, then the numbers, how alike the groups are, and what drift costs."""

from __future__ import annotations

import math

import numpy as np

from gemel.core.view import Array, Axis, Figure, Line, Points, Rule, Table, Text, View
from gemel.trials.external.analysis import Comparison
from gemel.trials.external.balance import MARK, Balance
from gemel.trials.external.drift import DriftMap, drift_figure
from gemel.trials.external.mixture import Mixture
from gemel.trials.external.priors import Borrowed

__all__ = ["balance_figure", "borrowed_view", "comparison_view", "prior_figure"]


def _warning(label: str) -> Text:
    return Text(
        title=f"{label[0].upper()}{label[1:]}",
        body="Controls from outside were not randomised with the treated. Nothing below is protected against what differs between them and was not measured.",
        tone="warning",
    )


def _drifted(found: DriftMap, lineage: str, unit: str) -> tuple[Text, Figure]:
    words = (
        f"The controls from outside lie lower than the trial's own by the drift, in standard deviations of one patient's outcome. "
        f"Power is at an effect of {found.effect:.4g}{'' if unit == '1' else f' {unit}'}; {found.how}."
    )
    figure = drift_figure(found, title="Operating characteristics over the drift", lineage=lineage, unit=unit)
    return Text(title="What drift costs", body=words), figure


def balance_figure(found: Balance, *, lineage: str) -> Figure:
    """Describe standardised mean differences before and after weighting."""
    rows = np.arange(len(found.names), dtype=float)
    x = {name: Array.of(values, unit="1") for name, values in (("before", found.before), ("after", found.after))}
    worst = int(np.argmax(np.abs(found.after)))
    return Figure(
        kind="scatter",
        title="Balance of the covariates",
        axes=(
            Axis(name="x", label="standardised mean difference", unit="1"),
            Axis(name="y", label="covariate", unit="1", kind="category", categories=found.names),
        ),
        layers=(
            *(Points(x=x[k], y=Array.of(rows, unit="1"), name=k, series=i, marker=m) for i, (k, m) in enumerate((("before", "ring"), ("after", "dot")))),
            *(Rule(axis="x", value=v, role="threshold") for v in (-MARK, MARK)),
        ),
        status="current",
        lineage=lineage,
        alt=f"After weighting the largest difference is {found.after[worst]:.3f} SD, in {found.names[worst]}; it was {found.before[worst]:.3f}.",
        table=Table.of(("covariate", None, found.names), ("before, SD", "1", found.before), ("after, SD", "1", found.after)),
    )  # fmt: skip


def comparison_view(found: Comparison, *, title: str, unit: str = "1") -> View:
    """Describe a comparison with patients from outside, as one document.

    Parameters
    ----------
    unit : UCUM unit of the outcome.
    """
    r, s = found.result, found.sensitivity
    value = r.estimate if r.ratio is None else r.ratio
    rows = [
        (f"{r.summary}, {r.contrast}", f"{value:.5g}" + ("" if r.ratio is not None or unit == "1" else f" {unit}")),
        (f"{r.level:.0%} interval", f"{r.interval[0]:.5g} to {r.interval[1]:.5g}"),
        ("p", f"{r.p_value:.4g}"),
        ("the effect is one in", found.target),
        ("effective number of the weighted", f"{found.effective_n[0]:.1f} of {found.effective_n[1]}"),
        ("E-value of the estimate, of the limit", "not known" if math.isnan(s.e_value) else f"{s.e_value:.2f}, {s.e_value_limit:.2f}"),
        ("tipping point", f"{s.tipping:.4g}" + ("" if math.isnan(s.tipping_sd) else f" ({s.tipping_sd:.2f} SD)")),
    ]
    if found.drift_seen:
        rows.append(("own controls minus those from outside", f"{found.drift_seen[0]:.4g} (SE {found.drift_seen[1]:.4g})"))
    parts = [
        _warning(found.label),
        Table.of(("quantity", None, [k for k, _ in rows]), ("value", None, [v for _, v in rows]), title="Result"),
    ]
    if found.balance is not None:
        parts.append(balance_figure(found.balance, lineage=r.lineage.id))
    parts += [*_drifted(found.map, r.lineage.id, unit), Text(title="Notes", body="\n".join(f"- {flag}" for flag in r.status))]
    return View(id=f"borrow-{r.lineage.id}", title=title, subtitle=f"{r.method}; lineage {r.lineage.id}", sections=tuple(parts))


def prior_figure(prior: Mixture, posterior: Mixture | None, *, label: str, unit: str, lineage: str) -> Figure:
    """Describe the density of the control arm before and after the trial."""
    ends = [m.quantile(q) for m in (prior, *([posterior] if posterior else [])) for q in (0.001, 0.999)]
    x = np.linspace(min(ends), max(ends), 401)
    shown = [("prior", prior, "prior"), *([("after the trial", posterior, "posterior")] if posterior else [])]
    per = f"1/({unit})" if unit != "1" else "1"
    return Figure(
        kind="distribution",
        title="Control arm before and after the trial" if posterior else "Prior of the control arm",
        axes=(Axis(name="x", label=label, unit=unit), Axis(name="y", label="density", unit=per)),
        layers=tuple(
            Line(x=Array.of(x, unit=unit), y=Array.of(m.density(x), unit=per), name=name, series=k, role=role, label="legend")
            for k, (name, m, role) in enumerate(shown)
        ),
        status="current",
        lineage=lineage,
        alt="; ".join(f"{name}: mean {m.mean:.4g}, SD {m.sd:.4g}" for name, m, _ in shown) + ".",
        table=Table.of(
            ("distribution", None, [name for name, _, _ in shown]),
            ("mean", unit, np.array([m.mean for _, m, _ in shown])),
            ("SD", unit, np.array([m.sd for _, m, _ in shown])),
            *((f"{q:.1%}", unit, np.array([m.quantile(q) for _, m, _ in shown])) for q in (0.025, 0.5, 0.975)),
        ),
    )


def borrowed_view(found: Borrowed, *, title: str, unit: str = "1") -> View:
    """Describe a prior from history and what the trial says with it, as one document.

    Parameters
    ----------
    unit : UCUM unit of the outcome; 1 for a rate.
    """
    rows = [("the prior is worth, patients", f"{found.effective_size:.1f}")]
    if found.heterogeneity:
        h = found.heterogeneity
        rows += [
            ("heterogeneity tau, mean and median", f"{h.tau_mean:.4g}, {h.tau_median:.4g}"),
            ("divergence of the mixture from the exact prior, nats", f"{h.divergence:.2g}"),
        ]
    if found.weak_weight:
        rows.append(("weight of the weak part, before and after", f"{found.weak_weight[0]:.3f}, {found.weak_weight[1]:.3f}"))
    if found.conflict is not None:
        rows.append(("chance of controls as far out as those seen", f"{found.conflict:.3g}"))
    if found.interval and found.difference is not None and found.probability is not None:
        rows += [
            ("treated minus control", f"{found.difference:.5g} (SD {found.difference_sd:.4g})"),
            (f"{found.level:.0%} interval", f"{found.interval[0]:.5g} to {found.interval[1]:.5g}"),
            ("probability that treated is above control", f"{found.probability:.4f}"),
        ]
    lineage = found.lineage.id
    return View(
        id=f"borrow-{lineage}",
        title=title,
        subtitle=f"{found.method}; lineage {lineage}",
        sections=(
            _warning(found.label),
            Table.of(("quantity", None, [k for k, _ in rows]), ("value", None, [v for _, v in rows]), title="Result"),
            prior_figure(found.prior, found.posterior, label="control arm", unit=unit, lineage=lineage),
            *_drifted(found.map, lineage, unit),
            Text(title="Notes", body="\n".join(f"- {flag}" for flag in found.status)),
        ),
    )
