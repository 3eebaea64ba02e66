"""Make src/gemel/interop/fhir/schema/r4.json from the R4 definitions: python tools/fhir_schema.py DEFINITIONS.tar.xz [OUTPUT].

Kept are names, cardinalities, types, required bindings with their codes, invariants, search parameters and compartments; left out are
descriptions, mappings and everything that only people read. One type per line, so that a change can be read.
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

BASE = "http://hl7.org/fhir/StructureDefinition/"
REGEX = BASE + "regex"
BEST_PRACTICE = BASE + "elementdefinition-bestpractice"
OUTPUT = Path(__file__).parents[1] / "src/gemel/interop/fhir/schema/r4.json"


def read(archive: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            stream = tar.extractfile(member) if member.name.endswith(".json") else None
            if stream is not None:
                body = json.load(stream)
                found[body["resourceType"]].append(body)
    return found


def type_of(entry: dict[str, Any]) -> str:
    """One type as text: ``Reference:Patient|Group``, ``canonical:ValueSet``, ``string``."""
    code = entry["code"]
    if code.startswith("http://hl7.org/fhirpath/System."):
        kinds = [e["valueUrl"] for e in entry.get("extension", []) if e["url"].endswith("structuredefinition-fhir-type")]
        return kinds[0] if kinds else "string"
    targets = [p.removeprefix(BASE) for p in entry.get("targetProfile", [])]
    return f"{code}:{'|'.join(targets)}" if targets else code


def constraints(element: dict[str, Any], url: str) -> list[list[Any]]:
    rows = []
    for one in element.get("constraint", []):
        if one.get("source", url) in (url, url.rsplit("/", 1)[-1]) and "expression" in one:
            best = any(e["url"] == BEST_PRACTICE for e in one.get("extension", []))
            rows.append([one["key"], "information" if best else one["severity"], one["expression"], one["human"].strip()])
    return rows


def binding(element: dict[str, Any]) -> str | None:
    bound = element.get("binding", {})
    if bound.get("strength") != "required":
        return None
    return bound.get("valueSet", "").split("|")[0] or None


def structure(definition: dict[str, Any], types: dict[str, Any]) -> None:
    """Add a type and the backbone elements inside it, each as a type of its own under its path."""
    url, elements = definition["url"], definition["snapshot"]["element"]
    root = definition["type"]
    inner = {e["path"] for e in elements}
    holds = {path for path in inner if any(other.startswith(path + ".") for other in inner)}
    for element in elements:
        path = element["path"]
        if path in holds or path == root:
            kind = definition["kind"] if path == root else "backbone"
            base = definition.get("baseDefinition", "").removeprefix(BASE) if path == root else element["type"][0]["code"]
            types[path] = {"kind": kind, "base": base}
            if path == root and definition.get("abstract"):
                types[path]["abstract"] = True
            if rules := constraints(element, url):
                types[path]["rules"] = rules
        if path == root:
            continue
        parent, _, name = path.rpartition(".")
        if definition["kind"] == "primitive-type" and name == "value":
            for entry in element.get("type", []):
                patterns = [e["valueString"] for e in entry.get("extension", []) if e["url"] == REGEX]
                if patterns:
                    types[root]["regex"] = patterns[0]
            continue
        if element.get("base", {}).get("path", path) != path:
            continue  # inherited: stands in the base type
        if "contentReference" in element:
            kinds = [element["contentReference"].removeprefix("#")]
        elif path in holds:
            kinds = [path]
        else:
            kinds = [type_of(entry) for entry in element["type"]]
        if path == "Resource.id":
            kinds = ["id"]  # the definitions of 4.0.1 say string here and id in the text; R5 says id in both
        row: list[Any] = [element["min"], -1 if element["max"] == "*" else int(element["max"]), kinds]
        rules = [] if path in holds else [rule for rule in constraints(element, url) if rule[0] != "ele-1"]  # ele-1 stands at Element
        bound = binding(element)
        if bound or rules:
            row.append(bound)
        if rules:
            row.append(rules)
        types[parent].setdefault("elements", {})[name] = row


class ValueSets:
    """Expand value sets that are lists of codes; one that is not (a filter, a foreign system) is not known."""

    def __init__(self, sets: list[dict[str, Any]], systems: list[dict[str, Any]]) -> None:
        self.sets = {s["url"]: s for s in sets}
        self.systems = {s["url"]: s for s in systems}

    def _codes(self, concepts: list[dict[str, Any]]) -> list[str]:
        found = []
        for one in concepts:
            found.append(one["code"])
            found += self._codes(one.get("concept", []))
        return found

    def expand(self, url: str) -> dict[str, list[str]] | None:
        compose = self.sets.get(url.split("|")[0], {}).get("compose", {})
        if not compose.get("include") or "exclude" in compose:
            return None
        found: dict[str, list[str]] = {}
        for part in compose["include"]:
            if "filter" in part:
                return None
            for other in part.get("valueSet", []):
                inner = self.expand(other)
                if inner is None:
                    return None
                for system, codes in inner.items():
                    found.setdefault(system, []).extend(codes)
            if "system" not in part:
                continue
            system = self.systems.get(part["system"], {})
            if "concept" in part:
                codes = [c["code"] for c in part["concept"]]
            elif system.get("content") == "complete":
                codes = self._codes(system.get("concept", []))
            else:
                return None
            found.setdefault(part["system"], []).extend(codes)
        return found


def split_union(expression: str) -> list[str]:
    """Cut an expression at each ``|`` that stands outside brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for i, sign in enumerate(expression):
        if sign == "'":
            quoted = not quoted
        elif not quoted:
            depth += (sign == "(") - (sign == ")")
            if sign == "|" and depth == 0:
                parts.append(expression[start:i].strip())
                start = i + 1
    return [*parts, expression[start:].strip()]


def searches(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = defaultdict(dict)
    urls = {p["url"]: p["code"] for p in parameters}
    for one in parameters:
        for base in one.get("base", []):
            parts = split_union(one.get("expression", ""))
            own = [p for p in parts if p.lstrip("(").split(".")[0].split(" ")[0] in (base, "Resource", "DomainResource")]
            row: list[Any] = [one["type"], " | ".join(own or [p for p in parts if p and not p.lstrip("(")[0].isupper()])]
            parts_of = [[urls[c["definition"]], c["expression"]] for c in one.get("component", []) if c["definition"] in urls]
            targets = one.get("target", [])
            targets = ["Resource"] if len(targets) > 100 else targets  # every type there is
            if targets or parts_of:
                row.append(targets)
            if parts_of:
                row.append(parts_of)
            found[base][one["code"]] = row
    return found


def write(archive: Path, output: Path) -> None:
    found = read(archive)
    types: dict[str, Any] = {}
    for definition in found["StructureDefinition"]:
        if definition.get("derivation") != "constraint" and definition["kind"] != "logical":
            structure(definition, types)
    sets = ValueSets(found["ValueSet"], found["CodeSystem"])
    bound = sorted({row[3] for t in types.values() for row in t.get("elements", {}).values() if len(row) > 3 and row[3]})
    codes = {url: sets.expand(url) for url in bound}
    compartments = {
        c["code"]: {r["code"]: r["param"] for r in c["resource"] if r.get("param")} for c in found["CompartmentDefinition"] if "example" not in c["id"]
    }  # fmt: skip
    tables = {
        "types": types, "values": {k: v for k, v in codes.items() if v}, "search": searches(found["SearchParameter"]),
        "compartments": compartments,
    }  # fmt: skip
    about = (
        "Generated from the HL7 FHIR R4 (4.0.1) definitions, CC0-1.0 (hl7.fhir.r4.core), by tools/fhir_schema.py; "
        "element: [min, max (-1: any), types, required value set, rules]; rule: [key, severity, FHIRPath, human]; "
        "search: [type, FHIRPath, targets, components]."
    )
    lines = [json.dumps({"about": about})[:-1]]
    for name, table in tables.items():
        rows = [f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'), ensure_ascii=False)}" for k, v in sorted(table.items())]
        lines.append(f",\n{json.dumps(name)}:{{\n" + ",\n".join(rows) + "\n}")
    output.write_text("".join(lines) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else OUTPUT)
