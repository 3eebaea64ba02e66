"""What is installed at run time: a list of it (CycloneDX), its licences, its size, and what is known against it.

    gemel bench platform-supply -- [--sbom FILE]

The list is made by cyclonedx-bom and the audit by pip-audit, in an environment of their own from tools/audit.lock. An audit whose source of advisories
cannot be reached is printed as *not run*, never as passed. Size and number of packages are those of the base install, the numeric stack (JAX and what it brings)
apart: the goal is 80 MB and 35 packages.
"""

from __future__ import annotations

import argparse
import importlib.metadata as metadata
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
NUMERIC = ("jax", "equinox", "diffrax", "optax", "blackjax", "jaxtyping", "scipy", "numpy")
COPYLEFT = re.compile(r"\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: tuple[str, ...]) -> set[str]:
    """Everything that these packages need in this environment, themselves included."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            needs = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        for text in needs:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                waiting.append(normal(wanted.name))
    return found


def licence(name: str) -> str:
    told = metadata.distribution(name).metadata
    classified = [c.split(" :: ")[-1] for c in told.get_all("Classifier") or [] if c.startswith("License")]
    return told.get("License-Expression") or "; ".join(classified) or (told.get("License") or "?").splitlines()[0]


def size(name: str) -> int:
    files = metadata.distribution(name).files or []
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file() and path.suffix != ".pyc")


def tools(folder: Path) -> Path | None:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    made = subprocess.run(
        [str(folder / "bin/pip"), "install", "--quiet", "--require-hashes", "-r", str(ROOT / "tools/audit.lock")],
        capture_output=True,
        text=True,
    )
    return folder / "bin" if made.returncode == 0 else None


def audit(tool: Path) -> tuple[str, list[dict]]:
    """Say how the audit ended, and what it found."""
    asked = [
        str(tool / "pip-audit"),
        "--requirement",
        str(LOCK),
        "--require-hashes",
        "--disable-pip",
        "--format",
        "json",
        "--progress-spinner",
        "off",
    ]
    try:
        made = subprocess.run(asked, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "not run: the source of advisories did not answer", []
    try:
        told = json.loads(made.stdout)["dependencies"]
    except (ValueError, KeyError):
        return f"not run: {(made.stderr.strip().splitlines() or ['no answer'])[-1][:200]}", []
    known = [{"package": d["name"], "version": d["version"], "advisory": v["id"]} for d in told for v in d.get("vulns", ())]
    return f"{len(told)} packages looked up", known


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sbom", type=Path, help="write the list here (JSON)")
    settings = parser.parse_args()
    base = closure(("gemel",)) - {"gemel"}
    numeric = closure(NUMERIC)
    plain = sorted(base - numeric)
    licences = {name: licence(name) for name in sorted(base)}
    refused = [name for name, text in licences.items() if COPYLEFT.search(text) and not re.search(r"\bLGPL|Lesser", text)]
    print(f"base install: {len(base)} packages; without the numeric stack {len(plain)}, {sum(map(size, plain)) / 1e6:.1f} MB")
    for name in sorted(plain, key=size, reverse=True)[:5]:
        print(f"  {name} {size(name) / 1e6:.1f} MB, {licences[name]}")
    print(f"GPL or AGPL at run time: {', '.join(refused) or 'none'}")
    with tempfile.TemporaryDirectory() as folder:
        tool = tools(Path(folder) / "env")
        if tool is None:
            print("list and audit: not run: tools/audit.lock could not be installed")
            found = []
        else:
            sink = settings.sbom or Path(folder) / "sbom.json"
            subprocess.run(
                [str(tool / "cyclonedx-py"), "requirements", str(LOCK), "--output-format", "JSON", "--output-file", str(sink)],
                check=True,
                capture_output=True,
            )
            told = json.loads(sink.read_text())
            print(
                f"list: {told['bomFormat']} {told['specVersion']}, {len(told['components'])} components"
                + (f", in {settings.sbom}" if settings.sbom else "")
            )
            said, found = audit(tool)
            print(f"audit: {said}")
            for one in found:
                print(f"  {one['package']} {one['version']}: {one['advisory']}")
    megabytes = sum(map(size, plain)) / 1e6
    print(f"P16: {len(plain)} packages (goal 35), {megabytes:.1f} MB (goal 80); known advisories: {len(found)}")
    return 1 if refused or found else 0


if __name__ == "__main__":
    sys.exit(main())
