"""What a twin or a reading of images found, as objects of DICOM that an archive keeps beside the images: segmentation, parametric map, measurements, report.

Each belongs to the study, patient and frame of reference of the images that it was made from, and names them. Identifiers are given, not drawn: the same content makes the same object.
Needs the extra ``gemel[dicom]`` (highdicom).

References
----------
DICOM PS3.3 2024e, A.51 (segmentation), A.75 (parametric map), A.45 (encapsulated PDF); PS3.16 2024e, TID 1500 (measurement report).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemel.core.errors import DataError, FormatError
from gemel.interop.dicom.instance import parse, silence

__all__ = ["Coded", "Identity", "Measured", "Segment", "write_measurements", "write_parametric_map", "write_pdf", "write_segmentation"]

_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_EXPLICIT = "1.2.840.10008.1.2.1"
_DRAWN = "1.2.826.0.1.3680043.10.511.3."  # highdicom's own root


@dataclass(frozen=True)
class Coded:
    """A code of a scheme: ``Coded("39607008", "SCT", "Lung structure")``."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Identity:
    """Who made an object, and what it is called.

    Parameters
    ----------
    series, instance : UIDs; from the lineage of what is written, so that the same content has the same name.
    number : of the series.
    model, version : what made it, such as a twin's id.
    made : ns UTC.
    """

    series: str
    instance: str
    number: int
    model: str
    version: str
    made: int
    manufacturer: str = "Gemel"
    serial: str = "0"


@dataclass(frozen=True)
class Segment:
    """One kind of thing that was marked: where ``mask`` (frame, row, column) is true."""

    label: str
    category: Coded
    kind: Coded
    mask: np.ndarray


@dataclass(frozen=True)
class Measured:
    """One measurement: what, how much, in which unit (UCUM), and at which finding site."""

    name: Coded
    value: float
    unit: str
    finding: Coded
    site: Coded | None = None


def _library() -> Any:
    try:
        import highdicom
    except ImportError as error:
        raise DataError(
            "DICOM cannot be written here", seen="no highdicom", expected="the extra [dicom]", fix="pip install 'gemel[dicom]'"
        ) from error
    silence()
    return highdicom


def _concept(code: Coded) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _sources(images: Sequence[bytes]) -> list[Any]:
    """Open the images, in order of their places."""
    if not images:
        raise DataError("nothing that it was made from", seen="no images", expected="the images of one series")
    found = [parse(body)[0] for body in images]
    if len({(str(one.get("StudyInstanceUID")), str(one.get("PatientID"))) for one in found}) != 1:
        raise DataError("images of several studies or patients", seen="several", expected="one study")
    if all("ImagePositionPatient" in one for one in found):
        normal = np.cross(np.array(found[0].ImageOrientationPatient[:3], float), np.array(found[0].ImageOrientationPatient[3:], float))
        found.sort(key=lambda one: float(normal @ np.array(one.ImagePositionPatient, float)))
    for one in found:
        for keyword in (
            "StudyID",
            "AccessionNumber",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "StudyTime",
            "PatientName",
            "ReferringPhysicianName",
        ):
            if keyword not in one:  # of type 2: may be empty, must be there
                setattr(one, keyword, "")
    return found


def _saved(data: Any, identity: Identity) -> bytes:
    made = dt.datetime.fromtimestamp(identity.made / 1e9, dt.UTC)
    data.InstanceCreationDate = data.ContentDate = made.strftime("%Y%m%d")
    data.InstanceCreationTime = data.ContentTime = made.strftime("%H%M%S.%f")
    if "SeriesDate" in data:
        data.SeriesDate, data.SeriesTime = data.ContentDate, data.ContentTime
    data.TimezoneOffsetFromUTC = "+0000"
    for equipment in data.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = data.ContentDate + data.ContentTime
    _name_anew(data, identity, {})
    sink = io.BytesIO()
    data.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def _name_anew(data: Any, identity: Identity, known: dict[str, str]) -> None:
    """Replace the identifiers that the library drew by chance: the same content has the same name."""
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                _name_anew(item, identity, known)
        elif element.VR == "UI" and str(element.value).startswith(_DRAWN):
            element.value = known.setdefault(str(element.value), _derived(identity.instance, -1 - len(known)))


def _common(identity: Identity) -> dict[str, Any]:
    return {
        "series_instance_uid": identity.series, "series_number": identity.number, "sop_instance_uid": identity.instance, "instance_number": 1,
        "manufacturer": identity.manufacturer,
    }  # fmt: skip


def _equipment(identity: Identity) -> dict[str, Any]:
    return {"manufacturer_model_name": identity.model, "software_versions": identity.version, "device_serial_number": identity.serial}


def write_segmentation(images: Sequence[bytes], segments: Sequence[Segment], identity: Identity) -> bytes:
    """Write a segmentation.

    Parameters
    ----------
    images : files of one series, in any order; frames of a mask are in the order of their places along the normal.
    segments : at least one; each with a mask of (image, row, column).

    Raises
    ------
    DataError
        When masks do not fit the images.
    """
    library = _library()
    sources = _sources(images)
    shape = (len(sources), int(sources[0].Rows), int(sources[0].Columns))
    if not segments or any(one.mask.shape != shape for one in segments):
        raise DataError("masks that do not fit the images", seen=[one.mask.shape for one in segments], expected=shape)
    if not any(one.mask.any() for one in segments):
        raise DataError("a segmentation of nothing", seen="no voxel is marked", expected="at least one", fix="say so in a report instead")
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(name=identity.model, version=identity.version, family=codes.DCM.ArtificialIntelligence)
    described = [
        SegmentDescription(
            segment_number=k, segment_label=one.label, segmented_property_category=_concept(one.category), segmented_property_type=_concept(one.kind),
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC, algorithm_identification=algorithm,
        )
        for k, one in enumerate(segments, start=1)
    ]  # fmt: skip
    pixels = np.stack([np.asarray(one.mask, bool) for one in segments], axis=-1).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = library.seg.Segmentation(
            source_images=sources, pixel_array=pixels, segmentation_type=SegmentationTypeValues.BINARY, segment_descriptions=described,
            content_description="Segmentation", content_creator_name="", **_common(identity), **_equipment(identity),
        )  # fmt: skip
        return _saved(made, identity)


def write_parametric_map(images: Sequence[bytes], values: np.ndarray, *, quantity: Coded, unit: str, identity: Identity) -> bytes:
    """Write a map of values, one for each voxel of the images, as 32-bit floating point numbers.

    Parameters
    ----------
    values : (image, row, column), finite, in ``unit`` (UCUM); in the order of the images' places.
    quantity : what the values are.
    """
    library = _library()
    sources = _sources(images)
    shape = (len(sources), int(sources[0].Rows), int(sources[0].Columns))
    if values.shape != shape or not np.isfinite(values).all():
        raise DataError("values that do not fit the images", seen=values.shape, expected=f"{shape}, finite")
    from highdicom.content import VOILUTTransformation
    from highdicom.pm import RealWorldValueMapping
    from highdicom.sr import CodedConcept

    low, high = float(values.min()), float(values.max())
    mapping = RealWorldValueMapping(
        lut_label="1", lut_explanation=quantity.meaning[:64], unit=CodedConcept(unit, "UCUM", unit), value_range=(low, high), slope=1.0, intercept=0.0,
        quantity_definition=_concept(quantity),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = library.pm.ParametricMap(
            source_images=sources, pixel_array=values.astype(np.float32), contains_recognizable_visual_features=False, real_world_value_mappings=[mapping],
            voi_lut_transformations=[VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1e-6))],
            content_description="Parametric map", **_common(identity), **_equipment(identity),
        )  # fmt: skip
        if "Laterality" not in made:  # of type 2C: empty where it is not known to be of one side
            made.Laterality = ""
        return _saved(made, identity)


def write_measurements(
    images: Sequence[bytes], measurements: Sequence[Measured], identity: Identity, *, title: Coded | None = None
) -> bytes:
    """Write measurements as a structured report (TID 1500) that names the images; preliminary until a person verifies it."""
    library = _library()
    if not measurements or not all(np.isfinite(one.value) for one in measurements):
        raise DataError(
            "no measurements", seen=f"{len(measurements)}, some not finite" if measurements else "none", expected="finite numbers"
        )
    from highdicom import sr
    from pydicom.sr.codedict import codes

    sources = _sources(images)
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid=identity.series, name=identity.model, manufacturer_name=identity.manufacturer),
    )  # fmt: skip
    groups: dict[tuple[Coded, Coded | None], list[Measured]] = {}
    for one in measurements:
        groups.setdefault((one.finding, one.site), []).append(one)
    made_groups = [
        sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=_derived(identity.instance, k), identifier=f"{k}"),
            finding_type=_concept(finding), finding_sites=[sr.FindingSite(_concept(site))] if site else None,
            measurements=[sr.Measurement(name=_concept(one.name), value=one.value, unit=sr.CodedConcept(one.unit, "UCUM", one.unit)) for one in found],
            source_images=[sr.SourceImageForMeasurementGroup.from_source_image(sources[0])] if "PixelData" in sources[0] else None,
        )
        for k, ((finding, site), found) in enumerate(groups.items(), start=1)
    ]  # fmt: skip
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=codes.DCM.ImagingProcedure if hasattr(codes.DCM, "ImagingProcedure") else codes.SCT.ImagingProcedure,
        imaging_measurements=made_groups,
        title=_concept(title) if title else codes.DCM.ImagingMeasurementReport,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = library.sr.Comprehensive3DSR(
            evidence=sources, content=report[0], is_complete=True, is_final=False, institution_name=None, **_common(identity), **_equipment(identity),
        )  # fmt: skip
        return _saved(made, identity)


def _derived(uid: str, number: int) -> str:
    return f"2.25.{int.from_bytes(hashlib.sha256(f'{uid}|{number}'.encode()).digest()[:16], 'big')}"


def write_pdf(images: Sequence[bytes], pdf: bytes, identity: Identity, *, title: str) -> bytes:
    """Write a report on paper (PDF) as an object of the study.

    Raises
    ------
    FormatError
        When it is no PDF.
    """
    _library()
    if not pdf.startswith(b"%PDF-"):
        raise FormatError("no PDF", seen=f"{len(pdf)} bytes", expected="%PDF-")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    source = _sources(images)[0]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        UID(_EXPLICIT),
        UID(_PDF),
        UID(identity.instance),
    )
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
        "StudyID",
        "AccessionNumber",
    ):
        setattr(data, keyword, source.get(keyword, ""))
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = _PDF, identity.instance, identity.series
    data.Modality, data.SeriesNumber, data.InstanceNumber, data.ConversionType = "DOC", identity.number, 1, "WSD"
    data.Manufacturer, data.ManufacturerModelName, data.SoftwareVersions = identity.manufacturer, identity.model, identity.version
    data.BurnedInAnnotation, data.DocumentTitle, data.MIMETypeOfEncapsulatedDocument = "YES", title[:64], "application/pdf"
    data.AcquisitionDateTime, data.ConceptNameCodeSequence = "", []
    data.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    data.EncapsulatedDocumentLength = len(pdf)
    return _saved(data, identity)
