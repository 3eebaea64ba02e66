"""A folder of people in one command: killed, it goes on; changed, it is done again; broken, the rest is done."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gemel.core.record import Exposure, Quantity
from gemel.platform.store import Store

CACHE = Path.home() / ".cache" / "gemel" / "cli-tests"
"""Compiled programs are kept from run to run of the tests."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gemel.cli", *(str(a) for a in arguments)]


def test_everybody_is_calibrated_and_forecast_in_one_command(gemel, people, tmp_path):
    ran = gemel("calibrate", "toy-growth", people, "-o", "out", "--forecast", "f.csv", "--at", "60,120", "--draws", 16, "--json")
    told = ran.json()
    assert ran.code == 0
    assert [row["status"] for row in told["people"]] == ["OK"] * 3
    rows = list(csv.DictReader((tmp_path / "f.csv").read_text().splitlines()))
    assert [(r["patient"][-1], r["horizon_min"]) for r in rows] == [(p, h) for p in "012" for h in ("60.0", "120.0")]
    alone = gemel("calibrate", "toy-growth", people, "--id", told["people"][1]["patient"], "-o", "alone.twin", "--json")
    assert alone.code == 0
    assert (tmp_path / "alone.twin").read_bytes() == (tmp_path / "out" / "simulated-00000001.twin").read_bytes()
    # a second run finds everything done, and gives the same table
    first = (tmp_path / "f.csv").read_bytes()
    again = gemel("calibrate", "toy-growth", people, "-o", "out", "--forecast", "f.csv", "--at", "60,120", "--draws", 16, "--json").json()
    assert all(row["skipped"] for row in again["people"])
    assert (tmp_path / "f.csv").read_bytes() == first
    # other forecast times need no new twins
    wider = gemel("calibrate", "toy-growth", people, "-o", "out", "--forecast", "g.parquet", "--at", "30", "--draws", 16, "--json").json()
    assert all(row["skipped"] for row in wider["people"])
    # other settings are refused, unless asked for
    other = gemel("calibrate", "toy-growth", people, "-o", "out", "--seed", 9)
    assert other.code == 2
    assert "seed differ" in other.err


def test_who_has_new_facts_is_calibrated_again(gemel, people, tmp_path):
    mine = shutil.copy(people, tmp_path / "mine.sqlite")
    shutil.copy(f"{people}.key", tmp_path / "mine.sqlite.key")
    gemel("calibrate", "toy-growth", mine, "-o", "out")
    with Store(mine) as store:
        old = store.record("simulated-00000001")
        dose = old.exposures[0]
        later = int(old.series[0].time[-1])
        store.append(
            old.id, [Exposure(code=dose.code, quantity=Quantity(value=1.0, unit="mg"), start=later - 1, source="simulated")], recorded=later
        )
    told = gemel("calibrate", "toy-growth", mine, "-o", "out", "--json").json()
    assert [row["skipped"] for row in told["people"]] == [True, False, True]


def test_one_bad_person_does_not_stop_the_rest(gemel, people, tmp_path):
    mine = shutil.copy(people, tmp_path / "mine.sqlite")
    shutil.copy(f"{people}.key", tmp_path / "mine.sqlite.key")
    with Store(mine) as store:
        record = store.record("simulated-00000000")
        wrong = record.series[0].model_copy(update={"unit": "mg", "source": "wrong"})
        store.append("z-wrong-unit", [wrong], recorded=0)
        store.append("z-nobody", [], recorded=0)
    ran = gemel("calibrate", "toy-growth", mine, "-o", "out", "--json")
    told = ran.json()
    assert ran.code == 1
    assert told["failed"] == 2
    assert [bool(row["error"]) for row in told["people"]] == [False, False, False, True, True]
    assert "z-nobody" in ran.err


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stood(people, tmp_path):
    """SIGKILL after the first person; the second run skips whom the first finished, and ends as an undisturbed one does."""
    environment = os.environ | {"GEMEL_NO_WORKER": "1", "XDG_CACHE_HOME": str(CACHE)}
    line = command("calibrate", "toy-growth", people, "-o", "out", "--forecast", "f.csv", "--draws", 16, "--json")
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE)
    end = time.monotonic() + 120
    while not list((tmp_path / "out").glob("simulated*.twin")) and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list((tmp_path / "out").glob("simulated*.twin"))
    assert not (tmp_path / "f.csv").exists()
    told = json.loads(subprocess.run(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    assert told["people"][0]["skipped"]
    assert not told["people"][2]["skipped"]
    rows = list(csv.DictReader((tmp_path / "f.csv").read_text().splitlines()))
    assert len({r["patient"] for r in rows}) == 3
    assert np.isfinite([float(r["q50"]) for r in rows]).all()


@pytest.mark.slow
def test_an_interrupt_is_clean(people, tmp_path):
    environment = os.environ | {"GEMEL_NO_WORKER": "1", "XDG_CACHE_HOME": str(CACHE)}
    process = subprocess.Popen(
        command("calibrate", "toy-growth", people, "-o", "out"),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    end = time.monotonic() + 120
    while not (tmp_path / "out" / "run.json").exists() and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert not list((tmp_path / "out").glob(".gemel-*"))
