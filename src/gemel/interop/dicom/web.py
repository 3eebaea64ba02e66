"""Talking to an archive over DICOMweb: search (QIDO-RS), fetch (WADO-RS), store (STOW-RS). The transport is given; nothing is opened here.

References
----------
DICOM PS3.18 2024e, 10.4 (retrieve), 10.5 (store), 10.6 (search), F (JSON model).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from gemel.core.errors import DataError, FormatError
from gemel.interop.dicom.multipart import boundary_of, join_parts, split_parts
from gemel.interop.dicom.part10 import is_uid, scan

__all__ = ["Answer", "Archive", "Transport", "stow_answer"]

_JSON = "application/dicom+json"
_FAILED, _REFERENCED = "00081198", "00081199"
_CLASS, _INSTANCE, _REASON = "00081150", "00081155", "00081197"


@dataclass(frozen=True, repr=False)
class Answer:
    """What a transport brings back."""

    status: int
    content_type: str
    body: bytes


Transport = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""``transport(method, url, headers, body)``: with whatever authentication, limits and patience its maker gave it."""


def _path(study: str = "", series: str = "", instance: str = "") -> str:
    parts = ""
    for name, uid in (("studies", study), ("series", series), ("instances", instance)):
        if uid:
            if not is_uid(uid):
                raise FormatError("not a UID", seen=f"{len(uid)} characters", expected="digits and dots, at most 64")
            parts += f"/{name}/{uid}"
    return parts


class Archive:
    """A DICOMweb service.

    Parameters
    ----------
    base : its address, ``https://.../dicom-web``.
    transport : see :data:`Transport`.
    boundary : makes a random boundary for a body of several parts.
    """

    def __init__(self, base: str, transport: Transport, *, boundary: Callable[[], str]) -> None:
        self._base, self._transport, self._boundary = base.rstrip("/"), transport, boundary

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, accept: Sequence[int] = (200,)) -> Answer:
        answer = self._transport(method, self._base + path, headers, body)
        if answer.status not in accept:
            raise DataError(
                "the archive refuses", seen=f"HTTP {answer.status}", expected=" or ".join(map(str, accept)), fix="check address and rights"
            )
        return answer

    def search(self, level: str, keys: Mapping[str, str] | None = None, *, study: str = "", limit: int = 1000) -> list[dict[str, Any]]:
        """Return attributes of what matches, in the DICOM JSON model.

        Parameters
        ----------
        level : ``studies``, ``series`` or ``instances``.
        keys : keyword or tag -> value.
        study : only within this one.
        """
        if level not in ("studies", "series", "instances"):
            raise DataError("a level that there is not", seen=level, expected="studies, series, instances")
        query = urlencode({**(keys or {}), "limit": str(limit)}, quote_via=quote)
        answer = self._ask("GET", f"{_path(study)}/{level}?{query}", {"Accept": _JSON}, accept=(200, 204))
        if answer.status == 204 or not answer.body.strip():
            return []
        return _json(answer.body)

    def fetch(self, study: str, series: str = "", instance: str = "") -> list[bytes]:
        """Return the files of a study, series or instance as the archive keeps them; each was walked to its end."""
        headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        answer = self._ask("GET", _path(study, series, instance), headers)
        files = [body for _, body in split_parts(answer.body, boundary_of(answer.content_type))]
        for body in files:
            scan(body)
        return files

    def metadata(self, study: str, series: str = "", instance: str = "") -> list[dict[str, Any]]:
        """Return all attributes but bulk data, in the DICOM JSON model."""
        return _json(self._ask("GET", f"{_path(study, series, instance)}/metadata", {"Accept": _JSON}).body)

    def store(self, files: Sequence[bytes], *, study: str = "") -> dict[str, str]:
        """Store files.

        Returns
        -------
        Instance UID -> ``""`` when it was taken, else the reason that the archive gives.
        """
        for body in files:
            scan(body)
        boundary = self._boundary()
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}', "Accept": _JSON}
        answer = self._ask("POST", _path(study) or "/studies", headers, join_parts(files, boundary), accept=(200, 202, 409))
        told = _json(answer.body, one=True)
        found = {_value(item, _INSTANCE): "" for item in told.get(_REFERENCED, {}).get("Value", ())}
        for item in told.get(_FAILED, {}).get("Value", ()):
            found[_value(item, _INSTANCE)] = f"reason {_value(item, _REASON)}"
        return found


def _json(body: bytes, *, one: bool = False) -> Any:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise FormatError("the archive's answer is no JSON", seen=f"{len(body)} bytes", expected=_JSON) from error
    if not isinstance(found, dict if one else list):
        raise FormatError("the archive's answer has another shape", seen=type(found).__name__, expected="the DICOM JSON model")
    return found


def _value(item: Mapping[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0])


def stow_answer(taken: Sequence[tuple[str, str]], failed: Sequence[tuple[str, str, int]]) -> dict[str, Any]:
    """Return the answer to a store request: what was taken (class, instance), and what was not (class, instance, reason of PS3.18, table I.2-2).

    Examples
    --------
    >>> stow_answer([("1.2", "1.3")], [])["00081199"]["Value"][0]["00081155"]
    {'vr': 'UI', 'Value': ['1.3']}
    """

    def item(sop_class: str, instance: str, **more: Any) -> dict[str, Any]:
        return {_CLASS: {"vr": "UI", "Value": [sop_class]}, _INSTANCE: {"vr": "UI", "Value": [instance]}, **more}

    told: dict[str, Any] = {}
    if taken:
        told[_REFERENCED] = {"vr": "SQ", "Value": [item(*one) for one in taken]}
    if failed:
        told[_FAILED] = {"vr": "SQ", "Value": [item(c, i, **{_REASON: {"vr": "US", "Value": [why]}}) for c, i, why in failed]}
    return told
