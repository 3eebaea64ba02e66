"""``gemel demo``: a twin's main job, from one command. Each twin's demonstration is a module of its own with a function ``run``."""

from __future__ import annotations

import importlib
import time as clock
from pathlib import Path
from typing import Any

import click

from gemel.cli.demo.metabolic import PERSON
from gemel.cli.options import FilePath, as_json, common, seed_option
from gemel.cli.output import echo, note, print_json

__all__ = ["NAMES", "demo"]

NAMES = ("metabolic", "metabolic-t1d", "metabolic-t2d", "metabolic-slow", "metabolic-trial", "trial")
"""Demonstrations; ``metabolic-t1d`` is the module ``metabolic_t1d``."""


@click.command()
@click.argument("name", type=click.Choice(NAMES), default=NAMES[0])
@click.option("--person", default=None, help=f"metabolic: a recording of the shanghai data set.  [default: {PERSON}]")
@click.option(
    "--simulated", is_flag=True, help="metabolic, trial: a person or a trial drawn from a model instead, marked SIMULATED in every view."
)
@click.option("--readings", type=click.IntRange(1), help="metabolic: stream at most so many readings.")
@click.option(
    "-o",
    "--output",
    type=FilePath,
    default=None,
    help="Folder for the report and what belongs to it.  [default: gemel-demo, with the twin's name]",
)
@seed_option
@as_json
@common
def demo(name: str, person: str | None, simulated: bool, readings: int | None, output: Path | None, seed: int, json_: bool) -> int:
    """See the twin NAME do its main job, from data to report: by default one real person's glucose, from data to advice."""
    from gemel.cli.progress import Bar

    begun, cpu = clock.monotonic(), clock.process_time()
    given: dict[str, Any] = {k: v for k, v in (("person", person), ("simulated", simulated), ("readings", readings)) if v}
    foreign = [k for k in given if name != NAMES[0] and (name, k) != ("trial", "simulated")]
    if foreign:
        raise click.UsageError(f"--{foreign[0]} belongs to the demonstration of {NAMES[0]}, not of {name}")
    folder = output or (Path("gemel-demo") if name == NAMES[0] else Path("gemel-demo") / name)
    module = importlib.import_module(f"gemel.cli.demo.{name.replace('-', '_')}")
    with Bar() as bar:
        told = module.run(output=folder, seed=seed, say=note if json_ else echo, progress=bar, **given)
    told["seconds"], told["cpu_seconds"] = round(clock.monotonic() - begun, 1), round(clock.process_time() - cpu, 1)
    if json_:
        print_json(told)
    else:
        echo(f"report: {told['files']['report']}   ({told['seconds']:.0f} s, {told['cpu_seconds']:.0f} CPU-s)")
    return 0
