"""A drawing with its style sheet worked out: every element carries its own colours and strokes, for readers of SVG that know no CSS variables.

Only what our own style sheet uses is understood: selectors of classes and element names below ``.gemel-svg``, custom properties, light colours.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

__all__ = ["flatten"]

_NAMESPACE = "http://www.w3.org/2000/svg"
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_VARIABLE = re.compile(r"var\((--[\w-]+)\)")
_SIMPLE = re.compile(r"^(?P<tag>[a-zA-Z]*)(?P<classes>(\.[\w-]+)*)$")
_DRAWN = {
    "fill", "stroke", "fill-opacity", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "opacity",
    "font-weight", "font-size", "font-style", "text-anchor", "paint-order", "display", "visibility", "dominant-baseline", "font-family",
}  # fmt: skip


@dataclass(frozen=True)
class _Rule:
    tag: str
    classes: frozenset[str]
    declared: tuple[tuple[str, str], ...]

    def fits(self, tag: str, classes: frozenset[str]) -> bool:
        return (not self.tag or self.tag == tag) and self.classes <= classes

    @property
    def weight(self) -> int:
        return 10 * len(self.classes) + bool(self.tag)


def _without_media(css: str) -> str:
    out, i = [], 0
    while (at := css.find("@media", i)) >= 0:
        out.append(css[i:at])
        depth, j = 0, css.index("{", at)
        while True:
            depth += {"{": 1, "}": -1}.get(css[j], 0)
            j += 1
            if depth == 0:
                break
        i = j
    return "".join([*out, css[i:]])


def _declared(body: str) -> tuple[tuple[str, str], ...]:
    pairs = (part.split(":", 1) for part in body.split(";") if ":" in part)
    return tuple((name.strip(), value.strip()) for name, value in pairs)


def _rules(css: str) -> list[_Rule]:
    found = []
    for selectors, body in _RULE.findall(_without_media(css)):
        for selector in selectors.split(","):
            parts = selector.split()
            last = parts[-1] if parts else ""
            match = _SIMPLE.match(last)
            if match is None:
                continue
            classes = frozenset(c for c in match["classes"].split(".") if c)
            found.append(_Rule(match["tag"], classes, _declared(body)))
    return sorted(found, key=lambda r: r.weight)  # stable: later rules of one weight win


def flatten(svg: str) -> str:
    """Return a drawing of :func:`gemel.web.figure_svg` with its style sheet worked out into attributes.

    Parameters
    ----------
    svg : standalone, with its ``<style>``.
    """
    ET.register_namespace("", _NAMESPACE)
    root = ET.fromstring(svg)
    sheets = [e for e in root.iter() if e.tag.endswith("}style")]
    rules = _rules("".join(e.text or "" for e in sheets))
    for parent in list(root.iter()):
        for child in list(parent):
            if child in sheets:
                parent.remove(child)

    def walk(element: ET.Element, inherited: dict[str, str]) -> None:
        tag = element.tag.rpartition("}")[2]
        classes = frozenset((element.get("class") or "").split())
        declared: dict[str, str] = {}
        for rule in rules:
            if rule.fits(tag, classes):
                declared |= dict(rule.declared)
        declared |= dict(_declared(element.get("style") or ""))
        variables = inherited | {k: v for k, v in declared.items() if k.startswith("--")}

        def value(text: str) -> str:
            for _ in range(4):
                text = _VARIABLE.sub(lambda m: variables.get(m[1], "none"), text)
            return text

        variables = {k: value(v) for k, v in variables.items()}
        element.attrib.pop("style", None)
        for name, given in declared.items():
            if name in _DRAWN:
                element.set(name, value(given))
        for name, given in list(element.attrib.items()):
            if "var(" in given:
                element.set(name, value(given))
        if tag == "svg":
            element.set("font-family", "sans-serif")
            element.set("font-size", "12")
        for child in element:
            walk(child, variables)

    walk(root, {})
    return ET.tostring(root, encoding="unicode")
