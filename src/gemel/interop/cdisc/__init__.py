"""Data and documents of trials as regulators take them: SAS transport, Dataset-JSON, Define-XML, RTF, the folder m5, and what ADaM's names mean.

A folder made here is a start for whoever publishes a submission, not a submission.
"""

from gemel.interop.cdisc.adam import bds_rows, check_bds, event_times, subject_level
from gemel.interop.cdisc.dataset import Dataset, Variable, iso_text
from gemel.interop.cdisc.dataset_json import read_dataset_json, write_dataset_json
from gemel.interop.cdisc.define import AnalysisResult, Defined, DefinedSet, read_define, write_define
from gemel.interop.cdisc.m5 import Leaf, m5_files, verify_m5
from gemel.interop.cdisc.rtf import RtfTable, rtf_document
from gemel.interop.cdisc.xpt import read_xpt, write_xpt

__all__ = [
    "AnalysisResult",
    "Dataset",
    "Defined",
    "DefinedSet",
    "Leaf",
    "RtfTable",
    "Variable",
    "bds_rows",
    "check_bds",
    "event_times",
    "iso_text",
    "m5_files",
    "read_dataset_json",
    "read_define",
    "read_xpt",
    "rtf_document",
    "subject_level",
    "verify_m5",
    "write_dataset_json",
    "write_define",
    "write_xpt",
]
