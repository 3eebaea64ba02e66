"""The common base of all descriptions: frozen, closed, and refusing with a `ViewError` that says what to do."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gemel.core.errors import ViewError

REMEDIES = {
    "unit": "expected a UCUM unit such as 'mg/dL' ('1' if there is none); pass unit=...",
    "status": "expected current, stale, drifting, abstained or simulated; pass status=...",
    "lineage": "expected the lineage id of the numbers shown; pass lineage=...",
    "alt": "expected one sentence computed from the data, for whoever cannot see the drawing; pass alt=...",
    "table": "expected the numbers behind the drawing; pass table=Table(...)",
    "axes": "expected at least an x and a y axis, each with label and unit; pass axes=(Axis(...), ...)",
}


class Described(BaseModel):
    """Base of every description: immutable, without unknown fields, refusing with `ViewError`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ViewError(explain(type(self).__name__, data, error)) from None


def explain(name: str, data: dict[str, Any], error: ValidationError) -> str:
    """Turn a validation error into what was wrong, where, and what to do next; no input value is repeated.

    Parameters
    ----------
    name : class of the description that was refused.
    data : its arguments; only a title, label or name is quoted.
    error : what pydantic found.
    """
    called = next((data[key] for key in ("title", "label", "name") if isinstance(data.get(key), str) and data[key]), "")
    lines = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        where = ".".join(str(part) for part in item["loc"])
        leaf = next((str(part) for part in reversed(item["loc"]) if isinstance(part, str)), "")
        message = "is missing" if item["type"] == "missing" else item["msg"].removeprefix("Value error, ")
        remedy = REMEDIES.get(leaf, "")
        lines.append(f"{where} {message}".strip() + (f" ({remedy})" if remedy and remedy not in message else ""))
    return f"{name}{f' {called!r}' if called else ''}: " + "; ".join(lines)
