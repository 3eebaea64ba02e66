"""``gemel trial generate``: virtual control patients from a calibrated generator, by the million; and what more of them would take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, existing, seed_option
from gemel.cli.output import atomic_write, echo, note, print_json, print_table
from gemel.cli.trial.options import Names, Pair, designed, read_table, write_told

if TYPE_CHECKING:
    from gemel.trials.generate.panel import Panel, Variable
    from gemel.trials.generate.target import Tilt

__all__ = ["generate"]

METHODS = ("copula", "state-space")
POOL = 50_000
"""Drawn patients on which the weights of a target population are calibrated."""


class _Count(click.ParamType):
    """A whole number, also as 1e6."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = -1.0
        if not (found >= 1 and found == int(found)):
            self.fail(f"{value!r} is not a whole number such as 1000000 or 1e6", param, ctx)
        return int(found)


class _Scale(click.ParamType):
    """NAME=KIND,LOW,HIGH[,RESOLUTION[,UNIT]]."""

    name = "name=kind,low,high[,resolution[,unit]]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, tuple[str, ...]]:
        if isinstance(value, tuple):
            return value
        name, mark, said = str(value).partition("=")
        parts = tuple(p.strip() for p in said.split(","))
        if not (name.strip() and mark and 3 <= len(parts) <= 5):
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return name.strip(), parts


@click.command("generate")
@click.option("--records", type=_Count(), help="Virtual patients in all: 1000000 or 1e6.")
@click.option("--out", type=FilePath, help="Folder of the Parquet files; a run cut short goes on there.")
@click.option("--model", type=FilePath, help="A calibrated generator, made with --save.")
@click.option("--history", type=FilePath, help="A table of control patients, one row per patient and visit.")
@click.option("--subject", metavar="COL", default="subject", show_default=True, help="Who, in the history.")
@click.option("--visit", metavar="COL", default="visit", show_default=True, help="Nominal time of the visit, a number.")
@click.option("--unit", default="d", show_default=True, help="Of that time, UCUM.")
@click.option("--variables", type=Names(), default=(), help="What is measured at visits, with commas; left out, every other column.")
@click.option("--baseline", type=Names(), default=(), help="What is known once, with commas.")
@click.option(
    "--scale", "scales", type=_Scale(), multiple=True, help="An instrument: adas=ordinal,0,70,1 or weight=continuous,30,200,0.1,kg."
)
@click.option("--event", metavar="COL", default="", help="A column of 0 and 1: the event has happened by that visit.")
@click.option("--study-column", metavar="COL", default="", help="Which study a patient of the history was in.")
@click.option(
    "--where",
    type=Pair(empty=True),
    multiple=True,
    help="Keep rows of the history whose column equals a value: ARM=Placebo; DTYPE= keeps empty ones.",
)
@click.option("--method", type=click.Choice(METHODS), default="copula", show_default=True, help="Of the generator.")
@click.option("--save", type=FilePath, help="A file for the calibrated generator: numbers under a hash, no pickle.")
@click.option("--save-prior", type=FilePath, help="A file for the prior of the twin virtual-control, learnt from the history.")
@click.option("--prior-of", metavar="COL", default="adas", show_default=True, help="The variable of that prior.")
@click.option("--studies", type=Names(), default=("virtual",), show_default="virtual", help="Names of the virtual studies, with commas.")
@click.option("--target-population", type=FilePath, help="TOML with [mean] and [share]: whom the virtual patients shall be like.")
@click.option("--executor", default="serial", show_default=True, help="serial, processes:2, dask:2, dask:tcp://host:8786 or ray.")
@click.option("--shard", type=click.IntRange(100, 10**7), default=250_000, show_default=True, help="Patients per file.")
@click.option("--verify", is_flag=True, help="Read every file of --out again and compare its content with the manifest.")
@click.option("--plan", type=_Count(), help="Say what so many records would take, from the run in --out or a shard measured now.")
@click.option("--cores", type=click.IntRange(1, 10**6), default=2, show_default=True, help="Of the plan.")
@click.option("--price-core-hour", type=click.FloatRange(0), help="Of the plan, in your currency.")
@click.option("--price-gb-month", type=click.FloatRange(0), help="Of the plan, in your currency.")
@click.option("--currency", default="EUR", show_default=True, help="Its name.")
@click.option("--page", type=FilePath, help="A file for the plan as a page, HTML.")
@seed_option
@designed
def generate(**o: Any) -> None:
    """Draw virtual control patients into Parquet, or plan how many could be. Synthetic is not anonymous."""
    from gemel.core.errors import DataError

    if o["verify"]:
        return _verified(o)
    if (o["model"] is None) == (o["history"] is None) and not (o["plan"] and o["out"] and not o["model"]):
        raise DataError("one source of patients is needed", seen="both or neither of --model and --history", expected="one of them")
    if o["plan"]:
        return _planned(o)
    generator, history = _generator(o)
    told: dict[str, Any] = {"generator": {k: getattr(generator, k) for k in ("kind", "hash", "n", "history")}}
    if history is not None:
        told["generator"]["notes"] = list(history.notes)
    if o["save"]:
        from gemel.trials.generate.store import to_bytes

        atomic_write(o["save"], to_bytes(generator))
        told["saved"] = str(o["save"])
    if o["save_prior"]:
        told |= _prior(o, history)
    if o["records"] or o["out"]:
        if not (o["records"] and o["out"]):
            raise DataError("records need a folder", seen="one of --records and --out", expected="both")
        told |= _drawn(o, generator, history)
    elif not (o["save"] or o["save_prior"]):
        raise DataError("nothing is asked for", expected="--records N --out DIR, --save FILE, --plan N or --verify")
    write_told(o["output"], told)
    return print_json(told) if o["json_"] else _print(o, told)


def _generator(o: dict[str, Any]) -> tuple[Any, Panel | None]:
    if o["model"]:
        from gemel.trials.generate.store import from_bytes

        return from_bytes(existing(o["model"]).read_bytes()), None
    from gemel.trials.generate.panel import history

    columns = read_table(o["history"], o["where"])
    panel = history(
        columns, subject=o["subject"], visit=o["visit"], unit=o["unit"], variables=o["variables"], baseline=o["baseline"], event=o["event"],
        study=o["study_column"], described={name: _scale(name, parts) for name, parts in o["scales"]},
    )  # fmt: skip
    if o["method"] == "copula":
        from gemel.trials.generate.copula import calibrate_copula

        return calibrate_copula(panel, seed=o["seed"]), panel
    from gemel.cli.options import use_engine
    from gemel.cli.progress import Bar
    from gemel.trials.generate.state_space_calibration import calibrate_state_space

    use_engine()
    with Bar() as bar:
        return calibrate_state_space(panel, seed=o["seed"], progress=bar), panel


def _prior(o: dict[str, Any], history: Panel | None) -> dict[str, Any]:
    import json

    from gemel.core.errors import DataError
    from gemel.trials.generate.prior import control_prior

    if history is None:
        raise DataError("a prior is learnt from real patients", seen="--save-prior without --history", expected="--history CSV")
    found = control_prior(history, o["prior_of"])
    atomic_write(o["save_prior"], (json.dumps(found, indent=1) + "\n").encode())
    return {"prior": found | {"file": str(o["save_prior"])}}


def _scale(name: str, parts: tuple[str, ...]) -> Variable:
    from gemel.core.errors import DataError
    from gemel.trials.generate.panel import Kind, Variable

    try:
        numbers = [float(p) for p in parts[1:4]]
        return Variable(name, Kind(parts[0]), *numbers, **({"unit": parts[4]} if len(parts) > 4 else {}))
    except ValueError as error:
        raise DataError(
            "an instrument cannot be read",
            seen=f"{name}={','.join(parts)}: {error}",
            expected=f"one of {[k.value for k in Kind]}, low, high, resolution, unit",
        ) from error


def _drawn(o: dict[str, Any], generator: Any, history: Panel | None) -> dict[str, Any]:
    from gemel.cli.progress import Bar
    from gemel.platform.executors import executor
    from gemel.trials.generate.scale import MEASURED, Order
    from gemel.trials.generate.scale import generate as generate_

    workers = executor(o["executor"], label="shards")
    order = Order(o["records"], seed=o["seed"], studies=o["studies"], shard=o["shard"])
    tilt, groups = _target(o, generator, history)
    with Bar() as bar:
        manifest = generate_(generator, o["out"], order, executor=workers, tilt=tilt, progress=bar)
    told: dict[str, Any] = {"manifest": {k: v for k, v in manifest.items() if k != "variables"}, "measured": _json(o["out"] / MEASURED)}
    if tilt is not None:
        told["target"] = tilt.told() | {"groups": groups}
    return told


def _json(path: Path) -> Any:
    import json

    return json.loads(path.read_text())


def _target(o: dict[str, Any], generator: Any, history: Panel | None) -> tuple[Tilt | None, list[dict[str, Any]]]:
    if not o["target_population"]:
        return None, []
    import tomllib

    import numpy as np

    from gemel.core.errors import FormatError
    from gemel.trials.generate.constraints import constrained
    from gemel.trials.generate.target import coverage_by_group, tilted_to

    try:
        said = tomllib.loads(existing(o["target_population"]).read_text(encoding="utf-8"))
        described = {str(k): float(v) for table in said.values() for k, v in table.items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
        raise FormatError(
            "the target population cannot be read", seen=str(error), expected="TOML with tables [mean] and [share] of numbers"
        ) from error
    if set(said) - {"mean", "share"}:
        raise FormatError(
            "the target population says what nobody reads", seen=sorted(set(said) - {"mean", "share"}), expected="[mean], [share]"
        )
    rng = np.random.default_rng(o["seed"])
    pool = constrained(generator.draw(POOL, rng=rng))
    reference = history or pool
    seen = {k: tuple(np.nanquantile(reference.values[:, 0, reference.index(k)], [0.05, 0.95])) for k in described}
    tilt = tilted_to(described, pool, seen=seen)
    came = pool.take(rng.random(pool.n) < tilt.chance({k: pool.values[:, 0, pool.index(k)] for k in described}))
    return tilt, coverage_by_group(history, came, tuple(described)) if history is not None else []


def _verified(o: dict[str, Any]) -> None:
    from gemel.core.errors import DataError
    from gemel.trials.generate.scale import verify

    if not o["out"]:
        raise DataError("a folder is needed", seen="--verify alone", expected="--out DIR")
    found = verify(existing(o["out"]))
    write_told(o["output"], found)
    if o["json_"]:
        return print_json(found)
    return echo(f"{found['shards']} files with {found['records']:,} records are what the manifest says; content {found['sha256'][:16]}")


def _planned(o: dict[str, Any]) -> None:
    from gemel.trials.generate.capacity import capacity, capacity_view, measured_run

    if o["out"]:
        run = measured_run(existing(o["out"]))
    else:
        import tempfile

        from gemel.platform.executors import executor
        from gemel.trials.generate.scale import Order
        from gemel.trials.generate.scale import generate as generate_

        generator, _ = _generator(o)
        note(f"one shard of {o['shard']:,} records is measured first")
        with tempfile.TemporaryDirectory(prefix="gemel-plan-") as folder:
            generate_(generator, Path(folder), Order(o["shard"], seed=o["seed"], shard=o["shard"]), executor=executor("serial"))
            run = measured_run(Path(folder))
    plan = capacity(
        run, o["plan"], cores=o["cores"], core_hour=o["price_core_hour"], gigabyte_month=o["price_gb_month"], currency=o["currency"]
    )
    write_told(o["output"], plan)
    if o["page"]:
        from gemel.web import render_html

        atomic_write(o["page"], render_html(capacity_view(plan)).encode())
    if o["json_"]:
        return print_json(plan)
    rows = [
        ("records measured", f"{run['records']:,}"), ("core-hours", f"{plan['core_hours']:.3g}"), (f"hours on {plan['cores']} cores", f"{plan['hours']:.3g}"),
        ("gigabytes", f"{plan['gigabytes']:.4g}"), ("bytes per record", f"{plan['bytes_per_record']:.1f}"),
        (f"computing, {plan['currency']}", plan["cost_of_computing"]), (f"a month on disk, {plan['currency']}", plan["cost_of_a_month"]),
    ]  # fmt: skip
    print_table(f"{plan['records']:,} records, in proportion to the measured run", ("", ""), rows, right=(1,))
    return echo(f"{plan['note']}; lineage {plan['lineage']}")


def _print(o: dict[str, Any], told: dict[str, Any]) -> None:
    about = told["generator"]
    for line in about.get("notes", ()):
        echo(line)
    echo(f"generator {about['kind']} ({about['hash'][:16]}), calibrated on {about['n']} control patients")
    if "target" in told:
        target = told["target"]
        rows = [
            (n, f"{c:.4g}", f"{t:.4g}", f"{r:.4g}")
            for n, c, t, r in zip(target["names"], target["centre"], target["target"], target["reached"], strict=True)
        ]
        print_table("target population", ("variable", "model", "described", "reached"), rows, right=(1, 2, 3))
        echo(f"accepted: {target['kept']:.1%} of the drawn, effective {target['effective']:.0%}")
        for flag in target["flags"]:
            echo(f"warning: {flag}")
        if target["groups"]:
            groups = [(g["group"], f"{g['share']:.1%}", g["real"], "thin" if g["thin"] else "") for g in target["groups"]]
            print_table("of how many real patients each group is made", ("group", "share drawn", "real patients", ""), groups, right=(1, 2))
    if "manifest" in told:
        run, made = told["measured"], told["manifest"]
        print_table(
            str(o["out"]), ("records", "rows", "files", "missing", "MB", "CPU-s", "s"),
            [(f"{made['records']:,}", f"{made['rows']:,}", len(made["shards"]), made["missing"], f"{run['bytes'] / 1e6:.1f}", f"{run['cpu_s']:.1f}", f"{run['wall_s']:.1f}")],
            right=tuple(range(7)),
        )  # fmt: skip
        echo(f"content {made['sha256']}")
    if "prior" in told:
        echo(f"prior of virtual-control in {told['prior']['file']}: {told['prior']['about']['source']}")
    if "saved" in told:
        echo(f"generator in {told['saved']}")
    echo("synthetic is not anonymous")
