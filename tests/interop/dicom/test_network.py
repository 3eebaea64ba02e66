"""What is sent to an archive that we did not write, comes back bit for bit: by DICOM's own protocol and over the web."""

import io
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000

from _orthanc import free_port, orthanc, program
from gemel.core.errors import DataError, FormatError
from gemel.interop.dicom import read_slice
from gemel.interop.dicom.network import Peer, echo, find, send
from gemel.interop.dicom.part10 import scan
from gemel.interop.dicom.web import Answer, Archive

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NAMES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "ExplVR_BigEnd.dcm", "rtdose.dcm", "test-SR.dcm", "SC_rgb_rle.dcm")

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def bodies():
    return [(FILES / name).read_bytes() for name in NAMES]


def transport(method, url, headers, body):
    answer = httpx.request(method, url, headers=dict(headers), content=body, timeout=60)
    return Answer(answer.status_code, answer.headers.get("content-type", ""), answer.content)


@pytest.fixture
def peer(tmp_path):
    if program() is None:
        pytest.skip("Orthanc with its DICOMweb plugin is not installed")
    with orthanc(tmp_path) as one:
        yield one


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # of the library's own file
def test_an_archive_has_what_it_was_sent_bit_for_bit(peer, bodies):
    place = Peer("127.0.0.1", peer.dicom, "ORTHANC")
    echo(place)
    report = send(place, bodies)
    assert (len(report.sent), report.refused) == (len(NAMES), ())
    kept = [httpx.get(f"{peer.url}/instances/{name}/file").content for name in httpx.get(f"{peer.url}/instances").json()]
    before = {one.SOPInstanceUID: (one, body) for one, body in ((pydicom.dcmread(io.BytesIO(body)), body) for body in bodies)}
    again = {one.SOPInstanceUID: (one, body) for one, body in ((pydicom.dcmread(io.BytesIO(body)), body) for body in kept)}
    assert set(again) == set(before)
    for name, (one, body) in before.items():
        assert again[name][0] == one
        assert again[name][0].get("PixelData") == one.get("PixelData")
        # the archive's own library writes lengths of sequences anew where pixels are compressed; everything else is the same bytes
        assert scan(again[name][1]).dataset == scan(body).dataset or scan(body).syntax == JPEG2000
    told = find(place, "study", {"PatientID": "1CT1", "StudyInstanceUID": ""})
    assert [one["00100020"]["Value"] for one in told] == [["1CT1"]]
    with pytest.raises(DataError, match="too wide"):
        find(place, "study", {"PatientID": ""}, most=2)


def test_the_web_gives_back_what_was_stored_bit_for_bit(peer, bodies):
    archive = Archive(peer.web, transport, boundary=lambda: secrets.token_hex(16))
    assert archive.search("studies", {"PatientID": "nobody"}) == []
    told = archive.store(bodies)
    assert len(told) == len(NAMES)
    assert set(told.values()) == {""}
    back = [body for study in archive.search("studies") for body in archive.fetch(study["0020000D"]["Value"][0])]
    assert sorted(scan(body).dataset for body in back) == sorted(scan(body).dataset for body in bodies)
    study = pydicom.dcmread(FILES / NAMES[0]).StudyInstanceUID
    (meta,) = archive.metadata(study)
    assert meta["00100020"]["Value"] == ["1CT1"]
    assert [one["00080060"]["Value"] for one in archive.search("series", study=study)] == [["CT"]]


def test_pixels_of_a_file_that_came_back_are_the_same(peer, bodies, tmp_path):
    send(Peer("127.0.0.1", peer.dicom, "ORTHANC"), bodies[:1])
    (name,) = httpx.get(f"{peer.url}/instances").json()
    back = tmp_path / "back.dcm"
    back.write_bytes(httpx.get(f"{peer.url}/instances/{name}/file").content)
    assert (read_slice(back, tz="UTC").values == read_slice(FILES / NAMES[0], tz="UTC").values).all()
    assert read_slice(back, tz="UTC").values.dtype == np.int16


def test_an_archive_that_is_not_there_is_an_error_that_names_it():
    port = free_port()
    with pytest.raises(DataError, match=f"no connection.*127.0.0.1:{port}"):
        echo(Peer("127.0.0.1", port, patience=2))


def test_dcmtk_receives_the_same_bytes(tmp_path, bodies):
    if shutil.which("storescp") is None:
        pytest.skip("dcmtk is not installed")
    port = free_port()
    process = subprocess.Popen(
        ["storescp", "+xa", "+B", "-od", str(tmp_path), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        chosen = [body for body in bodies if scan(body).syntax != "1.2.840.10008.1.2.2"][:4]
        report = send(Peer("127.0.0.1", port, "STORESCP"), chosen)
        assert (len(report.sent), report.refused) == (4, ())
    finally:
        process.terminate()
        process.wait(10)
    kept = [scan(path.read_bytes()).dataset for path in tmp_path.iterdir()]
    assert sorted(kept) == sorted(scan(body).dataset for body in chosen)


def test_what_is_no_file_is_not_sent(bodies):
    with pytest.raises(FormatError):
        send(Peer("127.0.0.1", 1), [bodies[0], bodies[1][:5000]])


@pytest.mark.parametrize(("status", "body"), [(500, b""), (200, b"no json"), (200, b"{}")])
def test_an_archive_that_answers_nonsense_is_refused(status, body):
    archive = Archive("http://x", lambda *_: Answer(status, "application/dicom+json", body), boundary=lambda: "b")
    with pytest.raises((DataError, FormatError)):
        archive.search("studies")


def test_a_uid_that_is_none_never_reaches_the_address():
    archive = Archive("http://x", lambda *_: pytest.fail("asked"), boundary=lambda: "b")
    with pytest.raises(FormatError, match="not a UID"):
        archive.fetch("../../etc")
