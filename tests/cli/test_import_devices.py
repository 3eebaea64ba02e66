"""gemel import of images and waveforms: their bytes are kept beside the facts that name them."""

import json

import pytest
from click.testing import CliRunner

from _images import slice_of
from gemel.cli.app import gemel
from gemel.interop.dicom.part10 import scan
from gemel.interop.waveforms import unpack
from gemel.platform.images import bytes_of
from gemel.platform.store import Store, images
from gemel.testing.wfdb import write_recording


def run(*words):
    return CliRunner().invoke(gemel, [str(word) for word in words])


def test_images_are_kept_with_their_volume(tmp_path):
    folder, place = tmp_path / "study", tmp_path / "a.sqlite"
    folder.mkdir()
    bodies = [slice_of(k) for k in range(3)]
    for k, body in enumerate(bodies):
        (folder / f"{k}.dcm").write_bytes(body)
    for _ in range(2):
        assert run("import", folder, "--db", place).exit_code == 0
    with Store(place) as store:
        found = images.of_patient(store, store.subject("p1"))
        assert sorted(scan(bytes_of(store, one)).dataset for one in found) == sorted(scan(body).dataset for body in bodies)
        record = store.record("p1")
        assert (len(record.documents), len(record.as_of(2**62).geometry)) == (3, 1)
        assert store.check().problems == ()


def test_a_waveform_is_kept_with_its_record(tmp_path):
    pytest.importorskip("wfdb", reason="wfdb is not installed")
    truth = write_recording(tmp_path, "r1", when="")
    place = tmp_path / "a.sqlite"
    refused = run("import", tmp_path / "r1.hea", "--db", place)
    assert refused.exit_code != 0
    assert "when it began" in str(refused.exception)
    told = run("import", tmp_path / "r1.hea", "--start", "2026-01-31T08:00:00Z", "--id", "p7", "--db", place, "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["people"][0]["patient"] == "p7"
    with Store(place) as store:
        (document,) = store.record("p7").documents
        assert len(unpack(store.get_bytes("p7", document.sha256)).channels[0].values) == len(truth.counts)
        assert store.check().problems == ()
