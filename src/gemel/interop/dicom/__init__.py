"""DICOM files into volumes: every file placed, refused with its reason, or known already. Needs the extra ``gemel[dicom]``."""

from gemel.interop.dicom.assemble import Slice, assemble
from gemel.interop.dicom.header import MAX_DEPTH, MAX_INFLATED, read_slice
from gemel.interop.dicom.read import is_dicom, read_folder

__all__ = ["MAX_DEPTH", "MAX_INFLATED", "Slice", "assemble", "is_dicom", "read_folder", "read_slice"]
