"""``gemel export``: every format, several people, and what a format has no place for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemel.cli.records import EXPORTS
from gemel.interop.fhir import validate_cgm
from gemel.interop.wearables import EXPORTS as WRITERS
from gemel.interop.wearables import FORMATS, read


def test_the_names_are_those_of_the_writers():
    assert set(EXPORTS) == set(WRITERS)


@pytest.mark.parametrize("format", EXPORTS)
def test_a_table_goes_out_and_comes_in_again(gemel, table, format):
    name = "out.csv" if format == "csv" else "out.json"
    (told,) = gemel("export", table, "--format", format, "-o", name, "--json").json()["people"]
    assert (told["patient"], told["file"], told["format"]) == ("ann", name, format)
    assert len(read(name)[0].series[0]) == 288
    again = gemel("export", name, "--format", format, "-o", "again.json", "--from", "generic" if format == "csv" else format)
    assert again.code == 0
    assert "written as" in again.out


def test_a_summary_goes_into_the_submission(gemel, table):
    assert gemel("export", table, "--format", "fhir-cgm", "--summary", "-o", "f.json").code == 0
    bundle = json.loads(Path("f.json").read_text())
    assert validate_cgm(bundle) == ()
    codes = {c["code"] for e in bundle["entry"] for c in e["resource"].get("code", {}).get("coding", [])}
    assert {"107931-8", "97506-0", "106793-3", "97507-8"} <= codes
    assert gemel("export", table, "--format", "tidepool", "--summary", "-o", "f.json").code == 2


def test_several_people_go_into_a_folder_or_one_is_named(gemel, tmp_path):
    rows = "\n".join(f"{p},2026-01-05T{h:02d}:00:00Z,{100 + h}" for p in ("a/b", "c") for h in range(24))
    (tmp_path / "two.csv").write_text("id,time,glucose_mg_dl\n" + rows + "\n")
    assert gemel("export", "two.csv", "--format", "tidepool", "-o", "out").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a%2Fb.json", "c.json"]
    assert gemel("export", "two.csv", "-o", "one.csv").code == 2
    assert gemel("export", "two.csv", "-o", "one.csv", "--id", "c").code == 0


def test_bad_requests_end_in_a_message(gemel, table):
    missing = gemel("export", "none.csv", "-o", "x.csv")
    assert (missing.code, "no such file" in missing.err) == (4, True)
    assert gemel("export", table, "--format", "fax", "-o", "x").code == 2
    assert gemel("export", table, "-o", "no/such/folder/x.csv").code == 2


def test_help_lists_every_layout(gemel):
    told = " ".join(gemel("import", "--help").out.split())
    assert [name for name in FORMATS if name not in told] == []


def test_identical_boluses_are_merged_on_request(gemel, tmp_path):
    rows = "time,glucose_mg_dl,bolus_u\n2026-01-05T08:00:00Z,110,4\n2026-01-05T08:00:30Z,111,4\n2026-01-05T08:05:00Z,112,\n"
    (tmp_path / "p.csv").write_text(rows)
    (plain,) = gemel("import", "p.csv", "--json").json()["people"]
    (merged,) = gemel("import", "p.csv", "--merge-boluses", "--json").json()["people"]
    assert (plain["report"]["facts"]["atc:A10AB"], merged["report"]["facts"]["atc:A10AB"]) == (2, 1)
    assert any(repair["what"].startswith("identical boluses") for repair in merged["report"]["repairs"])
    assert plain["hash"] != merged["hash"]
