"""The trail: what was appended stays as it was, or the trail says where it does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemel.core.errors import DataError, FormatError
from gemel.trials.report import appended, entries, verify_trail


def trail(n: int) -> str:
    text = ""
    for i in range(n):
        text += appended(text, who="Ann", when=f"2026-01-0{i + 1}T00:00:00Z", what=f"step {i}", inputs={"a": str(i)}, outputs={"b": "x"})
    return text


def test_entries_follow_each_other():
    text = trail(4)
    assert verify_trail(text) == verify_trail("") == ()
    found = entries(text)
    assert [e.number for e in found] == [1, 2, 3, 4]
    assert [e.previous for e in found[1:]] == [e.hash for e in found[:-1]]
    assert set(json.loads(text.splitlines()[0])) == {"number", "who", "when", "what", "inputs", "outputs", "previous", "hash"}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3), st.sampled_from(["who", "when", "what", "number", "previous", "hash", "inputs", "outputs"]))
def test_no_line_can_change_unseen(line, field):
    lines = trail(4).splitlines()
    told = json.loads(lines[line])
    told[field] = {"a": "other"} if field in ("inputs", "outputs") else 7 if field == "number" else "0" * 63 + "1"
    lines[line] = json.dumps(told)
    assert verify_trail("\n".join(lines) + "\n")


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_no_line_before_the_last_can_go_and_none_can_move(gone):
    lines = trail(4).splitlines()
    assert verify_trail("\n".join(lines[:gone] + lines[gone + 1 :]) + "\n")
    lines[gone], lines[gone + 1] = lines[gone + 1], lines[gone]
    assert verify_trail("\n".join(lines) + "\n")


def test_a_rewritten_line_breaks_the_next():
    """Whoever changes a line and its hash has to change every line after it."""
    from dataclasses import replace

    lines = trail(3).splitlines()
    changed = replace(entries(trail(3))[1], who="Bob")
    lines[1] = json.dumps(changed.told() | {"hash": changed.hash})
    assert verify_trail("\n".join(lines) + "\n") == ("line 3 does not follow the one before",)


def test_nothing_is_appended_without_a_name_or_to_a_broken_trail():
    more = {"when": "2026", "what": "x", "inputs": {}, "outputs": {}}
    with pytest.raises(DataError, match="needs a name"):
        appended("", who=" ", **more)
    with pytest.raises(DataError, match="trail is broken"):
        appended(trail(2)[:-10], who="Ann", **more)
    assert "not written to its end" in verify_trail(trail(2)[:-10])[0]
    with pytest.raises(FormatError, match="no entry"):
        entries("{}\n")
    assert "no entry" in verify_trail("nonsense\n")[0]
