"""Files of resources, packed in every way, and bombs."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib

import pytest

from gemel.core.errors import FormatError
from gemel.interop.fhir.files import read_resources, unpack

ONE = b'{"resourceType":"Patient","id":"a"}'
XML = b"\xef\xbb\xbf<Patient xmlns='http://hl7.org/fhir'><id value='b'/></Patient>"


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name.replace("_", "."), body)
    return out.getvalue()


@pytest.mark.parametrize(
    ("raw", "name", "ids"),
    [
        (ONE, "a.json", ["a"]), (XML, "b.xml", ["b"]), (gzip.compress(ONE), "a.json.gz", ["a"]), (ONE + b"\n\n" + ONE, "a.ndjson", ["a", "a"]),
        (gzip.compress(ONE) + gzip.compress(b"\n" + ONE), "a.ndjson.gz", ["a", "a"]), (zipped(a_json=ONE, b_xml=XML, c_txt=b"x"), "z.zip", ["a", "b"]),
        (zipped(a_gz=gzip.compress(ONE)), "z.zip", ["a"]),
    ],
)  # fmt: skip
def test_resources_are_read_however_they_are_packed(raw, name, ids):
    assert [tree["id"] for _, tree in read_resources(raw, name)] == ids


def test_bombs_are_stopped_while_they_are_unpacked():
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    with pytest.raises(FormatError, match="too large"):
        list(unpack(bomb, "bomb.json.gz", limit=1_000_000))
    with pytest.raises(FormatError, match="too large"):
        list(unpack(zipped(a_json=b" " * 5_000_000, b_json=ONE), "bomb.zip", limit=1_000_000))
    with pytest.raises(FormatError, match="too large"):
        list(unpack(zipped(a_gz=bomb), "bomb.zip", limit=1_000_000))
    many = zipped(**{f"x{i}_json": ONE for i in range(10_001)})
    with pytest.raises(FormatError, match="too many"):
        list(unpack(many, "many.zip"))


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (gzip.compress(ONE)[:-10], "a.gz"), (b"\x1f\x8b" + b"x" * 20, "a.gz"), (zipped(a_json=ONE)[:60], "z.zip"), (zlib.compress(ONE), "a.json"), (b"[1]", "a.json"),
        (b"3", "a.json"), (b"", "a.json"), (b"<a/>", "a.xml"), (b"PK\x03\x04", "z.zip"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(raw, name):
    with pytest.raises(FormatError):
        list(read_resources(raw, name))
