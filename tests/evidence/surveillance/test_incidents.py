"""Incidents: opened once, never closed by themselves, never edited."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from gemel.core.errors import EvidenceError, FormatError
from gemel.core.time import DAY
from gemel.evidence.surveillance.incidents import answer_alarms, append_entries, assign, close, fold, read_entries


@dataclass(frozen=True)
class Rang:
    key: str
    time: int
    chart: str = "events, more than predicted"
    group: str = ""
    severity: str = "major"
    sentence: str = "above 5"


NOW = 100 * DAY


def test_an_alarm_opens_an_incident_once_and_a_second_one_is_noted(tmp_path):
    path = tmp_path / "incidents.jsonl"
    alarms = [Rang("a", 1 * DAY), Rang("b", 2 * DAY), Rang("c", 3 * DAY, group="women", severity="minor")]
    fresh = answer_alarms(alarms, (), now=NOW, owner="Ada", rollback="1.0.0", branches={"*": "recalibrate"}, version="m 1.1.0")
    assert append_entries(path, fresh) == 3
    again = answer_alarms([*alarms, Rang("d", 4 * DAY)], read_entries(path), now=NOW + DAY)
    assert [(e.event, e.fields["key"]) for e in again] == [("noted", "d")]
    assert append_entries(path, again) == 1
    assert answer_alarms([*alarms, Rang("d", 4 * DAY)], read_entries(path), now=NOW + 2 * DAY) == ()
    first, second = fold(read_entries(path))
    assert (first.owner, first.branch, first.rollback, first.version) == ("Ada", "recalibrate", "1.0.0", "m 1.1.0")
    assert len(first.notes) == 2
    assert (first.due - first.opened, second.due - second.opened) == (10 * DAY, 30 * DAY)
    assert not first.is_overdue(NOW + 10 * DAY)
    assert first.is_overdue(NOW + 11 * DAY)
    assert fold(read_entries(path), as_of=NOW - 1) == ()


def test_only_a_person_closes_with_a_name_and_a_reason(tmp_path):
    path = tmp_path / "incidents.jsonl"
    append_entries(path, answer_alarms([Rang("a", 1 * DAY)], (), now=NOW))
    (incident,) = fold(read_entries(path))
    with pytest.raises(EvidenceError, match="by a person"):
        close(incident, who=" ", reason="x", now=NOW)
    with pytest.raises(EvidenceError, match="for a reason"):
        close(incident, who="Ada", reason="", now=NOW)
    append_entries(
        path, [assign(incident, owner="Bo", who="Ada", now=NOW), close(incident, who="Bo", reason="a lab changed its units", now=NOW + DAY)]
    )
    (closed,) = fold(read_entries(path))
    assert (closed.is_open, closed.closed_by, closed.owner, closed.reason) == (False, "Bo", "Bo", "a lab changed its units")
    with pytest.raises(EvidenceError, match="closed already"):
        close(closed, who="Bo", reason="again", now=NOW)
    # what rang before it was closed belongs to it; what rings after opens another
    assert answer_alarms([Rang("early", NOW)], read_entries(path), now=NOW + 2 * DAY) == ()
    (new,) = answer_alarms([Rang("late", NOW + 2 * DAY)], read_entries(path), now=NOW + 3 * DAY)
    assert new.event == "opened"
    with pytest.raises(EvidenceError, match="no incident of this id"):
        append_entries(path, [new.model_copy(update={"incident": "0" * 16, "event": "closed"})])


@pytest.mark.parametrize("damage", ["edit", "drop", "swap", "rubbish"])
def test_an_edited_file_is_refused(tmp_path, damage):
    path = tmp_path / "incidents.jsonl"
    append_entries(path, answer_alarms([Rang("a", DAY), Rang("b", DAY, group="x"), Rang("c", DAY, group="y")], (), now=NOW))
    lines = path.read_text().splitlines()
    if damage == "edit":
        table = json.loads(lines[1])
        table["fields"]["severity"] = "minor"
        lines[1] = json.dumps(table)
    elif damage == "drop":
        del lines[1]
    elif damage == "swap":
        lines[0], lines[1] = lines[1], lines[0]
    else:
        lines[1] = "rubbish"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError, match=r"line [12]"):
        read_entries(path)
