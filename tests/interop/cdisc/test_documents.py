"""Dataset-JSON, Define-XML, RTF and the folder m5: what is written is read again, and what is wrong is named."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from _data import require_dataset
from gemel.core.errors import DataError, FormatError
from gemel.interop import cdisc
from gemel.interop.cdisc import (
    AnalysisResult,
    Dataset,
    Leaf,
    RtfTable,
    Variable,
    m5_files,
    read_dataset_json,
    read_define,
    read_xpt,
    rtf_document,
    verify_m5,
    write_dataset_json,
    write_define,
)

NOW = dt.datetime(2026, 1, 2, 3, 4, 5)
DATA = Dataset(
    "ADSL",
    (
        Variable("USUBJID", "Unique Subject Identifier", key=1),
        Variable("AGE", "Age", True),
        Variable("BMI", "Body mass index < 30 & more", True),
        Variable("TRTSDT", "First Exposure", True, format="DATE9."),
        Variable("TRTSDTM", "First Exposure", True, format="DATETIME20."),
        Variable("SEX", "Sex"),
    ),
    {
        "USUBJID": ["a", "b"], "AGE": [63.0, None], "BMI": [25.25, 30.5], "TRTSDT": [19725.0, None], "TRTSDTM": [86400.0 * 19725 + 60, None], "SEX": ["F", "é"],
    },
    "Subject Level",
)  # fmt: skip


def test_exported_members():
    assert sorted(cdisc.__all__) == list(cdisc.__all__)
    assert all(getattr(cdisc, name).__doc__ for name in cdisc.__all__)


@pytest.mark.parametrize("lines", [False, True])
def test_dataset_json_comes_back(lines):
    text = write_dataset_json(DATA, created=NOW, study="S1", version="0.1", lines=lines)
    back = read_dataset_json(text)
    assert back.columns == DATA.columns
    assert [(v.name, v.label, v.is_number, v.key) for v in back.variables] == [
        (v.name, v.label, v.is_number, v.key) for v in DATA.variables
    ]
    assert back.dated() == DATA.dated()
    head = json.loads(text.splitlines()[0] if lines else text)
    assert head["datasetJSONVersion"] == "1.1.0"
    assert [c["dataType"] for c in head["columns"]] == ["string", "integer", "float", "date", "datetime", "string"]
    assert head["columns"][3]["targetDataType"] == "integer"
    assert head["records"] == 2
    assert (len(text.splitlines()) == 3) is lines


def test_dataset_json_of_others():
    head = {"datasetJSONVersion": "1.1.0", "name": "AD", "label": "", "columns": [
        {"itemOID": "1", "name": "D", "label": "", "dataType": "decimal", "targetDataType": "decimal"},
        {"itemOID": "2", "name": "T", "label": "", "dataType": "date"},
        {"itemOID": "3", "name": "M", "label": "", "dataType": "time", "targetDataType": "integer"},
    ], "rows": [["1.25", "2026-01", "01:00:01"], [None, None, None]]}  # fmt: skip
    found = read_dataset_json(json.dumps(head))
    assert found.columns == {"D": [1.25, None], "T": ["2026-01", ""], "M": [3601.0, None]}
    for change, words in (
        ({"records": 3}, "rows are missing"),
        ({"rows": [["1"]]}, "does not fit the columns"),
        ({"rows": [["x", "", "01:00"]]}, "does not fit its column"),
        ({"rows": [[True, "", "01:00"]]}, "does not fit its column"),
        ({"columns": [{"name": "D", "dataType": "thing"}]}, "is not described"),
    ):
        with pytest.raises(FormatError, match=words):
            read_dataset_json(json.dumps(head | change))


def test_a_define_says_what_the_data_hold_and_which_analysis_gave_which_number():
    result = AnalysisResult(
        "R1", "Table 1 & more", "b - a", "ADSL", ("AGE",), {"SEX": "F"}, documentation="ancova2/hc3", language="R", code="lm(y ~ x) # a < b"
    )
    text = write_define(
        [DATA], study="S1", created=NOW, version="0.1", results=[result], origin={"BMI": "weight / height²"}, code_lists={"ADSL.SEX": {"F": "Female", "M": "Male"}}
    )  # fmt: skip
    found = read_define(text)
    assert (found.version, found.study) == ("2.1.0", "S1")
    described = found.set("ADSL")
    assert [(v.name, v.label) for v in described.variables] == [(v.name, v.label) for v in DATA.variables]
    assert [v.format for v in described.variables] == [v.format for v in DATA.variables]
    assert described.variables[0].key == 1
    assert found.code_lists[described.lists["SEX"]] == {"F": "Female", "M": "Male"}
    root = ElementTree.fromstring(text.split("?>", 1)[1])
    kinds = {
        e.get("Name"): (e.get("DataType"), e.get("Length"), e.get("SignificantDigits")) for e in root.iter() if e.tag.endswith("}ItemDef")
    }
    assert kinds == {
        "USUBJID": ("text", "1", None), "AGE": ("integer", "2", None), "BMI": ("float", "5", "2"), "TRTSDT": ("integer", "8", None), "TRTSDTM": ("integer", "8", None), "SEX": ("text", "2", None),
    }  # fmt: skip
    arm = "{http://www.cdisc.org/ns/arm/v1.0}"
    (analysis,) = root.iter(f"{arm}AnalysisResult")
    assert analysis.get("AnalysisReason") == "SPECIFIED IN SAP"
    assert next(root.iter(f"{arm}Code")).text == "lm(y ~ x) # a < b"
    oids = {e.get("OID") for e in root.iter() if e.get("OID")}
    for e in root.iter():  # every reference points at something that is there
        for name, value in e.attrib.items():
            if name.rpartition("}")[2] in ("ItemOID", "ItemGroupOID", "CodeListOID", "WhereClauseOID"):
                assert value in oids, (e.tag, value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<ODM", "cut off or broken"),
        ("<html/>", "not a Define-XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><ODM/>', "refused"),
        ('<ODM xmlns:def="d"><MetaDataVersion def:DefineVersion="1.0"/></ODM>', "not a Define-XML"),
        ('<ODM xmlns:def="d"><MetaDataVersion def:DefineVersion="2.1.0"><ItemGroupDef Name="A"><ItemRef ItemOID="X"/></ItemGroupDef></MetaDataVersion></ODM>', "does not define"),
    ],
)  # fmt: skip
def test_what_is_no_define_is_refused(text, words):
    with pytest.raises(FormatError, match=words):
        read_define(text)


@pytest.mark.data
def test_the_submitted_define_describes_the_submitted_file():
    folder = require_dataset("cdisc-pilot3")
    found = read_define((folder / "define.xml").read_text(encoding="utf-8"))
    (data,) = read_xpt((folder / "adsl.xpt").read_bytes())
    described = found.set("ADSL")
    assert found.version == "2.0.0"
    assert [(v.name, v.label, v.is_number) for v in described.variables] == [(v.name, v.label, v.is_number) for v in data.variables]
    for name, coded in described.lists.items():
        known = found.code_lists[coded]
        seen = {f"{x:g}" if isinstance(x, float) else x for x in data.columns[name] if x not in (None, "")}
        assert not known or seen <= set(known), name
    with pytest.raises(FormatError, match="does not describe"):
        found.set("ADXX")


def test_rtf_is_ascii_balanced_and_says_what_the_table_says():
    table = RtfTable("Table 14-3.01 {x}", ("Arm", "n"), (("Placebo", "79"), ("Ümlaut \\ – 𝛼", "1")), ("note",), (1,))
    text = rtf_document("A report", (table, table), footer="Research use only")
    assert text.isascii()
    stripped = re.sub(r"\\[\\{}]", "", text)
    depth = 0
    for c in stripped:
        depth += (c == "{") - (c == "}")
        assert depth >= 0
    assert depth == 0
    assert text.count("\\trowd") == 6
    assert text.count("\\row") == 6
    assert "\\u220?mlaut \\\\ \\u8211?" in text
    assert text.count("\\page") == 1
    with pytest.raises(DataError, match="does not fit the heads"):
        rtf_document("A", (RtfTable("T", ("a", "b"), (("1",),)),))


def test_the_folder_has_its_places_and_its_checksums():
    leaves = (
        Leaf("report", "report.pdf", "Report & more", b"%PDF"),
        Leaf("adam", "adsl.xpt", "ADSL", b"x"),
        Leaf("adam", "define.xml", "Define", b"<ODM/>"),
    )
    files = m5_files(leaves, study="s-001", indication="alzheimer")
    assert files["m5/datasets/s-001/analysis/adam/datasets/adsl.xpt"] == b"x"
    assert files["m5/53-stud-rep/535-rep-effic-safety-stud/alzheimer/5351-stud-rep-contr/s-001/report.pdf"] == b"%PDF"
    assert files["index-md5.txt"].decode() == hashlib.md5(files["index.xml"], usedforsecurity=False).hexdigest()
    index = ElementTree.fromstring(files["index.xml"].decode().split("?>", 1)[1])
    listed = {next(v for k, v in e.attrib.items() if k.endswith("href")): e.get("checksum") for e in index.iter("leaf")}
    assert listed == {p: hashlib.md5(b, usedforsecurity=False).hexdigest() for p, b in files.items() if p.startswith("m5/")}
    assert verify_m5(files) == ()
    assert "was changed" in verify_m5(files | {"m5/datasets/s-001/analysis/adam/datasets/adsl.xpt": b"y"})[0]
    assert "is missing" in verify_m5({k: v for k, v in files.items() if "adsl" not in k})[0]
    assert "not listed" in verify_m5(files | {"m5/extra.txt": b""})[0]
    assert "index-md5" in verify_m5(files | {"index.xml": b"<x/>"})[0]
    assert verify_m5({}) != ()


@pytest.mark.parametrize(
    ("leaf", "study"),
    [(Leaf("report", "Report.pdf", "", b""), "s1"), (Leaf("thing", "a.pdf", "", b""), "s1"), (Leaf("report", "a.pdf", "", b""), "S 1"), (Leaf("report", "../a.pdf", "", b""), "s1")],
)  # fmt: skip
def test_names_that_no_submission_may_have(leaf, study):
    with pytest.raises(DataError):
        m5_files((leaf,), study=study, indication="x")
    with pytest.raises(DataError, match="twice"):
        m5_files((Leaf("report", "a.pdf", "", b""),) * 2, study="s1", indication="x")


SCHEMAS = """
import json, sys
from importlib.util import find_spec
from pathlib import Path
import jsonschema
from lxml import etree
schema = etree.XMLSchema(etree.parse(str(Path(find_spec("odmlib").origin).parent / "schemas/arm/1.0-define2.1/arm1-0-0.xsd")))
tree = etree.parse(sys.argv[1])
schema.validate(tree)
rules = next((p for s in sys.path if (p := Path(s) / "resources/schema/dataset.schema.json").is_file()), None)
check = jsonschema.Draft201909Validator(json.loads(rules.read_text()))
wrong = [e.message for name in sys.argv[2:] for e in check.iter_errors(json.loads(Path(name).read_text()))]
print(json.dumps([*(e.message for e in schema.error_log), *wrong]))
"""


NEEDS = "import jsonschema, lxml; from importlib.util import find_spec; assert find_spec('odmlib') and find_spec('cdisc_rules_engine')"


@pytest.mark.peer
def test_the_schemas_of_cdisc_find_nothing_wrong(tmp_path):
    """The schemas come with odmlib and cdisc-rules-engine, in an environment of their own: GEMEL_PEER_PYTHON."""
    python = os.environ.get("GEMEL_PEER_PYTHON", "")
    if not python or subprocess.run([python, "-c", NEEDS], capture_output=True, check=False).returncode:
        pytest.skip("no schemas: GEMEL_PEER_PYTHON names no Python with odmlib, cdisc-rules-engine, jsonschema and lxml")
    result = AnalysisResult(
        "R1", "Table 1", "b - a", "ADSL", ("AGE",), {"SEX": "F"}, documentation="ancova2", language="R", code="lm(y ~ x) # a < b"
    )
    other = AnalysisResult("R2", "Table 1", "c - a", "ADSL", ("AGE", "BMI"), parameter="IT.ADSL.SEX")
    lists = {"ADSL.SEX": {"F": "Female", "M": "Male"}}
    text = write_define(
        [DATA], study="S1", created=NOW, version="0.1", results=[result, other], origin={"BMI": "weight / height²"}, code_lists=lists
    )
    (tmp_path / "define.xml").write_text(text, encoding="utf-8")
    (tmp_path / "adsl.json").write_text(write_dataset_json(DATA, created=NOW, study="S1", version="0.1"), encoding="utf-8")
    done = subprocess.run(
        [python, "-W", "ignore", "-c", SCHEMAS, str(tmp_path / "define.xml"), str(tmp_path / "adsl.json")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []
