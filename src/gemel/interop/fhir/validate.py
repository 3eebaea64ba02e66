"""A resource held against the definitions of FHIR R4: each issue with its severity and path.

Checked are elements and their number, types and the form of primitives, choices, codes of required bindings whose codes can be listed, targets
of references, contained resources, references inside a Bundle, the invariants of the definitions, and the narrative. Not checked, and not claimed: profiles,
slicing, codes that only a terminology server knows, and whatever a resource outside the file says.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/validation.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemel.core.errors import DataError, FormatError
from gemel.interop.fhir import schema
from gemel.interop.fhir.codec import Element
from gemel.interop.fhir.fhirpath.evaluate import evaluate
from gemel.interop.fhir.fhirpath.nodes import Node
from gemel.interop.fhir.narrative import faults
from gemel.interop.fhir.primitives import fault
from gemel.interop.fhir.references import reference_issues

__all__ = ["NOT_CHECKED", "Issue", "outcome", "validate"]

NOT_CHECKED = "not checked: profiles, slicing, codes that need a terminology server, resources outside the file"
"""What a clean result does not say."""
_OWN = ("ele-1", "txt-1", "txt-2", "dom-3", "ref-1")  # done here, with a message that says more
_MEANT = {"ras-2": "probability.ofType(decimal).all($this <= 100)"}  # as written it is empty, not true, where no probability is given
_STEPS = 500_000
_ADDRESSED = {("Coding", "system"), ("Identifier", "system"), ("Extension", "url")}


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding: ``error``, ``warning`` or ``information``; FHIR's code of its kind; where it is; what it is."""

    severity: str
    code: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message}"


def _is_absolute(node: Node) -> bool:
    """Whether an address names a scheme, where one must: systems of codes and identifiers, extensions (but those inside one), canonicals."""
    parent, value = node.parent, node.value
    if node.type == "uri":
        if (
            parent is None
            or (parent.type, node.key) not in _ADDRESSED
            or (node.key == "url" and parent.parent is not None and parent.parent.type == "Extension")
        ):
            return True
    elif value.startswith("#"):
        return True
    scheme, colon, rest = value.partition(":")
    return bool(colon and rest) and scheme[:1].isalpha() and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum()


class _Walk:
    """One pass over a resource."""

    def __init__(self) -> None:
        self.issues: list[Issue] = []
        self.broken: set[int] = set()

    def add(self, code: str, path: str, message: str, severity: str = "error") -> None:
        self.issues.append(Issue(severity, code, path, message))

    def resource(self, node: Node) -> None:
        kind = schema.kind(node.type)
        if kind is None or not kind.is_resource or kind.abstract:
            self.add("structure", node.path, f"{node.type[:40]} is not a resource of FHIR R4")
            return
        self.element(node, frozenset({"resourceType"}))
        self.identifiers(node)

    def element(self, node: Node, known: frozenset[str] = frozenset()) -> None:
        """Check an object: its members, how often they stand, what is missing, and the rules of its type."""
        value, before = node.value, len(self.issues)
        if not isinstance(value, dict):
            self.add("structure", node.path, f"an object was expected, {type(value).__name__} was found")
            return
        if not value:
            self.add("structure", node.path, "an element without content")
        present: dict[str, list[str]] = {}
        for key in value:
            if key in known:
                continue
            plain = key.removeprefix("_")
            found = schema.find(node.type, plain)
            if found is None:
                self.add("structure", f"{node.path}.{key}", f"{node.type} has no such element")
                continue
            if plain not in present.setdefault(found[0].name, []):
                present[found[0].name].append(plain)
                self.member(node, plain, *found)
        for field in schema.fields(node.type).values():
            keys = present.get(field.name, [])
            if len(keys) > 1:
                self.add("structure", node.path, f"only one of {', '.join(keys)} may stand")
            if field.least and not keys:
                self.add("required", f"{node.path}.{field.name}{'[x]' if field.choice else ''}", "is required and missing")
        if len(self.issues) == before:  # rules speak about what is well formed
            self.rules(node, self.type_rules(node.type))

    def member(self, node: Node, key: str, field: schema.Field, type_: str) -> None:
        value, extra, path = node.value.get(key), node.value.get("_" + key), f"{node.path}.{key}"
        kind = schema.kind(type_)
        primitive = kind is not None and kind.is_primitive
        if extra is not None and not primitive:
            self.add("structure", f"{node.path}._{key}", "only a primitive has this form")
        many = isinstance(value, (tuple, list)) or (value is None and isinstance(extra, (tuple, list)))
        if many != (field.most != 1):
            self.add("structure", path, "an array was expected" if field.most != 1 else "an array stands where one value may")
            return
        if value is None and extra is None:
            self.add("structure", path, "null is no value: leave the element out")
            return
        if not many:
            self.one(Node(value, type_, extra, node, key), field, primitive)
            return
        values, extras = value or (), extra if isinstance(extra, (tuple, list)) else ()
        count = max(len(values), len(extras))
        if value is not None and extra is not None and len(values) != len(extras):
            self.add("structure", path, f"{len(values)} values and {len(extras)} extensions beside them")
        if count == 0:
            self.add("structure", path, "an array without items: leave the element out")
        if count < field.least or (field.most != -1 and count > field.most):
            self.add("structure", path, f"{count} items; {field.least} to {'any number' if field.most == -1 else field.most} may stand")
        for i in range(count):
            one, beside = values[i] if i < len(values) else None, extras[i] if i < len(extras) else None
            self.one(Node(one, type_, beside, node, key, i), field, primitive)

    def one(self, node: Node, field: schema.Field, primitive: bool) -> None:
        if node.value is None and node.extra is None:
            self.add("structure", node.path, "null is no value")
            return
        before = len(self.issues)
        if primitive:
            self.primitive(node)
        elif node.type == "Resource":
            name = node.value.get("resourceType") if isinstance(node.value, dict) else None
            node.type = name if isinstance(name, str) else "Resource"
            self.resource(node)
        else:
            self.element(node)
        if len(self.issues) == before:
            self.binding(node, field)
            self.rules(node, field.rules)

    def primitive(self, node: Node) -> None:
        if node.extra is not None:
            inside = Node(node.extra, "Element", None, node.parent, "_" + node.key, node.index)
            self.element(inside)
        if node.value is None:
            return
        wrong = fault(node.value, node.type)
        if wrong is not None:
            self.add("value", node.path, f"{wrong}: {str(node.value)[:40]!r} is no {node.type}")
        elif node.type in ("uri", "canonical") and not _is_absolute(node):
            severity = "warning" if node.type == "canonical" else "error"  # official examples have relative canonicals
            self.add("value", node.path, f"{node.value[:40]!r} is no absolute address", severity)
        elif node.type == "xhtml":
            for one in faults(node.value):
                self.add("invariant", node.path, one)

    def binding(self, node: Node, field: schema.Field) -> None:
        codes = None if field.binding is None else schema.codes(field.binding)
        value = node.value
        if codes is None or value is None:
            return
        name = str(field.binding).rpartition("/")[2]
        if isinstance(value, str):
            if node.type == "code" and not any(value in one for one in codes.values()):
                self.add("code-invalid", node.path, f"{value[:40]!r} is none of the codes of {name}")
            return
        coding = value.get("coding", ()) if node.type == "CodeableConcept" else (value,) if node.type == "Coding" else None
        if coding is None:
            return
        if not any(isinstance(one, dict) and one.get("code") in codes.get(one.get("system") or "", ()) for one in coding):
            self.add("code-invalid", node.path, f"no coding of the value set {name}, which is required")

    def type_rules(self, type_: str) -> list[schema.Rule]:
        out: list[schema.Rule] = []
        name = type_
        while name:
            kind = schema.kind(name)
            if kind is None:
                break
            out += kind.rules
            name = kind.base
        return out

    def rules(self, node: Node, rules: Iterable[schema.Rule]) -> None:
        for rule in rules:
            if rule.key in _OWN or (rule.key == "dom-6" and node.key == "contained"):  # what is contained has no narrative of its own
                continue
            try:
                found = evaluate(_MEANT.get(rule.key, rule.expression), node, steps=_STEPS)
            except FormatError:
                self.add("not-supported", node.path, f"{rule.key} cannot be read: {rule.human}", "information")
            except DataError as error:
                self.add("not-supported", node.path, f"{rule.key} was not decided: {error.what}", "information")
            else:
                if found != [True]:
                    self.add("invariant", node.path, f"{rule.key}: {rule.human}", rule.severity)

    def identifiers(self, node: Node) -> None:
        """Check that ids stand once, of elements and of contained resources, and that what is contained is referred to."""
        seen: set[str] = set()
        inner = node.value.get("contained", ()) if isinstance(node.value, dict) else ()
        for i, one in enumerate(inner if isinstance(inner, (tuple, list)) else ()):
            name = one.get("id") if isinstance(one, dict) else None
            if not isinstance(name, str):
                self.add("required", f"{node.path}.contained[{i}].id", "a contained resource needs an id")
            elif name in seen:
                self.add("structure", f"{node.path}.contained[{i}].id", f"the id {name[:40]!r} stands twice")
            seen.add(str(name))


def validate(tree: Mapping[str, Any]) -> list[Issue]:
    """Hold a resource against the definitions of FHIR R4.

    Parameters
    ----------
    tree : a resource, as :func:`gemel.interop.fhir.codec.decode` reads it.

    Returns
    -------
    Issues, errors first; an empty list does not say that the resource is right, only that it is not wrong in these ways (:data:`NOT_CHECKED`).

    Examples
    --------
    >>> from gemel.interop.fhir.codec import decode
    >>> for issue in validate(decode('{"resourceType":"Patient","text":{"status":"empty","div":"<div/>"},"gender":"f"}')):
    ...     print(issue)
    error: Patient.text.div: the narrative is not a div of XHTML
    error: Patient.text.div: the narrative says nothing
    error: Patient.gender: 'f' is none of the codes of administrative-gender
    """
    if not isinstance(tree, Mapping) or not isinstance(tree.get("resourceType"), str):
        return [Issue("error", "structure", "", "not a resource: an object with resourceType was expected")]
    top = Node(tree, tree["resourceType"])
    walk = _Walk()
    walk.resource(top)
    if not any(issue.code == "structure" and issue.path == top.path for issue in walk.issues):
        walk.issues += [Issue(*one) for one in reference_issues(top)]
    order = {"error": 0, "warning": 1, "information": 2}
    return sorted(walk.issues, key=lambda issue: order[issue.severity])


def outcome(issues: Iterable[Issue]) -> Element:
    """Return issues as an OperationOutcome; without any, it says that nothing was found and what was not looked at."""
    rows = [
        {"severity": one.severity, "code": one.code, "diagnostics": one.message, "expression": (one.path,)} if one.path else
        {"severity": one.severity, "code": one.code, "diagnostics": one.message}
        for one in issues
    ]  # fmt: skip
    rows = rows or [{"severity": "information", "code": "informational", "diagnostics": f"no issue found; {NOT_CHECKED}"}]
    return Element({"resourceType": "OperationOutcome", "issue": tuple(Element(row) for row in rows)})
