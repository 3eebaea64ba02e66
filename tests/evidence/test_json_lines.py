"""Files of JSON lines: written whole, and a line that was cut off is said to be that."""

from __future__ import annotations

import pytest

from gemel.core.errors import FormatError
from gemel.evidence.json_lines import append_lines, read_lines


def test_what_was_appended_is_read_with_its_place(tmp_path):
    path = tmp_path / "folder" / "runs.jsonl"
    append_lines(path, [{"a": 1}, {"b": "ü"}])
    append_lines(path, [{"c": None}])
    assert list(read_lines(path, "a run")) == [
        ("runs.jsonl, line 1", {"a": 1}),
        ("runs.jsonl, line 2", {"b": "ü"}),
        ("runs.jsonl, line 3", {"c": None}),
    ]


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_a_line_that_was_cut_off_costs_itself_only(tmp_path, cut):
    path = tmp_path / "runs.jsonl"
    append_lines(path, [{"first": 1}, {"second": 2}])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    if cut == 1:  # only the end of the line is missing: the object is whole
        append_lines(path, [{"third": 3}])
        assert [table for _, table in read_lines(path, "a run")] == [{"first": 1}, {"second": 2}, {"third": 3}]
        return
    lines = read_lines(path, "a run")
    assert next(lines)[1] == {"first": 1}
    with pytest.raises(FormatError, match="cut off") as told:
        next(lines)
    assert "delete this line only" in str(told.value)


@pytest.mark.parametrize("text", ['{"a": 1}\nnothing\n{"b": 2}\n', "[1, 2]\n", "\x00\xff\n"])
def test_anything_else_is_refused(tmp_path, text):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match="not a run"):
        list(read_lines(path, "a run"))
