"""Variant call files: made up, with their truth, and what must not get in."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemel.core import iso
from gemel.core.errors import DataError, FormatError, GemelError, TimeError
from gemel.interop.genomics import is_vcf, read_calls, read_file
from gemel.testing.vcf import bgzip, vcf_header, write_vcf

COPIES = {"homozygous": 2, "heterozygous": 1}


@pytest.fixture
def put(tmp_path):
    def write(*lines, head=None, **header):
        path = tmp_path / "a.vcf"
        path.write_text((vcf_header(("s1",), **header) if head is None else head) + "".join(line + "\n" for line in lines))
        return path

    return write


def line(*, chrom="chr1", pos="100", ref="A", alt="T", verdict="PASS", info=".", keys="GT", call="0/1"):
    return "\t".join([chrom, pos, ".", ref, alt, "50", verdict, info, keys, call])


@pytest.mark.parametrize("version", ["4.1", "4.2", "4.3", "4.4"])
@pytest.mark.parametrize("name", ["a.vcf", "a.vcf.gz", "a.vcf.gzip"])
def test_what_is_read_is_the_truth(tmp_path, name, version):
    truth = write_vcf(tmp_path / name, version=version, seed=int(version[-1]))
    assert is_vcf(tmp_path / name)
    assert read_calls(tmp_path / name)[0].version == version
    found = read_file(tmp_path / name)
    assert [record.id for record, _ in found] == ["s1", "s2"]
    for record, report in found:
        assert {f.site: COPIES[f.value.split(",")[0]] for f in record.findings} == truth.carried[record.id]
        assert report.mapped == len(record.findings)
        assert {f.split(":")[0] for f in (r.reason for r in report.refused)} == {"filtered", "reference", "not called"}
        assert {(iso(f.time), iso(f.recorded)) for f in record.findings} == {("2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z")}
    assert sum(report.read for _, report in found) == truth.calls


def test_depth_phase_state_and_end(put):
    path = put(
        line(keys="GT:DP:AD", call="0|1:98:51,47"),
        line(pos="200", chrom="X", call="1"),
        line(pos="300", alt="<DEL>", info="SVTYPE=DEL;END=900", call="1/1"),
        line(pos="400", alt="T,C", keys="GT:AD", call="1/2:1,20,30"),
        line(pos="500", alt="G]17:198982]"),
    )
    ((record, report),) = read_file(path)
    said = {f.site.removeprefix("GRCh38:"): f.value for f in record.findings}
    assert said == {
        "1:100:A:T": "heterozygous, 0|1, depth 98, alternate reads 47",
        "X:200:A:T": "hemizygous, 1",
        "1:300:A:<DEL>": "homozygous, 1/1, to 900",
        "1:400:A:T": "heterozygous, 1/2, alternate reads 20",
        "1:400:A:C": "heterozygous, 2/1, alternate reads 30",
        "1:500:A:G]17:198982]": "heterozygous, 0/1",
    }
    assert report.mapped == report.read == 6


REFUSED = {
    "not called": line(call="./."),
    "reference": line(alt="<NON_REF>", call="0/0"),
    "spanned": line(alt="*"),
    "filtered": line(verdict="LowQual"),
    "malformed": line(call="0/7"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_each_call_that_is_no_finding_has_its_reason(put, reason):
    good = line(pos="50")
    ((record, report),) = read_file(put(good, REFUSED[reason], good, line(pos="50", call="1/1")))
    assert [f.site for f in record.findings] == ["GRCh38:1:50:A:T"]
    assert [r.reason for r in report.refused] == [reason, "contradicted"]
    assert (report.read, report.mapped, report.duplicates) == (4, 1, 1)


def test_a_filter_that_is_not_declared_is_told(put):
    ((_, report),) = read_file(put(line(), line(pos="9", verdict="odd")))
    assert any("odd is not declared" in what for what in report.repaired)


def test_the_build_is_named_or_refused(put):
    assert read_calls(put(line(), build="GRCh37"))[0].build == "GRCh37"
    unknown = put(line(), build="")
    with pytest.raises(FormatError, match=r"GRCh37 or GRCh38\?"):
        read_calls(unknown)
    assert read_calls(unknown, build="GRCh38")[0].build == "GRCh38"
    with pytest.raises(FormatError, match="unknown reference build"):
        read_calls(unknown, build="hg18")
    both = vcf_header(("s1",), build="GRCh38").replace("##contig", "##reference=file:///hg19.fa\n##contig", 1)
    with pytest.raises(FormatError, match="says both"):
        read_calls(put(line(), head=both))


def test_a_date_is_needed(put):
    path = put(line(), date="")
    with pytest.raises(TimeError, match="has no date"):
        read_file(path)
    assert read_file(path, time=5)[0][0].findings[0].time == 5


HEAD = vcf_header(("s1",))
BAD = {
    "another version": HEAD.replace("v4.2", "v3.3"),
    "no version": HEAD.split("\n", 1)[1],
    "no columns": HEAD.split("#CHROM")[0],
    "no sample": HEAD.replace("\tFORMAT\ts1", ""),
    "one sample twice": HEAD.replace("\ts1", "\ts1\ts1"),
    "blanks for tabs": HEAD.replace("\t", " "),
    "no variants": HEAD,
    "a short line": HEAD + "chr1\t5\t.\tA\n",
    "empty": "",
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_are_refused(put, case):
    with pytest.raises(DataError):
        read_file(put(head=BAD[case]))


def test_a_bgzip_file_that_was_cut_between_blocks(tmp_path):
    whole = bgzip((HEAD + "".join(line(pos=str(i)) + "\n" for i in range(1, 500))).encode())
    path = tmp_path / "a.vcf.gz"
    path.write_bytes(whole)
    assert len(read_file(path)[0][0].findings) == 499
    for cut in (whole[:-28], whole[:-40], whole[: len(whole) // 2]):
        path.write_bytes(cut)
        with pytest.raises(FormatError, match=r"cut off|unpacked"):
            read_file(path)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_cut_and_edited(tmp_path, data):
    """Findings, or an error of the tree: nothing else."""
    path = tmp_path / data.draw(st.sampled_from(["a.vcf", "a.vcf.gz"]))
    write_vcf(path, sites=6)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(raw) - 1))
        raw[where : where + data.draw(st.integers(0, 20))] = data.draw(
            st.one_of(st.binary(max_size=6), st.sampled_from([b"\t", b"\n", b"|", b"-1", b"99999999999", b"<"]))
        )
    path.write_bytes(bytes(raw))
    is_vcf(path)
    try:
        found = read_file(path)
    except GemelError:
        return
    assert all(report.read >= report.mapped for _, report in found)
