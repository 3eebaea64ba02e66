"""SAS transport files: numbers to the bit, what is missing and how, both versions, real files, and files that are none."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from _data import require_dataset
from gemel.core.errors import DataError, FormatError, ValueRangeError
from gemel.interop.cdisc import Dataset, Variable, iso_text, read_xpt, write_xpt
from gemel.interop.cdisc.ibm import MISSING, from_ibm, to_ibm

NOW = dt.datetime(2026, 1, 2, 3, 4, 5)
IN_RANGE = st.floats(min_value=16.0**-65, max_value=16.0**63, exclude_max=True)


def slow_ibm(body: bytes) -> float:
    """The definition, in whole numbers: (-1)^s f 16^(e - 64), f a fraction of 14 hexadecimal digits."""
    sign, power, fraction = body[0] >> 7, body[0] & 0x7F, int.from_bytes(body[1:8], "big")
    value = fraction * 16**power / (1 << 56) / 16**64 if power < 64 else fraction * 16 ** (power - 64) / (1 << 56)
    return -value if sign else value


def made(**more) -> Dataset:
    variables = (
        Variable("USUBJID", "Unique Subject Identifier", length=8),
        Variable("AVAL", "Analysis Value", True),
        Variable("ADT", "Analysis Date", True, format="DATE9."),
        Variable("TXT", "Words with ümlauts", length=6),
    )
    columns = {
        "USUBJID": ["01-001", "01-002", "01-003", "01-004"],
        "AVAL": [0.0, None, -1.5, 1e10],
        "ADT": [19724.0, None, 0.0, -1.0],
        "TXT": ["", "é", " lead", "x"],
    }
    return Dataset("ADXX", variables, columns, "A made-up data set", {"AVAL": {1: ".C"}}, **more)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.just(0.0), IN_RANGE, IN_RANGE.map(lambda x: -x)), min_size=1, max_size=20))
@example([1.0, -118.625, 5e-324 * 0, 16.0**-65, float(np.nextafter(16.0**63, 0)), 0.1, 1 / 3])
def test_every_float_in_range_comes_back_to_the_bit_and_is_what_the_definition_says(values):
    body = to_ibm(np.array(values))
    back, kinds = from_ibm(body)
    assert kinds == {}
    assert [struct.pack(">d", x) for x in back.tolist()] == [struct.pack(">d", x) for x in values]
    assert [slow_ibm(row.tobytes()) for row in body] == values  # whole-number arithmetic: exact


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=8, max_size=8).filter(lambda b: b[1:] != bytes(7)))
def test_every_ibm_number_is_the_nearest_float(body):
    (value,), kinds = from_ibm(np.frombuffer(body, np.uint8)[None])
    assert kinds == {}
    assert value == slow_ibm(body) or math.isclose(value, slow_ibm(body), rel_tol=2**-52)  # 56 bits into 53: one rounding each


def test_nothing_is_zero_and_each_kind_of_missing_is_itself():
    kinds = dict(enumerate(MISSING))
    body = to_ibm(np.full(len(kinds), np.nan), kinds)
    values, found = from_ibm(body)
    assert np.isnan(values).all()
    assert found == kinds
    zero, _ = from_ibm(np.zeros((1, 8), np.uint8))
    assert zero[0] == 0.0
    assert not np.signbit(zero[0])
    assert from_ibm(to_ibm(np.array([-0.0])))[0][0] == 0


@pytest.mark.parametrize("length", range(2, 8))
def test_numbers_cut_to_fewer_bytes_are_filled_with_zeros(length):
    whole = to_ibm(np.array([1.0, -2.5, 0.0]))
    assert from_ibm(whole[:, :length])[0].tolist() == [1.0, -2.5, 0.0]


@pytest.mark.parametrize("value", [math.inf, 16.0**63, 1e-80, -1e300, 5e-324])
def test_a_number_that_does_not_fit_is_refused(value):
    with pytest.raises(ValueRangeError, match="does not fit"):
        to_ibm(np.array([1.0, value]))


def test_version_5_comes_back_as_it_was_and_the_same_bytes_are_written():
    data = made()
    body = write_xpt(data, created=NOW)
    assert len(body) % 80 == 0
    (back,) = read_xpt(body)
    assert back.columns == data.columns
    assert back.special == data.special
    assert (back.name, back.label, back.created) == ("ADXX", "A made-up data set", "02JAN26:03:04:05")
    assert [(v.name, v.label, v.is_number, v.format) for v in back.variables] == [
        (v.name, v.label, v.is_number, v.format) for v in data.variables
    ]
    assert write_xpt(back, created=NOW) == body
    assert back.dated()["ADT"] == ["2014-01-01", None, "1960-01-01", "1959-12-31"]


def test_several_data_sets_and_one_without_rows():
    empty = Dataset("EMPTY", (Variable("X", "", True), Variable("Y")), {"X": [], "Y": []})
    found = read_xpt(write_xpt(made(), empty, made(), created=NOW))
    assert [(d.name, d.rows) for d in found] == [("ADXX", 4), ("EMPTY", 0), ("ADXX", 4)]
    assert found[2].columns == made().columns


@pytest.mark.parametrize("width", [1, 3, 20, 79, 80, 81])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_padding_is_no_row(width, rows):
    data = Dataset("T", (Variable("C", length=width),), {"C": ["x" * width] * rows})
    assert read_xpt(write_xpt(data, created=NOW))[0].rows == rows


def long_file(labels: bool = True) -> bytes:
    """A file of version 8 by hand: long names, a label of 90 characters, two rows."""

    def head(name: str, rest: str = "0" * 30) -> bytes:
        return f"HEADER RECORD*******{name:8}HEADER RECORD!!!!!!!{rest:30}  ".encode()

    stamp = b"02JAN26:03:04:05"
    described = []
    for i, (name, kind, length, place) in enumerate((("a_value_with_a_long_name", 1, 8, 0), ("words", 2, 5, 8)), start=1):
        body = struct.pack(
            ">hhhh8s40s8shhh2s8shhl",
            kind,
            0,
            length,
            i,
            name[:8].encode().ljust(8),
            b"short".ljust(40),
            b" " * 8,
            0,
            0,
            0,
            b"\0\0",
            b" " * 8,
            0,
            0,
            place,
        )
        described.append(body + name.encode().ljust(32) + struct.pack(">h", 5) + bytes(18))
    rows = to_ibm(np.array([0.0, 2.5]))
    data = b"".join(rows[i].tobytes() + w for i, w in enumerate((b"one  ", b"three")))
    long = struct.pack(">hhh", 2, 5, 90) + b"words" + b"L" * 90
    parts = [
        head("LIBV8"), b"SAS     SAS     SASLIB  9.4     X       " + b" " * 24 + stamp, stamp.ljust(80), head("MEMBV8", "0" * 17 + "160" + "0" * 7 + "140"), head("DSCPTV8"),
        b"SAS     " + b"a_long_table_name".ljust(32) + b"SASDATA 9.4     X       " + stamp, stamp + b" " * 16 + b"label of the table".ljust(40) + b" " * 8,
        head("NAMSTV8", "000000000200000000000000000000"), b"".join(described),
    ]  # fmt: skip
    body = b"".join(parts)
    body += b" " * (-len(body) % 80)
    if labels:
        body += head("LABELV8", "1") + long
        body += b" " * (-len(body) % 80)
    body += head("OBSV8", f"{2:15d}") + data
    return body + b" " * (-len(body) % 80)


def test_version_8_has_long_names_and_labels():
    (found,) = read_xpt(long_file())
    assert found.name == "a_long_table_name"
    assert found.label == "label of the table"
    assert found.columns == {"a_value_with_a_long_name": [0.0, 2.5], "words": ["one", "three"]}
    assert found.variable("words").label == "L" * 90
    assert read_xpt(long_file(labels=False))[0].variable("words").label == "short"


@pytest.mark.parametrize("cut", [0, 10, 79, 240, 500, 700, -90, -3])
def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(cut):
    for body in (write_xpt(made(), created=NOW), long_file()):
        with pytest.raises(FormatError, match=r"cut off|empty|not a SAS transport|no data set"):
            read_xpt(body[:cut] if cut >= 0 else body[: len(body) + cut])


@settings(max_examples=150, deadline=None)
@given(st.integers(240, 1200), st.integers(0, 255))
def test_a_broken_file_is_read_or_refused_by_name(place, byte):
    body = bytearray(write_xpt(made(), created=NOW))
    body[place % len(body)] = byte
    with contextlib.suppress(DataError):
        assert all(len(c) == d.rows for d in read_xpt(bytes(body)) for c in d.columns.values())


@pytest.mark.parametrize(
    ("variable", "values", "words"),
    [
        (Variable("TOOLONGNAME"), ["x"], "name does not fit"),
        (Variable("X", "L" * 41), ["x"], "label does not fit"),
        (Variable("X"), ["x" * 201], "text does not fit"),
        (Variable("X", format="AVERYLONGFORMAT9."), ["x"], "format does not fit"),
    ],
)
def test_what_version_5_cannot_hold_is_refused(variable, values, words):
    with pytest.raises(DataError, match=words):
        write_xpt(Dataset("T", (variable,), {variable.name: values}), created=NOW)


def test_columns_and_variables_belong_together():
    with pytest.raises(DataError, match="do not belong together"):
        Dataset("T", (Variable("A"), Variable("B")), {"A": ["x"], "B": []})
    with pytest.raises(FormatError, match="outside the calendar"):
        iso_text(1e9, "DATE9.")


@pytest.mark.data
def test_the_submitted_file_has_its_rows_labels_dates_and_zeros():
    (found,) = read_xpt((require_dataset("cdisc-pilot3") / "adsl.xpt").read_bytes())
    assert (found.name, found.rows, len(found.variables)) == ("ADSL", 254, 49)
    assert found.variable("TRTSDT").label == "Date of First Exposure to Treatment"
    assert found.dated()["TRTSDT"][0] == "2014-01-02"
    assert sum(x == 0 for x in found.columns["TRT01PN"]) == 86  # placebo: zero itself, not 5.4e-79
    (back,) = read_xpt(write_xpt(found, created=NOW))
    assert back.columns == found.columns
    assert back.variables == found.variables


@pytest.mark.peer
def test_pyreadstat_reads_what_we_write_and_we_what_it_writes(tmp_path):
    """The peer lives in its own environment: GEMEL_PEER_PYTHON names a Python with pyreadstat."""
    python = os.environ.get("GEMEL_PEER_PYTHON", "")
    if not python or subprocess.run([python, "-c", "import pyreadstat"], capture_output=True, check=False).returncode:
        pytest.skip("no pyreadstat: GEMEL_PEER_PYTHON names no Python that has it")
    source = require_dataset("cdisc-pilot3") / "adsl.xpt"
    (data,) = read_xpt(source.read_bytes())
    (tmp_path / "ours.xpt").write_bytes(write_xpt(data, created=NOW))
    (tmp_path / "v8.xpt").write_bytes(long_file())
    program = """
import json, sys, pyreadstat
a, m = pyreadstat.read_xport(sys.argv[1], disable_datetime_conversion=True)
b, n = pyreadstat.read_xport(sys.argv[2], disable_datetime_conversion=True)
c, o = pyreadstat.read_xport(sys.argv[3])
pyreadstat.write_xport(a, sys.argv[4], file_format_version=8, table_name="ADSL", column_labels=m.column_labels)
same = bool(a.equals(b)) and m.column_labels == n.column_labels and m.original_variable_types == n.original_variable_types
print(json.dumps({"same": same, "long": c.to_dict("list"), "labels": o.column_labels}))
"""
    done = subprocess.run(
        [python, "-W", "ignore", "-c", program, str(source), str(tmp_path / "ours.xpt"), str(tmp_path / "v8.xpt"), str(tmp_path / "theirs.xpt")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["same"]
    assert told["long"] == read_xpt(long_file())[0].columns
    assert told["labels"] == [v.label for v in read_xpt(long_file())[0].variables]
    assert read_xpt((tmp_path / "theirs.xpt").read_bytes())[0].columns == data.columns


def test_reading_loads_neither_scipy_nor_pandas():
    program = (
        "import sys, gemel.interop.tables, gemel.interop.cdisc; print(sorted({'scipy', 'pandas', 'jax', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_module_has_no_copy_of_the_data():
    assert not list(Path(__file__).parent.glob("*.xpt"))
