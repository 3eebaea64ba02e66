"""Objects of DICOM in the store: once each whoever brings them, found without knowing whose, gone with their patient."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from _images import SERIES, STUDY, slice_of
from gemel.interop.dicom.part10 import scan
from gemel.platform.erase import erase
from gemel.platform.images import MEDIA_TYPE, bytes_of, keep_image, keep_volumes
from gemel.platform.store import Store, images
from gemel.platform.store.backup import backup

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NOW = 1_900_000_000_000_000_000


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "a.sqlite") as opened:
        yield opened


def test_an_object_is_kept_once_whoever_brings_it(store):
    body = slice_of(0)
    first = keep_image(store, "CT1", body, received=NOW)
    again = keep_image(store, "WEB", body[:64] + b"another preamble" + body[80:], received=NOW + 1)
    assert (first.state, again.state, again.patient) == ("new", "known", "p1")
    (image,) = images.find(store, STUDY)
    assert scan(bytes_of(store, image)).dataset == scan(body).dataset
    record = store.record("p1")
    assert [(d.media_type, d.sha256) for d in record.documents] == [(MEDIA_TYPE, image.sha256)]
    assert image.time == record.documents[0].time == 1_769_842_800_000_000_000  # 08:00 in +01:00
    assert store.counts()["image"] == store.counts()["blob"] == 1
    assert store.messages() == []
    assert store.check().problems == ()
    assert "Canary" not in repr((first, image))


def test_another_content_under_a_known_identifier_waits_for_a_person(store):
    keep_image(store, "CT1", slice_of(0), received=NOW)
    other = keep_image(store, "CT1", slice_of(0, value=1), received=NOW)
    stolen = keep_image(store, "CT1", slice_of(0, patient="p2"), received=NOW)
    assert (other.state, stolen.state) == ("quarantined", "quarantined")
    assert store.patients() == ("p1",)
    waiting = store.messages("quarantined")
    assert {one.reason for one in waiting} == {"an identifier of an object was used before with another content"}
    assert len(waiting) == 2


@pytest.mark.parametrize("body", [b"", b"no DICOM", slice_of(0)[:400], slice_of(0, PatientID="")])
def test_what_cannot_be_read_waits_with_its_bytes(store, body):
    kept = keep_image(store, "CT1", body, received=NOW)
    assert kept.state == "quarantined"
    assert store.message(store.messages()[0].seq)[1] == body
    assert store.patients() == ()


def test_a_series_becomes_a_volume_when_it_is_whole(store):
    for k in (2, 0, 1):
        keep_image(store, "CT1", slice_of(k), received=NOW)
    assert keep_volumes(store, "p1", [(STUDY, SERIES)], recorded=NOW) == []
    (volume,) = store.record("p1").geometry
    assert volume.values[0, 0].tolist() == [0, 100, 200]
    assert np.allclose(volume.affine @ [1, 1, 2, 1], [0.0005, 0.0005, 0.005, 1])
    keep_image(store, "CT1", slice_of(4), received=NOW + 1)
    (left,) = keep_volumes(store, "p1", [(STUDY, SERIES)], recorded=NOW + 1)
    assert "missing or unevenly spaced" in left
    keep_image(store, "CT1", slice_of(3), received=NOW + 2)
    keep_volumes(store, "p1", [(STUDY, SERIES)], recorded=NOW + 2)
    (volume,) = store.record("p1", as_of=NOW + 2).geometry  # the whole one supersedes the first
    assert volume.values.shape == (8, 8, 5)


def test_objects_go_with_their_patient_and_come_back_with_a_backup(store, tmp_path):
    for k in range(2):
        keep_image(store, "CT1", slice_of(k), received=NOW)
    keep_image(store, "CT1", slice_of(7, patient="p2", StudyInstanceUID="1.2.7"), received=NOW)
    backup(store, tmp_path / "b", tmp_path / "keys", made=NOW)
    erase(store, "p1", recorded=NOW + 5, key_backups=[])
    assert images.find(store, STUDY) == []
    assert [i.instance for i in images.find(store, "1.2.7")] == [images.of_patient(store, store.subject("p2"))[0].instance]
    assert store.check().problems == ()


def test_every_file_of_the_library_is_kept_whole_or_set_aside(store, caplog):
    kept: dict[str, int] = {}
    for path in sorted(p for p in FILES.iterdir() if p.is_file()):
        body = path.read_bytes()
        told = keep_image(store, path.name, body, received=NOW)
        kept[told.state] = kept.get(told.state, 0) + 1
        if told.state == "new":
            (image,) = images.find(store, told.study, told.series, told.instance)
            assert scan(bytes_of(store, image)).dataset == scan(body).dataset
        elif told.state == "quarantined":
            assert store.message(store.messages("quarantined")[-1].seq)[1] == body
    assert kept["new"] > 20
    assert caplog.records == []  # what the libraries log holds values
    assert store.check().problems == ()
