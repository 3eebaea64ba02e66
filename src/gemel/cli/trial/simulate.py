"""``gemel trial simulate``: what a design does, over thousands of SIMULATED trials."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, Numbers, seed_option
from gemel.cli.output import atomic_write, echo, note, print_json, print_table
from gemel.cli.progress import Bar
from gemel.cli.trial.options import Names, read_bundle, shared, write_told
from gemel.cli.trial.size import BOUNDARIES

if TYPE_CHECKING:
    from gemel.trials.simulate.engine import Characteristics
    from gemel.trials.simulate.recommend import Abstained, Recommended
    from gemel.trials.simulate.study import Study

__all__ = ["simulate"]

WORLDS = ("linear", "nonlinear", "longitudinal", "binary", "survival")
TWINS = ("true", "noise", "biased", "shifted", "anti-correlated", "miscalibrated")
MECHANISMS = ("mcar", "mar", "mnar")
RULES = ("fixed", "permuted", "blocks", "simple", "minimisation")
VARIANCES = ("hc2", "hc3", "hc1", "model")


class _Stoppable(Bar):
    """A bar whose work ends cleanly at an interrupt: what is done is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = False

    def update(self, done: int, note: str = "") -> bool:
        """Report that ``done`` steps are complete; ask for a stop after an interrupt."""
        super().update(done, note)
        return not self.asked


@contextmanager
def _stoppable() -> Iterator[_Stoppable]:
    bar = _Stoppable()

    def stop(*_: object) -> None:
        if bar.asked:
            raise KeyboardInterrupt
        bar.asked = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield bar
    finally:
        signal.signal(signal.SIGINT, before)
        bar.finish()


@click.command("simulate")
@click.option("--world", type=click.Choice(WORLDS), default="linear", show_default=True, help="Where the patients come from.")
@click.option(
    "--n",
    type=Numbers,
    required=True,
    help="Patients in both arms; several with commas, and the smallest that keeps --power is named.",
)
@click.option(
    "--effect",
    type=float,
    required=True,
    help="Difference of means or risks, 0 for none; in the survival world the hazard ratio, 1 for none.",
)
@click.option("--allocation", type=float, default=1.0, show_default=True, help="Treated per control patient.")
@click.option(
    "--randomisation",
    type=click.Choice(RULES),
    default="fixed",
    show_default=True,
    help="fixed is the law of permuted for independent patients, and faster.",
)
@click.option(
    "--correlation", type=float, help="Of the best prognosis and the outcome.  [default: that of --prognosis in its history, or 0.5]"
)
@click.option("--sd", type=float, help="Standard deviation of the outcome.  [default: that of --prognosis, or 1; longitudinal 7]")
@click.option("--twin", type=click.Choice(TWINS), default="true", show_default=True, help="How good the prognosis is.")
@click.option(
    "--panel", is_flag=True, help="What if the twin is wrong: true, noise, biased, shifted and anti-correlated beside each other."
)
@click.option("--visits", type=int, help="Of the longitudinal world.")
@click.option("--dropout", type=float, help="Share of patients lost by the end.")
@click.option("--mechanism", type=click.Choice(MECHANISMS), help="Why they are lost.  [default: mcar; longitudinal mar]")
@click.option("--control-risk", type=float, help="Of the binary world.")
@click.option("--median", type=float, help="Time to the event under control, in the survival world.")
@click.option("--accrual", type=float, help="Time over which patients enter, same unit.")
@click.option("--follow-up", type=float, help="Time after the last one, same unit.")
@click.option("--heterogeneity", type=float, help="Of the nonlinear world: how the effect changes with a covariate.")
@click.option("--shift", type=float, help="Of the nonlinear world: how far the population has moved since the twin was learnt, in SD.")
@click.option("--noise", type=click.Choice(("normal", "skewed")), help="Of the linear world: what is not foretold.")
@click.option(
    "--analyses",
    type=Names(),
    default=(),
    help="unadjusted, ancova, ancova2, mmrm, mmrm-unadjusted, logrank, adjusted-logrank, proportions, with commas; the first is the one compared with.",
)
@click.option("--variance", type=click.Choice(VARIANCES), default="hc2", show_default=True, help="Of the linear models.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Two-sided level.")
@click.option("--looks", type=Numbers, help="Information fractions of looks, rising to 1: 0.5,1.")
@click.option(
    "--boundary",
    type=click.Choice(BOUNDARIES),
    default="spend-obrien-fleming",
    show_default=True,
    help="Of the looks, two-sided.",
)
@click.option("--gamma", type=float, default=-4.0, show_default=True, help="Of spend-hwang-shih-decani.")
@click.option(
    "--futility",
    type=float,
    help="Stop, non-binding, when the power that remains for an effect upwards of the size that has --power falls below this.",
)
@click.option("--power", type=float, default=0.9, show_default=True, help="That a recommended design must reach.")
@click.option("--type-one", type=float, default=0.05, show_default=True, help="That a recommended design may not exceed.")
@click.option("--replicates", type=click.IntRange(250, 5_000_000), default=10_000, show_default=True, help="Trials in each world.")
@click.option(
    "--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes; the figures are the same for any number."
)
@click.option("--report", type=FilePath, help="A page with figures, HTML.")
@seed_option
@shared
def simulate(**o: Any) -> int:
    """Repeat a trial thousands of times: type-I error, power, coverage, patients saved, each with its Monte-Carlo error."""
    from gemel.platform.executors import executor
    from gemel.trials.simulate.choose import analyses_of, world_of
    from gemel.trials.simulate.recommend import Limits, recommend
    from gemel.trials.simulate.study import PANEL, study

    taken = ("effect", "correlation", "sd", "visits", "dropout", "mechanism", "control_risk", "median", "accrual", "follow_up", "heterogeneity", "shift", "noise", "twin")  # fmt: skip
    bundle = read_bundle(o["prognosis"])
    if bundle:
        o["sd"] = bundle.sd if o["sd"] is None and o["world"] in ("linear", "nonlinear", "longitudinal") else o["sd"]
        o["correlation"] = max(bundle.correlation, 0.0) if o["correlation"] is None else o["correlation"]
    o["correlation"] = 0.5 if o["correlation"] is None else o["correlation"]
    world = world_of(o["world"], **{k: o[k] for k in taken})
    if o["futility"] is not None and not (o["looks"] and world.effect > 0):
        from gemel.core.errors import DataError

        raise DataError(
            "futility is for looks and an effect upwards",
            seen=f"looks {o['looks']}, effect {world.effect:g}",
            expected="--looks and a positive effect",
        )
    analyses = analyses_of(o["world"], o["analyses"], variance=o["variance"])
    designs = {f"n {n:g}": _design(n, analyses, o) for n in o["n"]}
    how = None if o["workers"] == 1 else executor(f"processes:{o['workers']}", label="blocks of trials")
    with _stoppable() as bar:
        if len(designs) > 1:
            found = recommend(
                designs, world, Limits(o["power"], o["type_one"]), replicates=o["replicates"], key=o["seed"], progress=bar, executor=how
            )
            return _told_choice(found, o)
        done = study(
            next(iter(designs.values())),
            world,
            o["replicates"],
            key=o["seed"],
            twins=PANEL if o["panel"] else (),
            progress=bar,
            executor=how,
        )
    told = done.to_dict() | {"settings": _settings(o)}
    write_told(o["output"], told)
    if o["report"]:
        from gemel.trials.simulate.report import study_view
        from gemel.web import render_html

        atomic_write(o["report"], render_html(study_view(done, words=_sentence(o))).encode())
    if o["json_"]:
        print_json(told)
    else:
        _print_study(done, o)
    if not done.is_whole:
        note(
            f"stopped: {done.done:,} of {done.asked:,} trials in each world"
            + (f", without {', '.join(done.left_out)}" if done.left_out else "")
        )
    return 0


def _design(n: float, analyses: tuple[Any, ...], o: dict[str, Any]) -> Any:
    from gemel.core.errors import DataError
    from gemel.trials.simulate.design import Design

    if n != int(n) or o["allocation"] <= 0:
        raise DataError(
            "sizes are not usable",
            seen=f"{n:g} patients, {o['allocation']:g} treated per control",
            expected="a whole number, a positive ratio",
        )
    treated = round(int(n) * o["allocation"] / (1 + o["allocation"]))
    plan, futile = None, ()
    if o["looks"]:
        from gemel.trials.design.boundary import boundary, inflation
        from gemel.trials.design.conditional import futility
        from gemel.trials.design.spending import Spending

        kind = o["boundary"].removeprefix("spend-")
        plan = boundary(o["looks"], Spending(kind, o["gamma"]) if o["boundary"].startswith("spend-") else kind, alpha=o["alpha"])
        if o["futility"] is not None:
            futile = futility(plan, inflation(plan, o["power"])[0], least=o["futility"])
    return Design(int(n) - treated, treated, analyses, o["alpha"], o["randomisation"], plan, futile)


def _settings(o: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in o.items() if k not in ("output", "json_", "report", "workers") and v is not None}


def _sentence(o: dict[str, Any]) -> str:
    looks = f", looks at {', '.join(f'{t:g}' for t in o['looks'])} ({o['boundary']})" if o["looks"] else ""
    return f"World {o['world']}, {', '.join(f'{n:g}' for n in o['n'])} patients, effect {o['effect']:g}, correlation {o['correlation']:g}{looks}, seed {o['seed']}."


def _share(found: Characteristics | None, which: str = "power") -> str:
    return "-" if found is None else f"{getattr(found, which):.4f} ({found.errors[which]:.4f})"


def _print_study(done: Study, o: dict[str, Any]) -> None:
    echo(f"SIMULATED: {done.done:,} trials in each world. {_sentence(o)}")
    rows = []
    for row in done.rows:
        under = row.under_effect
        patients = (row.under_null if under is None else under).patients
        rows.append(
            (
                row.twin,
                row.analysis,
                _share(row.under_null),
                _share(under),
                _share(row.under_null if under is None else under, "coverage"),
                "-"
                if row.reduction is None
                else f"{100 * row.reduction:.1f} ({100 * row.reduction_error:.1f})"
                if row.reduction_error
                else "-",
                f"{patients:.1f}",
                row.under_null.failed + (0 if under is None else under.failed),
            )
        )
    heads = ("twin", "analysis", "type-I error", "power", "coverage", "saved, %", "patients", "failed")
    print_table("in brackets: Monte-Carlo standard error", heads, rows, right=(2, 3, 4, 5, 6, 7))
    if o["looks"]:
        stops = [(r.analysis, *(f"{100 * s:.1f}" for s in r.under_effect.stops)) for r in done.rows if r.under_effect is not None]
        if stops:
            print_table(
                "share of trials that end at each look, %, under the effect",
                ("analysis", *(f"{t:g}" for t in o["looks"])),
                stops,
                right=range(1, 20),
            )
    echo(f"lineage {done.lineage.id}")


def _told_choice(found: Recommended | Abstained, o: dict[str, Any]) -> int:
    from gemel.core.lineage import digest
    from gemel.trials.simulate.recommend import Recommended

    settings = _settings(o)
    told = {
        "choice": {"design": found.design, "analysis": found.analysis, "sentence": found.sentence} if isinstance(found, Recommended) else None,
        "abstained": None if isinstance(found, Recommended) else found.reason,
        "weighed": [
            {"design": w.design, "analysis": w.analysis, "patients": w.patients, "under_effect": w.under_effect.to_dict(), "under_null": w.under_null.to_dict(), "against": w.against}
            for w in found.weighed
        ],
        "settings": settings,
        "lineage": digest(settings)[:16],
        "shown_on": {"kind": "simulated", "n": min(w.under_null.replicates for w in found.weighed)},
    }  # fmt: skip
    write_told(o["output"], told)
    if o["json_"]:
        print_json(told)
        return 0
    echo(f"SIMULATED: {told['shown_on']['n']:,} trials in each world. {_sentence(o)}")
    rows = [
        (
            w.design,
            w.analysis,
            f"{w.patients:.1f}",
            _share(w.under_null),
            _share(w.under_effect),
            "; ".join(w.against) or "keeps the limits",
        )
        for w in found.weighed
    ]
    print_table(
        "in brackets: Monte-Carlo standard error", ("design", "analysis", "patients", "type-I error", "power", ""), rows, right=(2, 3, 4)
    )
    echo(f"recommended: {found.sentence}" if isinstance(found, Recommended) else f"abstained: {found.reason}")
    echo(f"lineage {told['lineage']}")
    return 0
