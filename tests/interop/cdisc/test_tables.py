"""One reader for all tables: what a file is, its bytes say; what it cannot be is one named error."""

from __future__ import annotations

import datetime as dt

import pytest

from _data import require_dataset
from gemel.core.errors import DataError, FormatError
from gemel.interop.cdisc import Dataset, Variable, write_dataset_json, write_xpt
from gemel.interop.tables import columns_of, read_columns

NOW = dt.datetime(2026, 1, 2, 3, 4, 5)
DATA = Dataset(
    "ADXX",
    (Variable("ID"), Variable("VISIT", is_number=True), Variable("AVAL", is_number=True), Variable("ADT", is_number=True, format="DATE9.")),
    {"ID": ["a", "b", "c"], "VISIT": [0.0, 8.0, 8.0], "AVAL": [1.5, None, 0.0], "ADT": [0.0, 1.0, None]},
)
PLAIN = {"ID": ["a", "b", "c"], "VISIT": [0, 8, 8], "AVAL": [1.5, None, 0], "ADT": ["1960-01-01", "1960-01-02", None]}


def files(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (folder / "a.xpt").write_bytes(write_xpt(DATA, created=NOW))
    (folder / "a.json").write_text(write_dataset_json(DATA, created=NOW, version="1"))
    (folder / "a.ndjson").write_text(write_dataset_json(DATA, created=NOW, version="1", lines=True))
    dates = [None if x is None else dt.date.fromisoformat(x) for x in PLAIN["ADT"]]
    parquet.write_table(pyarrow.table(PLAIN | {"ADT": dates}), folder / "a.parquet")
    return ("a.xpt", "a.json", "a.ndjson", "a.parquet")


def test_all_kinds_give_the_same_columns(tmp_path):
    for name in files(tmp_path):
        assert read_columns(tmp_path / name) == PLAIN, name
        assert read_columns(tmp_path / name, {"VISIT": "8", "ID": "c"}) == {k: [v[2]] for k, v in PLAIN.items()}, name
        assert read_columns(tmp_path / name, {"AVAL": ""}) == {k: [v[1]] for k, v in PLAIN.items()}, name


def test_a_file_without_extension_is_what_it_is(tmp_path):
    files(tmp_path)
    (tmp_path / "export").write_bytes((tmp_path / "a.xpt").read_bytes())
    assert read_columns(tmp_path / "export") == PLAIN


@pytest.mark.parametrize("mark", [",", ";", "\t", " "])
def test_text_is_split_at_what_its_head_is_split_at(tmp_path, mark):
    (tmp_path / "a.csv").write_text("\n".join(mark.join(row) for row in (("id", "x"), ("s1", "1.5"), ("s2", "2"))))
    assert read_columns(tmp_path / "a.csv") == {"id": ["s1", "s2"], "x": ["1.5", "2"]}


def test_quoted_commas_lines_and_a_mark_of_order_are_text(tmp_path):
    (tmp_path / "a.csv").write_text('﻿id,note\ns1,"a, b"\ns2,"two\nlines"\n', encoding="utf-8")
    assert read_columns(tmp_path / "a.csv") == {"id": ["s1", "s2"], "note": ["a, b", "two\nlines"]}
    assert columns_of(["a\tb", "1\t", "2\t3"]) == {"a": ["1", "2"], "b": ["", "3"]}


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("a.csv", b"", "file is empty"),
        ("a.csv", b" \n\n", "file is empty"),
        ("a.csv", b"a,b\n1,2\n3", "does not fit the head"),
        ("a.csv", b"a,b\n", "no row is left"),
        ("a.csv", b"a,b\n1,\xff\n", "not UTF-8"),
        ("a.csv", "a,b".encode("utf-16"), "UTF-16"),
        ("a.csv", b"PK\x03\x04xxxx", "workbook"),
        ("a.xlsx", b"PK\x03\x04xxxx", "workbook"),
        ("a.sas7bdat", b"\x00" * 12 + b"\xc2\xea\x81\x60" + b"\x00" * 40, "sas7bdat"),
        ("a.csv", b"\x01\x00\x02\x00junk", "no known kind"),
        ("define.xml", b"<?xml version='1.0'?><ODM/>", "XML"),
        ("a.xpt", b"id,x\n1,2\n", "not what its name says"),
        ("a.parquet", b"id,x\n1,2\n", "not what its name says"),
        ("a.parquet", b"PAR1 and no more", "cut off or broken"),
        ("a.json", b'{"a": 1}', "not a Dataset-JSON"),
        ("a.json", b'{"datasetJSONVersion": "1.1.0", "columns": [', "cut off or broken"),
        ("a.json", b'{"datasetJSONVersion": "0.9", "columns": [], "rows": []}', "another version"),
        ("a.json", b'{"datasetJSONVersion": "1.1.0", "columns": [], "rows": []}', "no columns"),
    ],
)
def test_what_is_no_table_is_one_named_error(tmp_path, name, body, words):
    (tmp_path / name).write_bytes(body)
    with pytest.raises(FormatError, match=words):
        read_columns(tmp_path / name)


def test_a_csv_with_the_bytes_of_transport_is_refused_by_its_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(write_xpt(DATA, created=NOW))
    with pytest.raises(FormatError, match=r"SAS transport; expected: text"):
        read_columns(tmp_path / "a.csv")
    with pytest.raises(FormatError, match="folder"):
        read_columns(tmp_path)


def test_rows_and_columns_that_are_not_there(tmp_path):
    (tmp_path / "a.xpt").write_bytes(write_xpt(DATA, DATA, created=NOW))
    with pytest.raises(FormatError, match="several data sets"):
        read_columns(tmp_path / "a.xpt")
    with pytest.raises(FormatError, match="no such data set"):
        read_columns(tmp_path / "a.xpt", dataset="ADSL")
    assert read_columns(tmp_path / "a.xpt", dataset="ADXX") == PLAIN
    (tmp_path / "b.xpt").write_bytes(write_xpt(DATA, created=NOW))
    with pytest.raises(DataError, match="column is missing"):
        read_columns(tmp_path / "b.xpt", {"NOPE": "1"})
    with pytest.raises(FormatError, match=r"no VISIT is '9'; expected: one of 0, 8"):
        read_columns(tmp_path / "b.xpt", {"VISIT": "9"})
    with pytest.raises(FormatError, match="3 rows, none with"):  # each value occurs, the two never together
        read_columns(tmp_path / "b.xpt", {"VISIT": "8", "ID": "a"})


def test_parquet_that_is_not_plain_and_a_machine_without_it(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": [[1, 2], [3]]}), tmp_path / "a.parquet")
    with pytest.raises(FormatError, match="not plain"):
        read_columns(tmp_path / "a.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match="Parquet cannot be read here"):
        read_columns(tmp_path / "a.parquet")


@pytest.mark.data
def test_a_real_transport_file_and_the_same_study_as_text_agree():
    there = read_columns(require_dataset("cdisc-pilot3") / "adsl.xpt", {"EFFFL": "Y"})
    text = read_columns(require_dataset("cdisc-pilot") / "tplyr_adsl.csv", {"EFFFL": "Y"})
    assert len(there["USUBJID"]) == len(text["USUBJID"]) == 234
    order = [text["USUBJID"].index(u) for u in there["USUBJID"]]
    for name in ("AGE", "TRT01PN", "MMSETOT", "CUMDOSE"):
        assert [float(x) for x in there[name]] == pytest.approx([float(text[name][i]) for i in order]), name
