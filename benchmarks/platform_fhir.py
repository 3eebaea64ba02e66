"""FHIR R4 as a language: what comes back as it was, how fast Observations are read and indexed, how much of FHIRPath is right.

    gemel bench platform-fhir -- [--rounds 3] [--parts lossless,speed,import,fhirpath,hostile] [--peer-python PYTHON] [--json FILE]

*lossless* reads and writes the 966 official examples (FHIR R4, mCODE, Genomics Reporting) and ten simulated patients, numbers compared as text, beside
fhir.resources (models of R4B, since it has none of R4). *speed* takes the Observations of the simulated patients: ours reads, normalises (code, unit,
times, status, whose it is) and makes every search value; fhir.resources only parses. Ours goes three ways: the long way for any resource, and the quick reader with what it has learnt from the other
nine patients (*new patient*: three of a hundred codes are new), from all ten on other people (*known codes*) and from nothing (*cold*). *import* takes the ten patients, several times under other ids, and a bulk export into a sealed store. *fhirpath* runs the official suite; fhirpathpy runs it in its own environment
(``pip install fhirpathpy``; its results are compared by text or as numbers), and without it its row reads *not run*. Seconds are of the CPU.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
import xml.etree.ElementTree as ElementTree
from decimal import Decimal
from pathlib import Path
from typing import Any

from _results import note

PARTS = ("lossless", "speed", "import", "fhirpath", "hostile")


def _plain(raw: bytes) -> Any:
    """JSON by the standard library, numbers as text."""
    return json.loads(raw.decode("utf-8-sig"), parse_float=lambda t: ["number", t], parse_int=lambda t: ["number", t])


def _numbers(raw: bytes) -> Any:
    return json.loads(raw.decode("utf-8-sig"))


def examples() -> dict[str, list[bytes]]:
    from gemel.platform import datasets

    found: dict[str, list[bytes]] = {}
    for archive in sorted(datasets.resolve("fhir-r4-examples").glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            streams = [tar.extractfile(member) for member in tar.getmembers() if member.name.endswith(".json")]
            found[archive.name.removesuffix(".tar.gz")] = [stream.read() for stream in streams if stream is not None]
    found["synthea"] = [gzip.decompress(path.read_bytes()) for path in sorted(datasets.resolve("synthea-r4").glob("*.json.gz"))]
    return found


def lossless() -> dict[str, Any]:
    from fhir.resources.R4B import get_fhir_model_class

    from gemel.interop.fhir.codec import decode, encode

    told: dict[str, Any] = {}
    for name, bodies in examples().items():
        ours = sum(_plain(encode(decode(raw))) == _plain(raw) for raw in bodies)
        parsed = equal = same = 0
        for raw in bodies:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    back = get_fhir_model_class(_numbers(raw)["resourceType"]).model_validate_json(raw).model_dump_json().encode()
            except Exception:  # whatever it raises is a resource that it cannot read
                continue
            parsed += 1
            equal += _numbers(back) == _numbers(raw)
            same += _plain(back) == _plain(raw)
        told[name] = {
            "resources": len(bodies), "gemel_lossless": ours, "fhir.resources_parsed": parsed, "fhir.resources_equal_as_numbers": equal,
            "fhir.resources_lossless": same,
        }  # fmt: skip
        note(f"{name}: {told[name]}")
    return told


def _other_people(raw: bytes) -> bytes:
    """The same Observation of somebody else at another time: ids, people, stays and times that were never seen."""
    raw = raw.replace(b"urn:uuid:", b"urn:uuid:f").replace(b'"id":"', b'"id":"f')
    return re.sub(rb"(T[0-9]{2}:)([0-9]{2})(:[0-9]{2})", lambda m: m[1] + b"%02d" % ((int(m[2]) + 17) % 60) + m[3], raw)


def speed(rounds: int) -> dict[str, Any]:
    from fhir.resources.R4B.observation import Observation

    from gemel.interop.fhir.codec import decode, encode
    from gemel.interop.fhir.fast import ObservationReader
    from gemel.interop.fhir.index import search_values
    from gemel.interop.fhir.mapping import map_resource
    from gemel.interop.fhir.validate import validate

    patients = [
        [encode(e["resource"]) for e in decode(raw)["entry"] if e["resource"]["resourceType"] == "Observation"]
        for raw in examples()["synthea"]
    ]
    bodies = [body for mine in patients for body in mine]
    now = time.time_ns()

    def resolve(reference: str) -> dict[str, str]:
        return {"resourceType": "Patient", "id": reference[9:]}

    def long_way(raw: bytes) -> Any:
        tree = decode(raw)
        return map_resource(tree, received=now, resolve=resolve), search_values(tree)

    ways = {
        "gemel, the long way: read, normalise, index": long_way,
        "gemel: read": decode,
        "gemel: read and index": lambda raw: search_values(decode(raw)),
        "gemel: read and validate": lambda raw: validate(decode(raw)),
        "json of the standard library": json.loads,
        "fhir.resources: parse": Observation.model_validate_json,
    }
    new, cold = "gemel, quick, a new patient: read, normalise, index", "gemel, quick, cold: read, normalise, index"
    work = "gemel, quick, known codes, all else new: read, normalise, index"
    others = [_other_people(raw) for raw in bodies]
    seconds = dict.fromkeys((*ways, work, new, cold), 0.0)
    for one in ways.values():
        one(bodies[0])
    for i in range(rounds):
        for name, way in ways.items():  # in turn, so that a slow moment of the machine meets all
            begin = time.process_time()
            for raw in bodies:
                way(raw)
            seconds[name] += time.process_time() - begin
        for k, mine in enumerate(patients):
            reader = ObservationReader(received=now, resolve=resolve)
            for other in patients[:k] + patients[k + 1 :]:
                for raw in other:
                    reader.read(raw)
            begin = time.process_time()
            for raw in mine:
                reader.read(raw)
            seconds[new] += time.process_time() - begin
        reader = ObservationReader(received=now, resolve=resolve)
        begin = time.process_time()
        for raw in bodies:
            reader.read(raw)
        seconds[cold] += time.process_time() - begin
        begin = time.process_time()
        for raw in others:
            reader.read(raw)
        seconds[work] += time.process_time() - begin
        note(f"round {i + 1} of {rounds}")
    rates = {name: rounds * len(bodies) / spent for name, spent in seconds.items()}
    peer = rates["fhir.resources: parse"]
    return {
        "observations": len(bodies), "mean_bytes": sum(map(len, bodies)) / len(bodies), "per_cpu_second": rates,
        "ratio_long": rates["gemel, the long way: read, normalise, index"] / peer, "ratio_cold": rates[cold] / peer, "ratio_work": rates[work] / peer, "ratio": rates[new] / peer,
    }  # fmt: skip


def imported(copies: int = 5) -> dict[str, Any]:
    """Resources per CPU-second into a sealed store, on the disk; beside it fhir.resources that only parses the same Bundles."""
    from fhir.resources.R4B.bundle import Bundle

    from gemel.interop.fhir.bulk import Piece, pieces
    from gemel.interop.fhir.mapping import Site
    from gemel.platform import datasets
    from gemel.platform.fhir_import import FhirImport
    from gemel.platform.store import Store

    bundles = []
    for copy in range(copies):  # the same people under other ids: each uuid begins with another digit
        for k, raw in enumerate(examples()["synthea"]):
            bundles.append(Piece(f"{copy}-{k}.json", 0, raw.replace(b"urn:uuid:", b"urn:uuid:%x" % copy).replace(b'"id": "', b'"id": "%x' % copy).replace(b'"id":"', b'"id":"%x' % copy)))  # fmt: skip
    told: dict[str, Any] = {}
    for name, parts in (("simulated patients", bundles), ("bulk export", list(pieces(datasets.resolve("fhir-bulk-10"))))):
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "bench.sqlite") as store:
            work = FhirImport(store, "bench", received=time.time_ns(), site=Site())
            read = facts = 0
            begin = time.process_time()
            work.look_ahead(parts)
            for piece in parts:
                found = work.take(piece)
                read, facts = read + found.report.read, facts + found.facts
            spent = time.process_time() - begin
            told[name] = {
                "items": read,
                "facts": facts,
                "people": len(store.patients()),
                "per_cpu_second": read / spent,
                "sound": not store.check().problems,
            }
        note(f"{name}: {told[name]}")
    begin = time.process_time()
    entries = 0
    for piece in bundles[: len(bundles) // copies]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            entries += len(Bundle.model_validate_json(piece.body).entry)
    told["fhir.resources: parse Bundles"] = {"items": entries, "per_cpu_second": entries / (time.process_time() - begin)}
    return told


def suite() -> list[dict[str, Any]]:
    from gemel.interop.fhir.codec import decode, encode
    from gemel.interop.fhir.xml import decode_xml
    from gemel.platform import datasets

    folder = datasets.resolve("fhir-test-cases") / "fhirpath"
    read: dict[str, Any] = {}
    rows = []
    for test in ElementTree.parse(folder / "tests-r4-shared.xml").getroot().iter("test"):
        name = test.get("inputfile")
        if name and name not in read:
            read[name] = (decode_xml if name.endswith(".xml") else decode)((folder / "inputs" / name).read_bytes())
        expression = test.find("expression")
        rows.append({
            "expression": expression.text, "tree": read[name] if name else None, "fails": bool(expression.get("invalid")),
            "strict": test.get("mode") == "strict", "predicate": test.get("predicate") == "true", "wanted": [one.text or "" for one in test.findall("output")],
            "types": [one.get("type") for one in test.findall("output")], "focus": _numbers(encode(read[name])) if name else {},
        })  # fmt: skip
    return rows


def _passes(test: dict[str, Any]) -> bool:
    from gemel.core.errors import GemelError
    from gemel.interop.fhir.fhirpath import Temporal, evaluate, type_of, value_of

    def shown(item: Any) -> str:
        value = value_of(item)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, Temporal):
            return ("@T" if value.kind == "time" else "@") + str(value)
        return f"{value:f}" if isinstance(value, Decimal) else str(value)

    try:
        found = evaluate(test["expression"], test["tree"], now="2026-01-01T10:00:00.000+00:00", strict=test["strict"])
    except GemelError:
        return test["fails"]
    found = [bool(found)] if test["predicate"] else found
    kinds = all(not kind or type_of(item).name.lower() == kind.lower() for kind, item in zip(test["types"], found, strict=False))
    return not test["fails"] and kinds and [shown(item) for item in found] == test["wanted"]


def fhirpath(peer: str | None) -> dict[str, Any]:
    tests = suite()
    begin = time.process_time()
    passed = sum(_passes(test) for test in tests)
    told: dict[str, Any] = {
        "tests": len(tests),
        "gemel_passed": passed,
        "gemel_cpu_seconds": time.process_time() - begin,
        "fhirpathpy": "not run",
    }
    if peer is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tests.json"
            path.write_text(json.dumps([{k: v for k, v in test.items() if k != "tree"} for test in tests]))
            ran = subprocess.run(
                [peer, str(Path(__file__).with_name("_fhirpathpy_peer.py")), str(path)], capture_output=True, text=True, check=False
            )
        told["fhirpathpy"] = json.loads(ran.stdout) if ran.returncode == 0 else f"not run: {ran.stderr.strip().splitlines()[-1]}"
    return told


def hostile() -> dict[str, Any]:
    """What each hostile input costs until it is refused; a row without a refusal says so."""
    from gemel.core.errors import GemelError
    from gemel.interop.fhir.codec import decode
    from gemel.interop.fhir.fhirpath import evaluate
    from gemel.interop.fhir.files import read_resources
    from gemel.interop.fhir.xml import decode_xml

    laughs = "<!DOCTYPE x [<!ENTITY a 'aaaa'>]><Basic xmlns='http://hl7.org/fhir'><id value='&a;'/></Basic>"
    bomb = gzip.compress(b" " * 200_000_000)
    rows = {
        "JSON nested 10,000 deep": lambda: decode(b'{"a":' * 10_000 + b"1" + b"}" * 10_000), "1e999": lambda: decode(b'{"a":1e999}'),
        "NaN": lambda: decode(b'{"a":NaN}'), "a key twice": lambda: decode(b'{"a":1,"a":1}'), "UTF-16": lambda: decode('{"a":1}'.encode("utf-16")),
        "a gzip bomb of 200 MB": lambda: list(read_resources(bomb, "bomb.json.gz")), "XML entities": lambda: decode_xml(laughs),
        "FHIRPath nested 5,000 deep": lambda: evaluate("(" * 5000 + "1" + ")" * 5000), "FHIRPath that never ends": lambda: evaluate("1.repeatAll($this)"),
    }  # fmt: skip
    told = {}
    for name, attack in rows.items():
        begin = time.process_time()
        try:
            attack()
            told[name] = "NOT REFUSED"
        except GemelError as error:
            told[name] = {"refused": error.what, "cpu_seconds": time.process_time() - begin}
    begin = time.process_time()
    evaluate("'" + "a" * 5000 + "'.matches('^(a+)+b$')")
    told["(a+)+b on 5,000 letters"] = {"answered": False, "cpu_seconds": time.process_time() - begin}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--peer-python", help="a Python with fhirpathpy")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    parts = options.parts.split(",")
    told: dict[str, Any] = {"machine": platform.machine(), "python": platform.python_version()}
    if "lossless" in parts:
        told["lossless"] = lossless()
        total = {
            key: sum(row[key] for row in told["lossless"].values()) for key in ("resources", "gemel_lossless", "fhir.resources_lossless")
        }
        print("lossless, numbers as text:", ", ".join(f"{key} {value}" for key, value in total.items()))
    if "fhirpath" in parts:
        told["fhirpath"] = fhirpath(options.peer_python)
        found = told["fhirpath"]
        print(f"FHIRPath, official suite: {found['gemel_passed']} of {found['tests']}; fhirpathpy: {found['fhirpathpy']}")
    if "hostile" in parts:
        told["hostile"] = hostile()
        for name, row in told["hostile"].items():
            print(f"{name}: {row}")
    if "speed" in parts:
        told["speed"] = speed(options.rounds)
        for name, rate in told["speed"]["per_cpu_second"].items():
            print(f"{name}: {rate:,.0f} Observations per CPU-second")
    if "import" in parts:
        told["import"] = imported()
        for name, row in told["import"].items():
            print(f"{name}: {row['per_cpu_second']:,.0f} items per CPU-second ({row['items']})")
        ratio = told["import"]["simulated patients"]["per_cpu_second"] / told["import"]["fhir.resources: parse Bundles"]["per_cpu_second"]
        print(f"ratio, into a sealed store over fhir.resources' bare parse: {ratio:.2f} (floor 3,000 a CPU-second)")
    if "speed" in parts:
        found = told["speed"]
        print(
            f"ratio, read + normalise + index over fhir.resources' bare parse, the long way: {found['ratio_long']:.2f}; quick and cold: {found['ratio_cold']:.2f}; quick, known codes, all else new: {found['ratio_work']:.2f}"
        )
        print(
            f"ratio, read + normalise + index over fhir.resources' bare parse, quick, a new patient: {found['ratio']:.2f} (floor 3, goal 20)"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    sys.exit(main())
