"""Shards: the same content from any executor, after a kill, and after extension; foreign folders are left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from _virtual import controls
from gemel.core.errors import DataError, FormatError
from gemel.platform.executors import Processes, Serial, executor
from gemel.trials.generate import Order, calibrate_copula, from_bytes, generate, tilted_to, to_bytes, verify
from gemel.trials.generate.capacity import capacity, capacity_view, measured_run
from gemel.trials.generate.exact import BLOCK, ExactCopula
from gemel.trials.generate.scale import draw_shard

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def copula():
    return calibrate_copula(controls(150))


ORDER = Order(7000, seed=3, shard=2500)


@pytest.fixture(scope="module")
def whole(copula, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, generate(copula, out, ORDER, executor=Serial())


def test_files_hold_what_the_manifest_says(whole, copula):
    out, manifest = whole
    assert manifest["records"] == 7000
    assert manifest["rows"] == 28000
    assert [s["patients"] for s in manifest["shards"]] == [2500, 2500, 2000]
    assert manifest["note"] == "synthetic is not anonymous"
    table = pq.read_table(out / manifest["shards"][0]["path"], partitioning=None)
    assert json.loads(table.schema.metadata[b"gemel"])["note"] == "synthetic is not anonymous"
    assert str(table.schema.field("adas").type) == "int8"
    assert str(table.schema.field("weight").type) == "int16"
    assert pq.ParquetFile(out / manifest["shards"][0]["path"]).metadata.row_group(0).column(2).compression == "ZSTD"
    left = table["adas"].null_count
    assert 0 < left < table.num_rows
    assert verify(out) == {"shards": 3, "records": 7000, "sha256": manifest["sha256"]}
    assert not list(out.glob("_generator*"))
    partitioned = pq.read_table(out)
    assert set(partitioned["study"].to_pylist()) == {"virtual"}


@pytest.mark.parametrize(
    "said", ["processes:1", "processes:2", pytest.param("dask:1", marks=pytest.mark.slow), pytest.param("dask:2", marks=pytest.mark.slow)]
)
def test_any_executor_gives_the_same_content(said, whole, copula, tmp_path):
    found = generate(copula, tmp_path / "out", ORDER, executor=executor(said))
    assert found == whole[1]


def test_a_seed_is_a_different_population(whole, copula, tmp_path):
    found = generate(copula, tmp_path / "out", Order(2500, seed=4, shard=2500), executor=Serial())
    assert found["shards"][0]["sha256"] != whole[1]["shards"][0]["sha256"]


def test_more_records_keep_the_shards_that_are_there(whole, copula, tmp_path):
    out = tmp_path / "out"
    generate(copula, out, Order(3000, seed=3, shard=2500), executor=Serial())
    first = out / "study=virtual/arm=control/part-00000.parquet"
    stamp = first.stat().st_mtime_ns
    found = generate(copula, out, ORDER, executor=Serial())
    assert found == whole[1]
    assert first.stat().st_mtime_ns == stamp
    with pytest.raises(DataError, match="more records"):
        generate(copula, out, Order(3000, seed=3, shard=2500), executor=Serial())


SCRIPT = """
import sys
from pathlib import Path
from gemel.platform.executors import executor
from gemel.trials.generate import Order, from_bytes, generate
if __name__ == "__main__":
    generate(from_bytes(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), Order(40000, seed=3, shard=500), executor=executor(sys.argv[3]))
"""


@pytest.mark.parametrize("said", ["serial", "processes:2"])
def test_a_killed_run_goes_on_to_the_same_hashes(said, copula, tmp_path):
    model, out, script = tmp_path / "model.npz", tmp_path / "out", tmp_path / "run.py"
    model.write_bytes(to_bytes(copula))
    script.write_text(SCRIPT)
    call = [sys.executable, str(script), str(model), str(out), said]
    running = subprocess.Popen(call, start_new_session=True)
    moment = int(np.random.default_rng(time.time_ns()).integers(1, 60))  # any moment must do: the outcome may not depend on it
    deadline = time.monotonic() + 120
    while len(list(out.glob("study=*/arm=*/part-*.parquet"))) < moment and time.monotonic() < deadline:
        time.sleep(0.002)
    assert running.poll() is None, "the run ended before it could be killed"
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (out / "_manifest.json").exists()
    time.sleep(0.5)  # workers see that their parent is gone
    half = len(list(out.glob("study=*/arm=*/part-*.parquet")))
    assert half < 80
    found = generate(from_bytes(model.read_bytes()), out, Order(40000, seed=3, shard=500), executor=Serial())
    straight = generate(copula, tmp_path / "straight", Order(40000, seed=3, shard=500), executor=Serial())
    assert found == straight
    assert verify(out)["records"] == 40000
    assert not list(out.rglob(".*"))


def test_a_clean_stop_leaves_a_manifest_of_what_is_there(copula, tmp_path):
    class Stop:
        def start(self, label, total):
            pass

        def update(self, done, note=""):
            return done < 2

        def finish(self):
            pass

    found = generate(copula, tmp_path / "out", ORDER, executor=Serial(), progress=Stop())
    assert (found["records"], found["missing"]) == (5000, 1)
    assert generate(copula, tmp_path / "out", ORDER, executor=Serial())["missing"] == 0


def test_a_shard_that_was_changed_or_cut_is_found(copula, tmp_path):
    out = tmp_path / "out"
    manifest = generate(copula, out, ORDER, executor=Serial())
    path = out / manifest["shards"][1]["path"]
    other = pq.read_table(path, partitioning=None)
    column = other.column_names.index("adas")
    pq.write_table(other.set_column(column, "adas", other["adas"].cast("int16")), path)
    with pytest.raises(FormatError, match="was changed"):
        verify(out)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FormatError, match="cannot be read"):
        verify(out)
    assert generate(copula, out, ORDER, executor=Serial()) == manifest
    assert verify(out)["sha256"] == manifest["sha256"]


def test_foreign_folders_are_left_alone(copula, whole, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        generate(copula, tmp_path, ORDER, executor=Serial())
    with pytest.raises(DataError, match="another run"):
        generate(copula, whole[0], Order(9000, seed=5, shard=2500), executor=Serial())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(FormatError, match="manifest"):
        verify(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"records": 0},
        {"records": 10, "studies": ("a/b",)},
        {"records": 10, "studies": ("a", "a")},
        {"records": 10, "seed": -1},
        {"records": 10, "shard": 0},
    ],
)
def test_impossible_orders_are_refused(wrong):
    with pytest.raises(DataError, match=r"impossible|folder"):
        Order(**wrong)


def test_records_are_shared_out_between_studies(copula, tmp_path):
    found = generate(copula, tmp_path / "out", Order(1001, studies=("a", "b"), shard=400), executor=Serial())
    assert [(s["study"], s["patients"]) for s in found["shards"]] == [("a", 400), ("a", 101), ("b", 400), ("b", 100)]
    assert found["shards"][0]["sha256"] != found["shards"][2]["sha256"]


def test_sums_in_fixed_point_are_exact_in_any_order(copula):
    drawer = ExactCopula(copula)
    scores = drawer.scores((1, 2, 3))
    rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((1, 2, 3))))
    noise = np.rint(rng.standard_normal((len(drawer.factor), BLOCK), dtype=np.float32) * np.float32(2**20)).astype(np.int64)
    whole_numbers = drawer.factor.astype(np.int64) @ noise  # integers: no rounding at all
    np.testing.assert_array_equal(scores.astype(np.int64), whole_numbers)
    backwards = np.zeros_like(scores)
    for k in range(len(drawer.factor))[::-1]:
        backwards += drawer.factor[:, [k]] * noise[[k]].astype(float)
    np.testing.assert_array_equal(scores, backwards)


def test_fixed_point_has_the_distribution_of_the_copula(copula):
    columns = draw_shard(copula, {"patients": 20000, "first": 0, "seed": 1, "partition": 0, "shard": 0})
    from gemel.trials.generate import constrained

    plain = constrained(copula.draw(20000, rng=np.random.default_rng(5)))
    for j, variable in enumerate(copula.variables):
        ours = variable.decode(columns[variable.name].reshape(20000, 4))
        theirs = np.repeat(plain.values[:, :1, j], 4, axis=1) if variable.is_baseline else plain.values[:, :, j]
        spread = np.nanstd(theirs, axis=0) / np.sqrt(np.minimum((~np.isnan(theirs)).sum(axis=0), (~np.isnan(ours)).sum(axis=0)) / 2)
        assert (np.abs(np.nanmean(ours, axis=0) - np.nanmean(theirs, axis=0)) < 4 * spread).all()  # 20 comparisons at four standard errors


def test_a_plan_is_in_proportion_to_the_run(whole):
    run = measured_run(whole[0])
    with pytest.raises(DataError, match="plan cannot be made"):
        capacity(run, 10**6)
    run = run | {"records": 200_000, "made_now": 200_000, "cpu_s": 4.0, "bytes": 40_000_000}
    plan = capacity(run, 300_000_000, cores=8, core_hour=0.04, gigabyte_month=0.02)
    assert plan["core_hours"] == pytest.approx(4.0 * 1500 / 3600)
    assert plan["hours"] == pytest.approx(plan["core_hours"] / 8)
    assert plan["gigabytes"] == pytest.approx(60.0)
    assert plan["cost_of_computing"] == pytest.approx(plan["core_hours"] * 0.04)
    assert plan["files"] == 1200
    from gemel.web import render_html

    page = render_html(capacity_view(plan))
    assert "Synthetic is not anonymous" in page
    assert "300,000,000" in page
    assert "no price was given" in render_html(capacity_view(capacity(run, 10**6)))
    with pytest.raises(FormatError, match="no measured run"):
        measured_run(Path(whole[0]) / "nowhere")


def test_a_described_population_comes_without_anybody_twice(copula, tmp_path):
    from gemel.trials.generate import constrained

    pool = constrained(copula.draw(20000, rng=np.random.default_rng(0)))
    tilt = tilted_to({"age": 77.0, "carrier": 0.8}, pool)
    found = generate(copula, tmp_path / "out", Order(4000, shard=2500), executor=Serial(), tilt=tilt)
    table = pq.read_table(tmp_path / "out")
    visit = table["visit"].to_numpy() == 0
    age, carrier = table["age"].to_numpy()[visit], table["carrier"].to_numpy()[visit]
    assert age.mean() == pytest.approx(77.0, abs=0.6)  # SE 0.1; the cut weights and the whole years leave the rest
    assert carrier.mean() == pytest.approx(0.8, abs=0.03)
    assert found["tilt"] == tilt.hash
    again = generate(copula, tmp_path / "two", Order(4000, shard=2500), executor=Processes(2), tilt=tilt)
    assert again == found
    with pytest.raises(DataError, match="another run"):
        generate(copula, tmp_path / "two", Order(4000, shard=2500), executor=Serial())
