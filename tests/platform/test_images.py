"""Objects of DICOM in the store: once each whoever brings them, found without knowing whose, gone with their patient."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from _canaries import find
from _images import SERIES, STUDY, slice_of
from gemel.interop.dicom.part10 import scan
from gemel.platform.erase import erase
from gemel.platform.images import MEDIA_TYPE, bytes_of, drive_image, keep_image, keep_volumes
from gemel.platform.store import Store, images, merges
from gemel.platform.store.backup import backup, restore

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NOW = 1_900_000_000_000_000_000


@pytest.fixture
def store(place, tmp_path):
    with Store(place, blobs=tmp_path / "blobs") as opened:
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


def test_objects_of_two_pseudonyms_of_one_person_are_found_under_the_one_that_stays(store):
    keep_image(store, "CT1", slice_of(0), received=NOW)
    keep_image(store, "CT1", slice_of(1, patient="p2"), received=NOW)
    merges.merge(store, "p1", "p2", recorded=NOW)
    assert len(images.of_patient(store, store.subject("p1"))) == 2
    merges.undo(store, "p1", "p2", recorded=NOW + 1)
    assert len(images.of_patient(store, store.subject("p1"))) == 1


@pytest.mark.parametrize("body", [b"", b"no DICOM", slice_of(0)[:400], slice_of(0, PatientID="")])
def test_what_cannot_be_read_waits_with_its_bytes(store, body):
    kept = keep_image(store, "CT1", body, received=NOW)
    assert kept.state == "quarantined"
    assert store.message(store.messages()[0].seq)[1] == body
    assert store.patients() == ()


def test_what_waits_is_read_again_and_a_contradiction_stays(store):
    keep_image(store, "CT1", slice_of(0), received=NOW)
    keep_image(store, "CT1", slice_of(0, value=1), received=NOW)
    keep_image(store, "CT1", slice_of(1, PatientID=""), received=NOW)
    first, second = (one.seq for one in store.messages("quarantined"))
    assert drive_image(store, first).state == drive_image(store, first, patient="p1").state == "quarantined"
    assert drive_image(store, second).state == "quarantined"
    assert drive_image(store, second, patient="p1").state == "new"
    assert [one.state for one in store.messages()] == ["quarantined", "done"]
    assert len(images.of_patient(store, store.subject("p1"))) == 2
    assert store.check().problems == ()


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


def test_objects_go_with_their_patient_and_no_backup_brings_them_back(places, tmp_path, request):
    with Store(places(), blobs=tmp_path / "a.blobs") as store:
        for k in range(2):
            keep_image(store, "CT1", slice_of(k), received=NOW)
        keep_image(store, "CT1", slice_of(7, patient="p2", StudyInstanceUID="1.2.7", PatientName="Other"), received=NOW)
        keep_volumes(store, "p1", [(STUDY, SERIES)], recorded=NOW)
        backup(store, tmp_path / "b", tmp_path / "keys.json", made=NOW)
        canaries = ["Canary^Name", STUDY, SERIES, slice_of(1)[-64:]]
        assert find(files_of(tmp_path), canaries) == []  # sealed from the first
        erase(store, "p1", recorded=NOW + 5, key_backups=[tmp_path / "keys.json"], log=tmp_path / "erased.log")
        assert images.find(store, STUDY) == []
        (other,) = images.find(store, "1.2.7")
        assert scan(bytes_of(store, other)).dataset
        assert store.check().problems == ()
        assert find(files_of(tmp_path), canaries) == []
        master = store._sealing.master
    target = places()
    restore(tmp_path / "b", tmp_path / "keys.json", target, master=master, recorded=NOW + 9, blobs_folder=tmp_path / "c.blobs")
    with Store(target, keys=master, blobs=tmp_path / "c.blobs") as again:
        assert images.find(again, STUDY) == []
        (back,) = images.find(again, "1.2.7")
        assert (back.instance, scan(bytes_of(again, back)).dataset) == (
            other.instance,
            scan(slice_of(7, patient="p2", StudyInstanceUID="1.2.7", PatientName="Other")).dataset,
        )
        assert again.check().problems == ()


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".key"]


def test_every_file_of_the_library_is_kept_whole_or_set_aside(tmp_path, caplog):
    with Store(tmp_path / "a.sqlite") as store:
        keep_every_file(store)
    assert caplog.records == []  # what the libraries log holds values


def keep_every_file(store):
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
    assert store.check().problems == ()
