"""``gemel trial simulate`` as a statistician would use it: from flags, from a design file, beside each other, stopped, refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from _trials import simulated
from gemel.cli.trial import simulate as command
from gemel.trials.design.allocation import BY_COVARIATE, RULES
from gemel.trials.simulate.analyses.linear import VARIANCES
from gemel.trials.simulate.choose import ANALYSES, USUAL, WORLDS, analyses_of, world_of
from gemel.trials.simulate.worlds.dropout import MECHANISMS
from gemel.trials.simulate.worlds.twin import QUALITIES
from test_startup import HEAVY, loaded, probe

SMALL = ("--n", 60, "--effect", 0.5, "--replicates", 500)


def test_choices_are_those_of_the_code():
    assert (command.WORLDS, command.TWINS, command.MECHANISMS, command.RULES, command.VARIANCES) == (
        WORLDS,
        QUALITIES,
        MECHANISMS,
        RULES + BY_COVARIATE,
        VARIANCES,
    )
    assert set(USUAL) == set(WORLDS)
    for world, names in USUAL.items():
        assert set(names) <= set(ANALYSES)
        assert len(analyses_of(world)) == len(names)


def test_help_loads_neither_jax_nor_scipy():
    assert not loaded(probe("from gemel.cli.app import run; run(['trial', 'simulate', '--help'])")) & {*HEAVY, "scipy", "numpy.random"}


def test_level_power_coverage_and_what_is_saved(gemel):
    ran = gemel("trial", "simulate", "--n", 200, "--effect", 0.4, "--replicates", 2000)
    assert ran.code == 0, ran.err
    assert "SIMULATED" in ran.out
    assert re.search(r"ancova +0\.0\d\d\d \(0\.00\d\d\) +0\.(89|9\d)\d* \(0\.00\d\d\) +0\.9\d\d\d", ran.out), ran.out
    assert "lineage" in ran.out


def test_the_panel_stands_beside_each_other(gemel, tmp_path):
    ran = gemel("trial", "simulate", *SMALL, "--panel", "--json", "-o", tmp_path / "told.json", "--report", tmp_path / "page.html")
    told = ran.json()
    assert told == json.loads((tmp_path / "told.json").read_text())
    assert [r["twin"] for r in told["rows"]] == [t for t in ("true", "noise", "biased", "shifted", "anti-correlated") for _ in (0, 1)]
    for row in told["rows"]:
        for one in (row["under_null"], row["under_effect"]):
            assert set(one["errors"]) >= {"power", "coverage", "mean", "bias", "sd"}
            assert one["failed"] == 0
    assert told["shown_on"] == {"kind": "simulated", "n": 500}
    assert told["lineage"]["seed"] == 1
    page = (tmp_path / "page.html").read_text()
    assert "SIMULATED" in page
    assert "What if the twin is wrong" in page
    assert "anti-correlated" in page


def test_a_design_file_says_the_same_as_flags(gemel, tmp_path):
    (tmp_path / "design.toml").write_text(
        '[simulate]\nn = 60\neffect = 0.5\nreplicates = 500\nlooks = "0.5,1"\nboundary = "pocock"\n[size]\neffect = 0.5\n'
    )
    there = gemel("trial", "simulate", "--design", tmp_path / "design.toml", "--json").json()
    here = gemel("trial", "simulate", *SMALL, "--looks", "0.5,1", "--boundary", "pocock", "--json").json()
    assert there["rows"] == here["rows"]
    assert there["lineage"]["id"] == here["lineage"]["id"]
    (tmp_path / "wrong.toml").write_text("[simulate]\nsize = 60\n")
    ran = gemel("trial", "simulate", "--design", tmp_path / "wrong.toml", *SMALL)
    assert ran.code != 0
    assert "nobody reads" in ran.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--world", "longitudinal", "--effect", 3, "--dropout", 0.25, "--visits", 3), ("mmrm unadjusted", "mmrm ")),
        (("--world", "survival", "--effect", 0.6, "--dropout", 0.1), ("logrank", "adjusted logrank")),
        (("--world", "binary", "--effect", 0.2, "--control-risk", 0.4), ("proportions", "ancova")),
        (("--world", "nonlinear", "--effect", 0.5, "--heterogeneity", 0.3, "--shift", 0.5), ("unadjusted", "ancova")),
        (("--effect", 0.0), ("ancova",)),
        (("--effect", 0.5, "--allocation", 2, "--randomisation", "blocks", "--variance", "hc2"), ("ancova",)),
        (("--effect", 0.5, "--looks", "0.5,1", "--futility", 0.2), ("end at each look",)),
    ],
)
def test_worlds_and_designs(gemel, flags, words):
    ran = gemel("trial", "simulate", "--n", 60, "--replicates", 250, *flags)
    assert ran.code == 0, ran.err
    for word in words:
        assert word in ran.out


def test_a_locked_prognosis_brings_its_correlation_and_sd(gemel, tmp_path):
    history = simulated(400, seed=9, effect=0.0)
    rows = [",".join(history), *(",".join(str(v) for v in row) for row in zip(*history.values(), strict=True))]
    (tmp_path / "history.csv").write_text("\n".join(rows) + "\n")
    size = gemel(
        "trial",
        "size",
        "--history",
        tmp_path / "history.csv",
        "--outcome",
        "y",
        "--baseline",
        "x,site",
        "--lock",
        tmp_path / "p.json",
        "--effect",
        0.4,
        "--json",
    ).json()
    told = gemel("trial", "simulate", *SMALL, "--prognosis", tmp_path / "p.json", "--json").json()
    assert told["settings"]["sd"] == pytest.approx(size["prognosis"]["sd"])
    assert told["settings"]["correlation"] ** 2 == pytest.approx(size["prognosis"]["r_squared"], abs=0.05)
    assert (
        gemel(
            "trial", "simulate", "--world", "binary", "--n", 60, "--effect", 0.2, "--replicates", 250, "--prognosis", tmp_path / "p.json"
        ).code
        == 0
    )


def test_several_sizes_end_in_a_recommendation_or_its_reason(gemel, tmp_path):
    ran = gemel(
        "trial", "simulate", "--n", "160,240,300", "--effect", 0.4, "--replicates", 4000, "--type-one", 0.055, "-o", tmp_path / "told.json"
    )
    assert ran.code == 0, ran.err
    assert "recommended: n 240, ancova" in ran.out
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["choice"]["design"] == "n 240"
    assert len(told["weighed"]) == 6
    none = gemel("trial", "simulate", "--n", "40,60", "--effect", 0.4, "--replicates", 500, "--json").json()
    assert none["choice"] is None
    assert "power" in none["abstained"]


def test_workers_change_nothing(gemel):
    one, two = (gemel("trial", "simulate", *SMALL, "--seed", 4, "--workers", w, "--json").json() for w in (1, 2))
    assert one["rows"] == two["rows"]
    assert gemel("trial", "simulate", *SMALL, "--seed", 5, "--json").json()["rows"] != one["rows"]


@pytest.mark.slow  # a start of the command, and seconds of work to interrupt
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_keeps_what_is_done(tmp_path, workers):
    path = tmp_path / "told.json"
    call = [
        sys.executable,
        "-m",
        "gemel.cli",
        "trial",
        "simulate",
        "--n",
        "400",
        "--effect",
        "0.1",
        "--replicates",
        "5000000",
        "--workers",
        str(workers),
        "-o",
        str(path),
    ]
    process = subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"GEMEL_NO_WORKER": "1"}, start_new_session=True
    )
    threading.Timer(6.0 if workers == 1 else 9.0, lambda: os.killpg(process.pid, signal.SIGINT)).start()
    begin = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 40
    assert process.returncode == 0, err
    assert "stopped: " in err
    told = json.loads(path.read_text())
    assert 0 < told["replicates"]["done"] < told["replicates"]["asked"]
    assert "stopped" in told["lineage"]["note"]
    assert "type-I error" in out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--n", "60"), "--effect"),
        (("--n", "2", "--effect", 0.3), "two patients"),
        (("--n", "60.5", "--effect", 0.3), "whole number"),
        (("--n", "60", "--effect", 0.3, "--visits", 3), "no such thing"),
        (("--n", "60", "--effect", 0.3, "--world", "binary", "--control-risk", 0.9), "chances"),
        (("--n", "60", "--effect", 0.3, "--analyses", "magic"), "no such analysis"),
        (("--n", "60", "--effect", 0.3, "--analyses", "logrank"), "times and events"),
        (("--n", "60", "--effect", 0.3, "--looks", "0.5,0.9"), "fractions"),
        (("--n", "60", "--effect", 0.3, "--futility", 0.2), "futility"),
        (("--n", "60", "--effect", 0.3, "--correlation", 1.0), "correlation"),
        (("--n", "60", "--effect", 0.3, "--dropout", 0.99), "dropout"),
        (("--n", "60", "--effect", 0.3, "--allocation", -1), "ratio"),
    ],
)
def test_what_cannot_be_simulated_is_refused_by_name(gemel, flags, words):
    ran = gemel("trial", "simulate", "--replicates", 250, *flags)
    assert ran.code != 0
    assert words in ran.err, ran.err


def test_a_world_by_name():
    assert world_of("survival", effect=0.7).effect < 0
    assert world_of("longitudinal", effect=3.0, visits=None).visits == 4
