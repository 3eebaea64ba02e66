"""DICOM: objects per second that a listener takes from dcmtk's storescu, ours (sealed, committed before each answer) beside Orthanc; and is any lost or changed?

    gemel bench platform-dicom -- [--objects 200] [--size 512] [--kills 5] [--json FILE]

Both receive the same files over one association on this machine. Ours has each object on disk, sealed under its patient's key and found by its identifiers, before it answers; Orthanc
keeps it open, with its default settings. *kills*: the listener is killed (SIGKILL) while it is sent to; what the sender saw accepted must be there. Without dcmtk or Orthanc the
figures are *not run*. Walking, decoding and de-identifying are measured in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gemel import __version__
from gemel.interop.dicom import read_slice
from gemel.interop.dicom.deidentify import Pseudonyms, deidentify
from gemel.interop.dicom.network import Peer, send
from gemel.interop.dicom.part10 import scan
from gemel.platform.images import bytes_of
from gemel.platform.store import Store, images

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from _images import slice_of
from _orthanc import orthanc, program

LISTENER = (
    "import sys, time\n"
    "from gemel.platform.images import keep_image\n"
    "from gemel.platform.store.group import GroupWriter\n"
    "from gemel.server.listeners.dicom_scp import DicomListener\n"
    "writer = GroupWriter(sys.argv[1], wait=0.0)\n"
    "commit = lambda a: writer.submit(lambda s: keep_image(s, a.sender, a.body, received=a.received)).result(60)\n"
    "print(DicomListener(commit, clock=time.time_ns).start(), flush=True)\n"
    "time.sleep(3600)\n"
)


class Listener:
    def __init__(self, place: Path) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", LISTENER, str(place)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def cpu(self) -> float:
        """CPU-seconds of the process so far."""
        told = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def files(folder: Path, count: int, size: int) -> list[Path]:
    rng, made = np.random.default_rng(0), []
    for k in range(count):
        pixels = rng.integers(0, 4096, (size, size)).astype(np.int16).tobytes()
        path = folder / f"{k:05d}.dcm"
        path.write_bytes(slice_of(k, Rows=size, Columns=size, PixelData=pixels))
        made.append(path)
    return made


def storescu(port: int, title: str, folder: Path) -> float | None:
    if shutil.which("storescu") is None:
        return None
    begin = time.perf_counter()
    done = subprocess.run(
        ["storescu", "-aec", title, "+sd", "127.0.0.1", str(port), str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return time.perf_counter() - begin


def survival(folder: Path, bodies: list[bytes], kills: int) -> dict[str, int]:
    """Kill the listener at random moments of a transfer; count what was accepted and is not there."""
    rng, told = random.Random(1), {"kills": 0, "accepted": 0, "lost": 0, "doubled": 0}
    place = folder / "kills.sqlite"
    for _ in range(kills):
        listener = Listener(place)
        killer = subprocess.Popen(
            [sys.executable, "-c", f"import os, time; time.sleep({rng.uniform(0.2, 3.0)}); os.kill({listener.process.pid}, 9)"]
        )
        accepted: list[str] = []
        try:
            accepted += send(Peer("127.0.0.1", listener.port, "GEMEL", patience=5), bodies).sent
        except Exception as error:  # it was killed while it was spoken to
            print(f"  ended: {type(error).__name__}")
        killer.wait()
        listener.kill()
        with Store(place) as store:
            told["kills"] += 1
            told["accepted"] += len(accepted)
            told["lost"] += sum(images.known(store, uid) is None for uid in accepted)
            told["doubled"] += store.counts()["image"] - len(
                {i.instance for pid in images.pids(store) for i in images.of_patient(store, pid)}
            )
            if problems := store.check().problems:
                print(problems)
                told["lost"] += 1
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--json", type=Path)
    settings = parser.parse_args()
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        paths = files(folder / "files", settings.objects, settings.size)
        bodies = [path.read_bytes() for path in paths]
        size = sum(map(len, bodies)) / len(bodies)
        listener = Listener(folder / "a.sqlite")
        try:
            begin = listener.cpu()
            seconds = storescu(listener.port, "GEMEL", folder / "files")
            told["ours"] = None if seconds is None else {"rate": len(paths) / seconds, "cpu": len(paths) / (listener.cpu() - begin)}
        finally:
            listener.kill()
        with Store(folder / "a.sqlite") as store:
            kept = [scan(bytes_of(store, image)).dataset for pid in images.pids(store) for image in images.of_patient(store, pid)]
        told["changed"] = None if seconds is None else len({scan(body).dataset for body in bodies} ^ set(kept))
        if program() is not None:
            with orthanc(folder / "orthanc") as one:
                seconds = storescu(one.dicom, "ORTHANC", folder / "files")
                told["orthanc"] = None if seconds is None else {"rate": len(paths) / seconds}
        told["kills"] = survival(folder, bodies[:60], settings.kills)
        names = Pseudonyms(b"0" * 32)
        for what, work in (
            ("walked", scan),
            ("read", lambda body: read_slice(body, tz="UTC")),
            ("de-identified", lambda body: deidentify(body, names)),
        ):
            begin = time.process_time()
            for body in bodies[:100]:
                work(body)
            told[what] = min(100, len(bodies)) / (time.process_time() - begin)
    print(f"objects of {size / 1024:.0f} KiB, {settings.objects} of them")
    for label, found in (("ours, sealed and committed", told["ours"]), ("Orthanc", told.get("orthanc"))):
        print(f"{label:<30}" + (f"{found['rate']:>10,.0f} objects per second" if found else "   not run"))
    for what in ("walked", "read", "de-identified"):
        print(f"{what:<30}{told[what]:>10,.0f} per CPU-second")
    print("killed while receiving: " + ", ".join(f"{what} {count}" for what, count in told["kills"].items()))
    if settings.json:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "gemel": __version__, "cores": os.cpu_count()}
        settings.json.write_text(json.dumps(told | {"settings": vars(settings) | {"json": None}, **machine}, indent=1))
    both = told["ours"] and told.get("orthanc")
    ratio = f"{told['ours']['rate'] / told['orthanc']['rate']:.2f}x Orthanc" if both else "peer not run"
    print(f"changed {told['changed']}, lost {told['kills']['lost']}, doubled {told['kills']['doubled']}; speed {ratio}")


if __name__ == "__main__":
    main()
