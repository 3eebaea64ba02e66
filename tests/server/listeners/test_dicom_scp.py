"""Objects over the network: answered when they are safe, refused when they are hostile, none lost and none twice."""

import io
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from _orthanc import orthanc, program
from gemel.core.errors import DataError, StoreError, ValueRangeError
from gemel.interop.dicom.network import Peer, echo, send
from gemel.interop.dicom.part10 import assemble_file, scan
from gemel.platform.images import Kept, bytes_of, keep_image
from gemel.platform.store import Store, images
from gemel.platform.store.group import GroupWriter
from gemel.server.listeners.dicom_scp import DicomListener

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NOW = 1_900_000_000_000_000_000
NAMES = ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm", "rtdose.dcm", "SC_rgb_rle.dcm")


@pytest.fixture
def bodies():
    return [(FILES / name).read_bytes() for name in NAMES]


@pytest.fixture
def kept(tmp_path):
    """A listener whose commits go to a store; its port, and what ended associations brought."""
    ended: list = []
    with GroupWriter(tmp_path / "a.sqlite") as writer:

        def commit(arrival):
            return writer.submit(lambda store: keep_image(store, arrival.sender, arrival.body, received=arrival.received)).result(60)

        listener = DicomListener(commit, clock=lambda: NOW, done=ended.extend)
        port = listener.start()
        try:
            yield port, tmp_path / "a.sqlite", ended
        finally:
            listener.stop()


def read(body):
    """Every element but the padding at the end, which an archive need not send."""
    data = pydicom.dcmread(io.BytesIO(body))
    data.pop(0xFFFCFFFC, None)
    return data


def peer(port, **more):
    return Peer("127.0.0.1", port, "GEMEL", patience=20, **more)


def test_what_is_answered_is_in_the_store_bit_for_bit_and_once(kept, bodies):
    port, place, ended = kept
    echo(peer(port))
    for _ in range(2):  # a sender that did not hear the answer sends again
        report = send(peer(port, calling="CT1"), bodies)
        assert (len(report.sent), report.refused) == (len(bodies), ())
    with Store(place) as store:
        assert store.counts()["image"] == len(bodies)
        found = [image for pid in images.pids(store) for image in images.of_patient(store, pid)]
        assert sorted(scan(bytes_of(store, image)).dataset for image in found) == sorted(scan(body).dataset for body in bodies)
        assert {d.source for name in store.patients() for d in store.record(name).documents} == {"dicom:CT1"}
        assert store.check().problems == ()
    end = time.monotonic() + 10
    while len(ended) < len(bodies) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(ended) == len(bodies)


@pytest.mark.peer
def test_dcmtk_sends_and_is_answered(kept):
    if shutil.which("storescu") is None:
        pytest.skip("dcmtk is not installed")
    port, place, _ = kept
    for names in (["CT_small.dcm", "MR_small.dcm"], ["CT_small.dcm"]):
        done = subprocess.run(
            ["storescu", "-aec", "GEMEL", "127.0.0.1", str(port), *(str(FILES / n) for n in names)], capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    wrong = subprocess.run(["storescu", "-aec", "OTHER", "127.0.0.1", str(port), str(FILES / names[0])], capture_output=True, timeout=60)
    assert wrong.returncode != 0
    with Store(place) as store:
        assert store.counts()["image"] == 2


@pytest.mark.peer
def test_an_archive_sends_back_what_it_was_sent(tmp_path, bodies):
    """There and back: what an archive that we did not write sends us is what we sent it."""
    import httpx

    if program() is None:
        pytest.skip("Orthanc with its DICOMweb plugin is not installed")
    with orthanc(tmp_path) as one, Store(tmp_path / "a.sqlite") as store:
        lock = threading.Lock()
        arrived: list[bytes] = []

        def commit(arrival):
            with lock:
                arrived.append(arrival.body)
            return Kept("new")

        listener = DicomListener(commit, clock=lambda: NOW, port=one.ours)
        listener.start()
        try:
            send(Peer("127.0.0.1", one.dicom, "ORTHANC"), bodies[:2])
            ids = httpx.get(f"{one.url}/instances").json()
            assert httpx.post(f"{one.url}/modalities/gemel/store", json=ids, timeout=60).json()["FailedInstancesCount"] == 0
        finally:
            listener.stop()
        before = {one.SOPInstanceUID: one for one in map(read, bodies[:2])}
        after = {one.SOPInstanceUID: one for one in map(read, arrived)}
        assert before == after
        assert all(after[name].PixelData == one.PixelData for name, one in before.items())
        assert [keep_image(store, "O", body, received=NOW).state for body in arrived] == ["new", "new"]


def listen(commit, **more):
    listener = DicomListener(commit, clock=lambda: NOW, **more)
    return listener, listener.start()


def test_when_nothing_can_be_kept_the_sender_is_told_to_come_again(bodies):
    def full(arrival):
        raise StoreError("the disk is full")

    listener, port = listen(full)
    try:
        report = send(peer(port), bodies[:1])
        assert [why for _, why in report.refused] == ["status 0xA700"]
    finally:
        listener.stop()


def test_slow_commits_hold_senders_back(bodies):
    gate = threading.Event()

    def slow(arrival):
        gate.wait(30)
        return Kept("new")

    listener, port = listen(slow, commits=1, patience=0.2)
    try:
        told: list = []
        first = threading.Thread(target=lambda: told.append(send(peer(port), bodies[:1])))
        first.start()
        time.sleep(0.5)
        assert [why for _, why in send(peer(port), bodies[1:2]).refused] == ["status 0xA700"]
        gate.set()
        first.join(30)
        assert len(told[0].sent) == 1
    finally:
        gate.set()
        listener.stop()


def test_what_breaks_in_a_commit_breaks_nothing_else(bodies, caplog):
    def broken(arrival):
        raise RuntimeError("CompressedSamples^CT1")

    listener, port = listen(broken)
    try:
        assert [why for _, why in send(peer(port), bodies[:1]).refused] == ["status 0xA700"]
        echo(peer(port))
    finally:
        listener.stop()
    assert "CompressedSamples" not in caplog.text


def test_an_object_beyond_the_limit_ends_the_association_and_nothing_else(bodies):
    listener, port = listen(lambda arrival: Kept("new"), limit=20_000)
    try:
        report = send(peer(port), [bodies[1]])
        assert len(report.sent) == 1
        big = bodies[0] + (
            b"\x09\x00\x10\x00LO\x08\x00canary  \x09\x00\x01\x10OB\0\0" + (1_000_000).to_bytes(4, "little") + bytes(1_000_000)
        )
        sorted_in = scan(bodies[0]).dataset  # a private block at the end of the data set: order does not matter to the walk
        body = assemble_file(sorted_in + big[len(bodies[0]) :], sop_class=CTImageStorage, instance="1.2.3", syntax=ExplicitVRLittleEndian)
        assert len(send(peer(port), [body]).refused) == 1
        echo(peer(port))
    finally:
        listener.stop()


def test_command_and_content_must_name_one_object(tmp_path, bodies):
    with Store(tmp_path / "a.sqlite") as store:
        store.close()
    with GroupWriter(tmp_path / "a.sqlite") as writer:
        listener, port = listen(lambda a: writer.submit(lambda s: keep_image(s, a.sender, a.body, received=a.received)).result(60))
        try:
            from gemel.interop.dicom import network

            data = pydicom.dcmread(io.BytesIO(bodies[0]))
            with network._associate(peer(port), [(CTImageStorage, ExplicitVRLittleEndian)]) as link:
                status = network._send_one(link, scan(bodies[0]), CTImageStorage, "1.2.3.4")
            assert status == 0xA900
            assert data.SOPInstanceUID != "1.2.3.4"
        finally:
            listener.stop()


def test_noise_on_the_port_harms_nobody(bodies):
    listener, port = listen(lambda arrival: Kept("new"))
    try:
        for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x01\0\xff\xff\xff\xff" + b"\0" * 100, b"\x04\0\0\0\0\x06\xff\xff\xff\xff\xff\xff"):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
                link.sendall(noise)
        echo(peer(port))
        assert len(send(peer(port), bodies[:1]).sent) == 1
    finally:
        listener.stop()


def test_senders_that_are_not_named_are_refused(bodies):
    listener, port = listen(lambda arrival: Kept("new"), senders=("CT1",))
    try:
        echo(peer(port, calling="CT1"))
        with pytest.raises(DataError, match="rejected"):
            echo(peer(port, calling="OTHER"))
    finally:
        listener.stop()


@pytest.mark.parametrize("more", [{"title": ""}, {"title": "A" * 17}, {"title": "A\\B"}, {"commits": 0}, {"patience": 0}, {"limit": 0}])
def test_settings_that_cannot_be_are_refused(more):
    with pytest.raises(ValueRangeError):
        DicomListener(lambda arrival: Kept("new"), clock=lambda: 0, **more)


def test_a_killed_listener_loses_nothing_that_it_answered(tmp_path, bodies):
    """The answer comes after the commit: what a sender saw accepted is there after SIGKILL."""
    program = (
        "import sys, time\n"
        "from gemel.platform.images import keep_image\n"
        "from gemel.platform.store.group import GroupWriter\n"
        "from gemel.server.listeners.dicom_scp import DicomListener\n"
        "w = GroupWriter(sys.argv[1])\n"
        "c = lambda a: w.submit(lambda s: keep_image(s, a.sender, a.body, received=a.received)).result(60)\n"
        "print(DicomListener(c, clock=time.time_ns).start(), flush=True)\n"
        "time.sleep(120)\n"
    )
    place = tmp_path / "a.sqlite"
    process = subprocess.Popen([sys.executable, "-c", program, str(place)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        report = send(peer(port), bodies[:3])
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    with Store(place) as store:
        assert {images.known(store, name) is not None for name in report.sent} == {True}
        assert store.check().problems == ()
