"""One minute of the UVA/Padova model by the cheapest route that keeps the error of Runge-Kutta at half a minute: a cascade.

Neither gut nor insulin know of glucose. So the insulin, a linear system, is moved by its exact exponential; the stomach takes two Runge-Kutta steps of one
variable; the gut decays exactly under what the stomach gives it; and glucose, smooth and slow, takes one Runge-Kutta step a minute. Between the parts the
*amounts* are kept, not the rates: what leaves the stomach in a step is what it lost, what reaches plasma is what the gut lost. Without that, a gut that
opens and shuts within a minute loses carbohydrate between the parts (0.19 mg/dL in the worst of thirty people; with it 0.006).

Written for one person; map it over people. Every state is then one row of a batch, contiguous in memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gemel.twins.metabolic._gut import Emptying, appearance
from gemel.twins.metabolic.t1d._uva_padova import UvaPadovaState, glucose_flows, insulin_flows

__all__ = ["Cascade", "cascade", "minute"]

FEEDS = {
    "Isc1": ("Isc1",),
    "Isc2": ("Isc1", "Isc2"),
    "Ip": ("Isc1", "Isc2", "Ip", "Il"),
    "Il": ("Isc1", "Isc2", "Ip", "Il"),
    "X": ("Isc1", "Isc2", "Ip", "Il", "X"),
    "I1": ("Isc1", "Isc2", "Ip", "Il", "I1"),
    "Id": ("Isc1", "Isc2", "Ip", "Il", "I1", "Id"),
}
"""Which states of insulin each of them depends on: the entries of the exponential that are not zero."""
HALF = 0.5
"""Length of a step of the stomach, minutes."""
QUADRATURE = 8
"""Points of the Gauss-Legendre rule for the gut's exponential weights."""
TERMS = 14
"""Terms of the exponential's series: rates of insulin stay below 1 per minute, which leaves 1e-12."""


class Cascade(eqx.Module):
    """What a minute needs beside the parameters, computed once per person.

    ``kept[i][j]``, ``given[i]`` and ``constant[i]`` make each state of insulin after a minute from those before, the insulin given and the rest.
    ``solid_kept`` and ``solid_eaten`` carry the solid content of the stomach over a quarter of a minute, ``gut_kept`` and ``gut_weights`` the gut over half.
    """

    kept: dict[str, dict[str, Array]]
    given: dict[str, Array]
    constant: dict[str, Array]
    solid_kept: Array
    solid_eaten: Array
    gut_kept: Array
    gut_weights: tuple[Array, Array, Array]


def _insulin(p: Mapping[str, Array]) -> tuple[dict[str, dict[str, Array]], dict[str, Array], dict[str, Array]]:
    """Return the exact solution of the insulin system over a minute, read off its equations: the Taylor series of its exponential, column by column."""
    names, zero = list(FEEDS), jnp.zeros_like(p["BW"])

    def flows(x: dict[str, Array]) -> dict[str, Array]:
        """Derivative of the seven states, of the insulin given, and of the number one, which carries what is constant."""
        state = UvaPadovaState(solid=zero, liquid=zero, gut=zero, Gp=zero, Gt=zero, Gs=zero, **{n: x[n] for n in names})
        return {**insulin_flows(state, x["given"], {**p, "Ib": p["Ib"] * x["one"]}), "given": zero, "one": zero}

    def column(start: dict[str, Array]) -> dict[str, Array]:
        def add(carry, k):
            total, term = carry
            term = jax.tree.map(lambda a: a / k, flows(term))
            return (jax.tree.map(jnp.add, total, term), term), None

        return jax.lax.scan(add, (start, start), jnp.arange(1.0, TERMS + 1.0))[0][0]

    rows = [*names, "given", "one"]
    unit = {n: jnp.eye(len(rows))[i] for i, n in enumerate(rows)}
    solved = jax.vmap(column)(unit)
    column_of = {n: i for i, n in enumerate(rows)}
    kept = {i: {j: solved[i][column_of[j]] for j in FEEDS[i]} for i in names}
    return kept, {n: solved[n][column_of["given"]] for n in names}, {n: solved[n][column_of["one"]] for n in names}


def cascade(p: Mapping[str, Array]) -> Cascade:
    """Return what :func:`minute` needs of a person's :func:`completed` parameters."""
    kept, given, constant = _insulin(p)
    solid = jnp.exp(-0.5 * HALF * p["kmax"])
    node, weight = np.polynomial.legendre.leggauss(QUADRATURE)
    node, weight = 0.5 * (node + 1.0), 0.5 * weight
    left = jnp.exp(-p["kabs"] * HALF * (1.0 - node[:, None])) * HALF * weight[:, None]
    lagrange = np.stack([(2 * node - 1) * (node - 1), 4 * node * (1 - node), node * (2 * node - 1)], axis=1)
    weights = (left * lagrange).sum(axis=0)
    return Cascade(
        kept, given, constant, solid, (1.0 - solid) / p["kmax"], jnp.exp(-p["kabs"] * HALF), (weights[0], weights[1], weights[2])
    )


def _stomach(solid: Array, whole: Array, emptied: Array, eaten: Array, emptying: Emptying, c: Cascade):
    """Carry the solid and the whole content of the stomach over half a minute.

    The solid part is exact, which leaves one equation for the whole content. ``emptied`` is the rate at which it empties now.

    Returns
    -------
    Solid and whole content, the rate at the end, and the rate in the middle that makes Simpson's rule give the amount that left.
    """

    def leaving(whole: Array, solid: Array) -> Array:
        return emptying.rate(whole) * (whole - solid)

    middle = c.solid_kept * solid + c.solid_eaten * eaten
    last = c.solid_kept * middle + c.solid_eaten * eaten
    k1 = eaten - emptied
    k2 = eaten - leaving(whole + 0.5 * HALF * k1, middle)
    k3 = eaten - leaving(whole + 0.5 * HALF * k2, middle)
    k4 = eaten - leaving(whole + HALF * k3, last)
    change = (HALF / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)
    after = leaving(whole + change, last)
    return last, whole + change, after, 1.5 * (eaten - change * (1.0 / HALF)) - 0.25 * (emptied + after)


def minute(
    s: UvaPadovaState, inputs: tuple[Array, Array, Array], p: Mapping[str, Array], c: Cascade, *, unannounced: Array | float = 0.0
) -> tuple[UvaPadovaState, Array]:
    """Carry a state over one minute.

    Parameters
    ----------
    s : state at the start.
    inputs : insulin pmol/kg/min, carbohydrate eaten mg/min, amount of the meal mg, as for :func:`._uva_padova.derivative`.
    p, c : completed parameters, and :func:`cascade` of them.
    unannounced : further glucose that appears in plasma, mg/kg/min.

    Returns
    -------
    State after a minute, and carbohydrate absorbed in it, mg.
    """
    insulin, eaten, meal = inputs
    now = {n: getattr(s, n) for n in FEEDS}
    then = {i: sum((c.kept[i][j] * now[j] for j in FEEDS[i]), c.given[i] * insulin + c.constant[i]) for i in FEEDS}
    half = {n: _between(now[n], then[n], *(_slope(n, x, p) for x in (now, then))) for n in ("X", "Id")}

    solid, whole, gut = s.solid, s.solid + s.liquid, s.gut
    emptying = Emptying.of(meal, kmin=p["kmin"], kmax=p["kmax"], b=p["b"], d=p["d"])
    rate = emptying.rate(whole) * s.liquid
    for _ in range(2):
        solid, whole, after, middle = _stomach(solid, whole, rate, eaten, emptying, c)
        gut = c.gut_kept * gut + c.gut_weights[0] * rate + c.gut_weights[1] * middle + c.gut_weights[2] * after
        rate = after
    absorbed = s.solid + s.liquid + s.gut + eaten - whole - gut

    first, last = (appearance(x, kabs=p["kabs"], f=p["f"], weight=p["BW"]) for x in (s.gut, gut))
    middle = absorbed * (1.5 * p["f"] / p["BW"]) - 0.25 * (first + last)
    first, middle, last = first + unannounced, middle + unannounced, last + unannounced
    g = (s.Gp, s.Gt, s.Gs)
    k1 = glucose_flows(*g, rate=first, X=now["X"], Id=now["Id"], p=p)
    k2 = glucose_flows(*_ahead(g, 0.5, k1), rate=middle, X=half["X"], Id=half["Id"], p=p)
    k3 = glucose_flows(*_ahead(g, 0.5, k2), rate=middle, X=half["X"], Id=half["Id"], p=p)
    k4 = glucose_flows(*_ahead(g, 1.0, k3), rate=last, X=then["X"], Id=then["Id"], p=p)
    Gp, Gt, Gs = (x + (1.0 / 6.0) * (a + 2.0 * (b + d) + e) for x, a, b, d, e in zip(g, k1, k2, k3, k4, strict=True))
    return UvaPadovaState(solid=solid, liquid=whole - solid, gut=gut, Gp=Gp, Gt=Gt, Gs=Gs, **then), absorbed


def _ahead(x: tuple[Array, ...], by: float, slope: tuple[Array, ...]) -> list[Array]:
    return [a + by * k for a, k in zip(x, slope, strict=True)]


def _slope(name: str, insulin: Mapping[str, Array], p: Mapping[str, Array]) -> Array:
    """Return the derivative of ``X`` or ``Id``, neither of which feels at once what is given."""
    if name == "X":
        return p["p2u"] * (insulin["Ip"] * (1.0 / p["Vi"]) - p["Ib"] - insulin["X"])
    return p["ki"] * (insulin["I1"] - insulin["Id"])


def _between(first: Array, last: Array, slope: Array, final: Array) -> Array:
    """Return the value half a minute in, by the cubic through both ends."""
    return 0.5 * (first + last) + 0.125 * (slope - final)
