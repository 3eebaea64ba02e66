"""``gemel import`` finds what people and hospitals have by its content."""

from __future__ import annotations

import pytest

from gemel.testing.apple import write_apple_health
from gemel.testing.omop import write_omop
from gemel.testing.vcf import vcf_header, write_vcf

WRITERS = {
    "apple-health": ("share.zip", write_apple_health),
    "omop": ("tables", write_omop),
    "vcf": ("calls.bin", write_vcf),
}


@pytest.mark.parametrize("name", WRITERS)
def test_found_by_its_content_and_stored_once(gemel, tmp_path, name):
    file, write = WRITERS[name]
    write(tmp_path / file)
    first = gemel("import", file, "--tz", "UTC", "--db", "s.sqlite", "--json").json()["people"]
    assert {person["report"]["format"] for person in first} == {name}
    assert all(person["new_facts"] > 0 for person in first)
    again = gemel("import", file, "--format", name, "--tz", "UTC", "--db", "s.sqlite", "--json").json()["people"]
    assert [person["hash"] for person in again] == [person["hash"] for person in first]
    assert {person["new_facts"] for person in again} == {0}
    assert f"read as {name}" in gemel("import", file).out


def test_a_file_without_its_build_says_what_to_do(gemel, tmp_path):
    (tmp_path / "a.vcf").write_text(vcf_header(("s1",), build="") + "chr1\t5\t.\tA\tT\t.\tPASS\t.\tGT\t0/1\n")
    told = gemel("import", "a.vcf")
    assert told.code != 0
    assert "GRCh37 or GRCh38?" in told.err
