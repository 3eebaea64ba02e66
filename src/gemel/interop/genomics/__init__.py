"""Genomes: variant call files (VCF 4.1 to 4.4) into findings, with the reference build named or refused."""

from gemel.interop.genomics.findings import read_file
from gemel.interop.genomics.vcf import Call, VcfHeader, is_vcf, read_calls

__all__ = ["Call", "VcfHeader", "is_vcf", "read_calls", "read_file"]
