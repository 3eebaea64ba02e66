"""Outside studies: figures recomputed by hand, and every bad cell named with line and column."""

import hashlib

import numpy as np
import pytest

from gemel.core.errors import EvidenceError, FormatError, UnitError, ValueRangeError
from gemel.evidence.run import append, read
from gemel.evidence.verification.external import KINDS, read_external

MESH = """# study = bracket, ISO load
# dimension = 3
# order = 2
# gci_limit = 5 %
elements,peak_stress [MPa],displacement [mm]
{coarse},{s2},0.3000
{middle},{s1},0.2960
{fine},{s0},0.2990
"""
BENCH = """quantity,unit,model,model_sd,bench,bench_sd,specimen,tolerance
stiffness,N/mm,102,3,100,4,A,15
stiffness,N/mm,110,3,104,4,B,15
stiffness,N/mm,95,3,99,4,C,15
strain,1,0.020,0.001,0.030,0.001,A,0.005
strain,1,0.021,0.001,0.029,0.001,B,0.005
"""


def put(tmp_path, text, name="study.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def read_it(path, kind):
    return read_external(path, kind, "bracket", model_version="1", model_hash="m", time=5, command="gemel evidence", replicates=300)


def figure(run, name):
    return next(f for f in run.figures if f.name == name)


def mesh(tmp_path, constant=0.4):
    """Stress with an exact second-order error in h = elements^(-1/3), ratios 2 and 2."""
    cells = {"fine": 64000, "middle": 8000, "coarse": 1000}
    h = np.array([n ** (-1 / 3) for n in cells.values()])
    s = 250 + constant * 1e3 * h**2
    return put(tmp_path, MESH.format(**cells, **{f"s{i}": repr(float(v)) for i, v in enumerate(s)})), s


def test_a_mesh_study_gives_order_index_and_value_at_size_zero(tmp_path):
    path, s = mesh(tmp_path)
    run = read_it(path, "mesh")
    assert figure(run, "peak_stress: observed order").value == pytest.approx(2.0, abs=1e-9)
    assert figure(run, "peak_stress: observed order").met
    assert figure(run, "peak_stress: value at grid size zero").value == pytest.approx(250.0)
    index = figure(run, "peak_stress: grid convergence index")
    assert index.value == pytest.approx(1.25 * abs(s[1] - s[0]) / 3 / s[0])
    assert index.met
    assert figure(run, "peak_stress: finest grid").unit == "MPa"
    assert run.data_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (run.kind, run.category, run.factors) == ("calculation", "calculation verification and UQ", (3,))
    assert run.command == "gemel evidence"
    assert run.code_hash
    assert run.study == "mesh refinement, bracket, ISO load"
    assert figure(run, "peak_stress: finest grid").shown_on.kind == "proof"
    swings = [f for f in run.figures if f.name.startswith("displacement")]
    assert [f.name for f in swings] == ["displacement: finest grid"]  # 0.3000, 0.2960, 0.2990 oscillates: no order, no index
    assert swings[0].met is False
    assert not run.met
    sink = tmp_path / "runs.jsonl"
    append(sink, run)
    assert read(sink) == (run,)


def test_sizes_may_be_given_in_place_of_elements_in_any_order(tmp_path):
    rows = "\n".join(f"{h},{10 - h**1.5!r}" for h in (0.2, 0.8, 0.4))
    run = read_it(put(tmp_path, f"size [mm],pressure [mm[Hg]]\n{rows}\n"), "mesh")
    assert figure(run, "pressure: observed order").value == pytest.approx(1.5)
    assert figure(run, "pressure: observed order").met is None  # no theoretical order was given: nothing to meet
    assert figure(run, "pressure: finest grid").unit == "mm[Hg]"


def test_a_bench_comparison_by_hand(tmp_path):
    run = read_it(put(tmp_path, BENCH), "bench")
    error = np.array([2.0, 6.0, -4.0])
    mean = figure(run, "stiffness: mean error, model less bench")
    assert mean.value == pytest.approx(error.mean())
    assert mean.low == pytest.approx(-4.0)  # the smallest mean of three resampled specimens
    assert mean.unit == "N/mm"
    assert mean.shown_on.kind == "phantom"
    assert mean.shown_on.n == 3
    half = 1.959964 * error.std(ddof=1)
    assert figure(run, "stiffness: upper limit of agreement").value == pytest.approx(error.mean() + half, rel=1e-6)
    assert figure(run, "stiffness: upper limit of agreement").met
    assert figure(run, "stiffness: upper limit of agreement").high > 15  # its own interval is wide with three specimens
    assert not [f for f in run.figures if f.name == "strain: upper limit of agreement"]  # two specimens carry no limits
    assert figure(run, "stiffness: largest |error| / U").value == pytest.approx(6 / (2 * 5))  # U = 2 sqrt(3^2 + 4^2)
    assert figure(run, "stiffness: share of rows with |error| <= U").value == 1.0
    assert figure(run, "stiffness: share of rows within tolerance").met
    assert figure(run, "strain: largest |error| / U").value == pytest.approx(0.01 / (2 * np.sqrt(2) * 0.001))
    assert figure(run, "strain: share of rows within tolerance").value == 0.0
    assert not figure(run, "strain: share of rows within tolerance").met
    assert run.category == "bench validation"
    assert not run.met


def test_numerical_uncertainty_widens_the_validation_uncertainty(tmp_path):
    lines = BENCH.splitlines()
    wider = "\n".join([lines[0] + ",numerical_sd", *(f"{line},12" for line in lines[1:4])]) + "\n"
    run = read_it(put(tmp_path, wider), "bench")
    assert figure(run, "stiffness: largest |error| / U").value == pytest.approx(6 / (2 * 13))  # 5, 12, 13


def cohort(people, each, seed=0, sd=4.0, shift=1.0, told=4.0):
    rng = np.random.default_rng(seed)
    rows = []
    for p in range(people):
        centre = shift + rng.normal(0, sd)
        for _ in range(each):
            truth = rng.uniform(60, 200)
            predicted = truth + centre + rng.normal(0, sd)
            half = 1.96 * told * np.sqrt(2)
            rows.append((f"p{p}", predicted, truth, predicted - half, predicted + half))
    return rows


def validation_text(rows, head="# people = real\n# unit = mg/dL\n# level = 0.95\n"):
    return head + "person,predicted,observed,lower,upper\n" + "\n".join(",".join(map(str, r)) for r in rows) + "\n"


def test_a_validation_table_with_people_as_units(tmp_path):
    rows = cohort(60, 10)
    run = read_it(put(tmp_path, validation_text(rows, "# people = real\n# unit = mg/dL\n# level = 95 %\n# mae_limit = 3\n")), "validation")
    p, o = np.array([r[1] for r in rows]), np.array([r[2] for r in rows])
    assert figure(run, "mean absolute error").value == pytest.approx(np.abs(p - o).mean())
    assert not figure(run, "mean absolute error").met
    bias = figure(run, "bias, predicted less observed")
    assert bias.value == pytest.approx((p - o).mean())
    naive = 1.96 * (p - o).std() / np.sqrt(600)
    assert (bias.high - bias.low) / 2 > 1.6 * naive  # people, not readings: half of the variance is between people, 10 readings each
    assert bias.low < 1.0 < bias.high
    low, high = figure(run, "lower limit of agreement").value, figure(run, "upper limit of agreement").value
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(32), rel=0.15)
    covered = figure(run, "coverage of 0.95 intervals")
    assert covered.met
    assert bias.shown_on.n == 60
    assert run.category == "in-vivo validation"
    told = run.model_dump_json()
    assert '"p0"' not in told
    assert str(rows[0][1]) not in told  # nobody's reading is kept, only means of twenty and more
    bins = run.tables["by predicted value"]
    assert bins["rows"] == [60] * 10
    assert np.mean(bins["inside"]) == pytest.approx(covered.value)


def test_intervals_that_promise_too_much_are_found_out(tmp_path):
    run = read_it(put(tmp_path, validation_text(cohort(60, 10, told=1.5))), "validation")
    covered = figure(run, "coverage of 0.95 intervals")
    assert covered.value < 0.7
    assert covered.met is False


GOOD = "size [mm],q [MPa]\n1,1.0\n2,1.1\n4,1.5\n"
V = "# people = real\n# unit = mm\n# level = 0.9\n"
BAD = [
    ("mesh", "", FormatError, "no rows"),
    ("mesh", "size [mm],q [MPa]\n", FormatError, "no rows"),
    ("mesh", GOOD.replace("q [MPa]", "q"), UnitError, "column 'q' has no unit"),
    ("mesh", GOOD.replace("[MPa]", "[bananas]"), UnitError, "column 'q .bananas.'.*unknown unit"),
    ("mesh", GOOD.replace("2,1.1\n", ""), EvidenceError, "2 grid"),
    ("mesh", GOOD.replace("2,1.1", "1,1.1"), EvidenceError, "one size; seen: lines 2 and 3"),
    ("mesh", GOOD.replace("1.1", "about 1"), FormatError, "line 3, column 'q' is not a number; seen: 'about 1'"),
    ("mesh", GOOD.replace("1.1", ""), FormatError, "line 3, column 'q' is empty"),
    ("mesh", GOOD.replace("1.1", "nan"), FormatError, "line 3, column 'q' is not a finite number"),
    ("mesh", GOOD.replace("2,", "-2,"), ValueRangeError, "line 3, column 'size' is out of range; seen: -2"),
    ("mesh", GOOD.replace("size [mm]", "elements"), FormatError, "how many dimensions"),
    ("mesh", GOOD.replace("size [mm]", "h"), FormatError, "one of the columns size, elements"),
    ("mesh", GOOD.replace("q [MPa]", "size [m]"), FormatError, "a column stands twice"),
    ("mesh", GOOD.replace("2,1.1", "2,1.1,7"), FormatError, "line 3 has another number of cells"),
    ("mesh", "size [mm]\n1\n2\n4\n", FormatError, "no quantity of interest"),
    ("mesh", "# ordr = 2\n" + GOOD, FormatError, "line 1: no such setting; seen: ordr"),
    ("mesh", "# order = two\n" + GOOD, FormatError, "setting 'order' is not a number"),
    ("mesh", "# gci_limit = 0\n" + GOOD, ValueRangeError, "setting 'gci_limit'"),
    ("mesh", "size [mm];q [MPa]\n1;2\n", FormatError, "semicolons"),
    ("bench", BENCH.replace("bench_sd,", "sd,"), FormatError, "lacks columns.*bench_sd"),
    ("bench", BENCH.replace("110,3", "110,-3"), ValueRangeError, "line 3, column 'model_sd' is out of range; seen: -3"),
    ("bench", BENCH.replace("N/mm,110", ",110"), FormatError, "line 3, column 'unit' is empty"),
    ("bench", BENCH.replace("N/mm,110", "kN/mm,110"), EvidenceError, "'stiffness' in two units"),
    ("bench", BENCH.replace("3,104,4", "0,104,0"), EvidenceError, "line 3: neither model nor bench has an uncertainty"),
    ("bench", BENCH.replace("104", '"104,5"'), FormatError, "line 3, column 'bench'.*decimals with a point"),
    ("validation", validation_text([("a", 1, 1, 0, 2)], V.replace("# unit = mm\n", "")), UnitError, "column '# unit' has no unit"),
    ("validation", validation_text([("a", 1, 1, 0, 2)], V.replace("real", "friends")), FormatError, "on whom.*seen: friends"),
    ("validation", validation_text([("a", 1, 1, 0, 2)], V.replace("# level = 0.9\n", "")), FormatError, "intervals promise"),
    ("validation", validation_text([("a", 1, 1, 2, 0)], V), EvidenceError, "line 5: an interval that ends before it begins"),
    ("opinion", GOOD, EvidenceError, "no such kind"),
]


@pytest.mark.parametrize(("kind", "text", "error", "words"), BAD, ids=[f"{b[0]}: {b[3]}" for b in BAD])
def test_bad_files_are_refused_by_line_and_column(tmp_path, kind, text, error, words):
    with pytest.raises(error, match=words):
        read_it(put(tmp_path, text), kind)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(FormatError, match=r"none\.csv cannot be read"):
        read_it(tmp_path / "none.csv", "mesh")
    path = tmp_path / "latin.csv"
    path.write_bytes("Größe [mm]".encode("latin-1"))
    with pytest.raises(FormatError, match="UTF-8"):
        read_it(path, "mesh")


def test_a_byte_order_mark_and_a_spreadsheet_s_trailing_commas_do_no_harm(tmp_path):
    text = '\ufeff# order = 2,\n"# study = a, b",\n' + "\n".join(line + "," for line in GOOD.splitlines()) + "\n,,\n"
    run = read_it(put(tmp_path, text), "mesh")
    assert figure(run, "q: observed order").value == pytest.approx(2.0)
    assert run.study == "mesh refinement, a, b"
    assert set(KINDS) == {"mesh", "bench", "validation"}


def test_one_person_alone_has_no_interval(tmp_path):
    run = read_it(put(tmp_path, validation_text([("a", 1, 1.5, 0, 2), ("a", 2, 1.5, 1, 3)], V)), "validation")
    assert figure(run, "mean absolute error").low is None
    assert figure(run, "coverage of 0.9 intervals").met is None
    assert run.tables["by predicted value"]["rows"] == []
