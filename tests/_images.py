"""Images of one invented series, as files."""

import io

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

STUDY, SERIES = generate_uid(entropy_srcs=["study"]), generate_uid(entropy_srcs=["series"])


def slice_of(k, *, patient="p1", value=0, **more):
    data = Dataset()
    data.PatientID, data.PatientName, data.Modality, data.SOPClassUID = patient, "Canary^Name", "CT", CTImageStorage
    data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID = STUDY, SERIES, generate_uid(entropy_srcs=["i", str(k)])
    data.StudyDate, data.StudyTime, data.TimezoneOffsetFromUTC = "20260131", "0800", "+0100"
    data.ImagePositionPatient, data.ImageOrientationPatient, data.PixelSpacing = [0, 0, 2.5 * k], [1, 0, 0, 0, 1, 0], [0.5, 0.5]
    data.Rows = data.Columns = 8
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.SamplesPerPixel, data.PixelRepresentation, data.PhotometricInterpretation = 15, 1, 1, "MONOCHROME2"
    data.PixelData = np.full((8, 8), 100 * k + value, np.int16).tobytes()
    for name, one in more.items():
        setattr(data, name, one)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    sink = io.BytesIO()
    data.save_as(sink, enforce_file_format=True)
    return sink.getvalue()
