"""Proposals of class and category, and identifiers as fields."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gemel.core.errors import ManifestError
from gemel.core.manifest import manifest_of
from gemel.evidence.change.device import DeviceAnswers, EctdFields, UdiFields, propose_classes, read_answers


def rows_of(**answers):
    return {(r.authority, r.scheme): r for r in propose_classes(manifest_of("toy-linear"), DeviceAnswers(**answers))}


@pytest.mark.parametrize(
    ("state", "significance", "category"),
    [
        ("critical", "treat-or-diagnose", "IV"), ("serious", "treat-or-diagnose", "III"), ("non-serious", "treat-or-diagnose", "II"),
        ("critical", "drive", "III"), ("serious", "drive", "II"), ("non-serious", "drive", "I"),
        ("critical", "inform", "II"), ("serious", "inform", "I"), ("non-serious", "inform", "I"),
    ],
)  # fmt: skip
def test_the_table_of_imdrf(state, significance, category):
    row = rows_of(state=state, significance=significance)["IMDRF", "software category I-IV"]
    assert (row.proposed, row.lacks) == (category, ())


@pytest.mark.parametrize(
    ("answers", "proposed"),
    [({"significance": "drive", "harm": "death"}, "III"), ({"significance": "inform", "harm": "serious"}, "IIb"), ({"significance": "inform", "harm": "none"}, "IIa"), ({"monitors": "vital"}, "IIb")],
)  # fmt: skip
def test_rule_11(answers, proposed):
    assert rows_of(**answers)["EU", "MDR class, rule 11"].proposed == proposed


def test_what_is_not_told_is_said():
    rows = rows_of()
    assert rows["IMDRF", "software category I-IV"].proposed == "open: I, II, III, IV"
    assert rows["IMDRF", "software category I-IV"].lacks == ("device.state", "device.significance")
    assert rows_of(state="serious")["IMDRF", "software category I-IV"].proposed == "open: I, II, III"
    assert rows["FDA", "device or not"].proposed.startswith("open")
    assert all(r.standing == "proposed, human judgement needed" for r in rows.values())
    assert {r.authority for r in rows.values()} == {"all", "IMDRF", "FDA", "EU", "MHRA", "IEC"}
    assert rows_of(analyses=("signal",))["FDA", "device or not"].proposed.startswith("device: it analyses")
    decision = {"analyses": ("record",), "intended_for": "professional", "independent_review": True, "significance": "inform"}
    assert "non-device" in rows_of(**decision)["FDA", "device or not"].proposed
    assert rows_of(**decision | {"independent_review": False})["FDA", "device or not"].proposed == "device"


def test_answers_are_read_beside_the_manifest(tmp_path):
    path = tmp_path / "twin.toml"
    path.write_text('[device]\nstate = "serious"\n[device.a]\nharm = "death"\n')
    assert read_answers(path) == DeviceAnswers(state="serious", harm="death")
    assert read_answers("toy-linear") == DeviceAnswers()
    path.write_text('[device]\nstate = "mild"\n')
    with pytest.raises(ManifestError, match="state"):
        read_answers(path)


def test_identifiers():
    good = UdiFields(issuer="GS1", device_identifier="00614141999996", lot="A1", software_version="1.1.0")
    assert good.has_valid_check_digit
    assert not UdiFields(issuer="GS1", device_identifier="00614141999997").has_valid_check_digit
    assert UdiFields(issuer="HIBCC", device_identifier="A123").has_valid_check_digit is None
    assert good.production_identifier == "lot A1, version 1.1.0"
    with pytest.raises(ValidationError, match="no spaces"):
        UdiFields(issuer="GS1", device_identifier="0 1")
    with pytest.raises(ValidationError):
        EctdFields(context_of_use="m5", document_id="d", version=0, priority=1)
    assert EctdFields(context_of_use="m5", document_id="d", version=1, priority=1).status == "active"
