"""A population's own prior, from a file.

JSON or TOML, in one of two forms.

Each parameter by its name; those that are not named keep the room's prior, and all keep the room's correlation::

    [SI_breakfast]
    location = -7.2        # mean in unconstrained space (of a positive parameter: of its logarithm)
    scale = 0.6            # standard deviation there

    [Gb]
    mean = 120.0           # in the parameter's own unit, as printed by `gemel diagnose`
    sd = 20.0

``mean`` and ``sd`` are turned into the normal or log-normal distribution with these moments. For a parameter between two bounds
there is no such closed form: give ``location`` and ``scale``.

Or all at once, in unconstrained space and in the order of the model, or in that of ``names``::

    {"names": ["a", "b"], "mean": [0.0, 1.0], "covariance": [[1.0, 0.1], [0.1, 2.0]]}

This is also what ``gemel calibrate --hierarchical --save-prior`` writes, with a table ``about`` that says of whom and is not read.
"""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemel.cli.options import existing

if TYPE_CHECKING:
    from gemel.engine.prior import Parameter, Prior

__all__ = ["parse_prior", "prior_table", "read_prior"]


def read_table(path: Path) -> dict[str, Any]:
    """Read a JSON or TOML file that holds a table.

    Raises
    ------
    FormatError
        When it is neither.
    """
    from gemel.core.errors import FormatError

    try:
        text = existing(path).read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(
            f"{path.name} cannot be read", seen=str(error)[:120], expected="JSON, or TOML in a file that ends in .toml"
        ) from error
    if not isinstance(found, dict):
        raise FormatError(f"{path.name} holds no table", seen=type(found).__name__, expected="names and their values")
    return found


def _number(value: Any, where: str) -> float:
    from gemel.core.errors import FormatError

    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise FormatError("not a number", seen=f"{where} = {value!r}", expected="a finite number")
    return float(value)


def _moments(parameter: Parameter, table: dict[str, Any]) -> tuple[float, float]:
    """Return location and scale in unconstrained space."""
    from gemel.core.errors import FormatError
    from gemel.engine.transform import Identity, Log

    given = {key: _number(value, f"{parameter.name}.{key}") for key, value in table.items() if key in ("location", "scale", "mean", "sd")}
    if set(table) == {"location", "scale"}:
        return given["location"], given["scale"]
    if set(table) != {"mean", "sd"}:
        raise FormatError(
            f"the prior of {parameter.name!r} is incomplete", seen=", ".join(table), expected="location and scale, or mean and sd"
        )
    mean, sd = given["mean"], given["sd"]
    if isinstance(parameter.bijector, Identity):
        return mean, sd
    if isinstance(parameter.bijector, Log):
        above = mean - parameter.bijector.lower
        if above <= 0:
            raise FormatError(
                f"the mean of {parameter.name!r} is not possible", seen=mean, expected=f"> {parameter.bijector.lower} {parameter.unit}"
            )
        spread = math.log1p((sd / above) ** 2)
        return math.log(above) - spread / 2, math.sqrt(spread)
    raise FormatError(
        f"{parameter.name!r} lies between two bounds", seen="mean and sd", expected="location and scale in unconstrained space"
    )


def parse_prior(table: dict[str, Any], prior: Prior) -> Prior:
    """Return the prior of a parsed file, over the parameters of the room's own ``prior``.

    Raises
    ------
    FormatError, ModelError
        When a name is not the model's, a number is missing, or the covariance is not positive definite.
    """
    import numpy as np

    from gemel.core.errors import FormatError
    from gemel.engine.prior import Prior

    if set(table) <= {"names", "mean", "covariance", "about"}:
        names = list(table.get("names", prior.names))
        try:
            mean, covariance = np.asarray(table["mean"], float), np.asarray(table["covariance"], float)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                "the prior is incomplete", seen=", ".join(table), expected="mean (n) and covariance (n x n), numbers only"
            ) from error
        n = prior.size
        if sorted(names) != sorted(prior.names) or mean.shape != (n,) or covariance.shape != (n, n):
            raise FormatError(
                "the prior is of another model",
                seen=f"{len(names)} names, {mean.shape}, {covariance.shape}",
                expected=", ".join(prior.names),
            )
        order = [names.index(name) for name in prior.names]
        return Prior.from_moments(prior.parameters, mean[order], covariance[np.ix_(order, order)])
    unknown = sorted(set(table) - set(prior.names))
    if unknown:
        raise FormatError(
            "the prior names parameters that the model does not have", seen=", ".join(unknown), expected=", ".join(prior.names)
        )
    covariance = np.asarray(prior.covariance)
    location, scale = np.array(prior.mean), np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    for i, parameter in enumerate(prior.parameters):
        if parameter.name in table:
            if not isinstance(table[parameter.name], dict):
                raise FormatError(
                    f"the prior of {parameter.name!r} is not a table",
                    seen=table[parameter.name],
                    expected="location and scale, or mean and sd",
                )
            location[i], scale[i] = _moments(parameter, table[parameter.name])
            if not scale[i] > 0:
                raise FormatError(f"the prior of {parameter.name!r} has no width", seen=scale[i], expected="> 0")
    return Prior.from_moments(prior.parameters, location, correlation * np.outer(scale, scale))


def prior_table(prior: Prior) -> dict[str, Any]:
    """Return a prior as the table that :func:`parse_prior` reads."""
    import numpy as np

    return {"names": list(prior.names), "mean": np.asarray(prior.mean).tolist(), "covariance": np.asarray(prior.covariance).tolist()}


def read_prior(path: Path, prior: Prior) -> Prior:
    """Read a prior from a file; see the head of this module for its forms."""
    return parse_prior(read_table(path), prior)
