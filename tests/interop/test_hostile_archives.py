"""Archives that are too large unpacked, or name places outside: refused, and nothing is written anywhere."""

from __future__ import annotations

import contextlib
import gzip
import io
import zipfile

import pytest

from gemel.core.errors import FormatError
from gemel.interop.fhir.files import unpack
from gemel.interop.wearables import base, read_all

LINE = b"2026-01-01T00:00:00Z,100\n"
TABLE = b"time,glucose_mg_dl\n" + LINE
CLIMBING = ("../../outside.csv", "/tmp/gemel-outside.csv", "..\\..\\outside.csv", "a/../../../outside.csv", "C:\\outside.csv")


def zipped(*members: tuple[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return sink.getvalue()


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(base, "_MAX_BYTES", 100_000)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.zip", zipped(("a.csv", TABLE + LINE * 200_000))),
        ("a.csv.gz", gzip.compress(TABLE + LINE * 200_000)),
        ("a.zip", zipped(("a.csv.gz", gzip.compress(TABLE + LINE * 200_000)))),
    ],
    ids=["zip", "gzip", "gzip in zip"],
)
def test_a_table_that_is_too_large_unpacked_is_refused(small, tmp_path, name, body):
    assert len(body) < 50_000
    (tmp_path / name).write_bytes(body)
    with pytest.raises(FormatError, match="too large"):
        read_all(tmp_path / name)


def test_an_archive_that_lies_about_its_sizes_is_not_unpacked_beyond_them(small, tmp_path):
    body = bytearray(zipped(("a.csv", TABLE + LINE * 50_000)))
    told = len(TABLE + LINE * 50_000).to_bytes(4, "little")
    while (at := body.find(told)) >= 0:
        body[at : at + 4] = (50).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(body)
    with pytest.raises(FormatError, match="cannot be unpacked"):
        read_all(tmp_path / "a.zip", tz="UTC")


@pytest.mark.parametrize("name", CLIMBING)
def test_a_name_that_climbs_out_is_only_a_name(tmp_path, name):
    inner = tmp_path / "in" / "deep"
    inner.mkdir(parents=True)
    (inner / "a.zip").write_bytes(zipped((name, TABLE)))
    before = sorted(tmp_path.rglob("*"))
    with contextlib.suppress(FormatError):  # a hidden member, such as one below "..", is no table
        ((record, _),) = read_all(inner / "a.zip", tz="UTC")
        assert [len(s) for s in record.series] == [1]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", CLIMBING)
def test_the_same_for_resources(tmp_path, name):
    raw = zipped((name.replace(".csv", ".json"), b'{"resourceType": "Patient", "id": "p"}'))
    before = sorted(tmp_path.rglob("*"))
    assert len(list(unpack(raw, "a.zip"))) == 1
    assert sorted(tmp_path.rglob("*")) == before
