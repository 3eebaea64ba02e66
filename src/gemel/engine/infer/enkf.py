"""Ensemble Kalman analysis: symmetric square root, perturbed observations, and local (LETKF).

Each analysis takes an ensemble of rows (parameters and states side by side), what the rows predict for the channels, and what was
observed. Exact only for linear-Gaussian problems as the ensemble grows; inflation and localisation radius are tuning constants and
belong in the lineage.
A masked channel changes no bit, whatever stands in it; with every channel masked the ensemble comes back as it was, without inflation.

References
----------
Sakov and Oke 2008, doi:10.1175/2007MWR2021.1 (symmetric transform, mean-preserving rotation).
Hunt, Kostelich and Szunyogh 2007, doi:10.1016/j.physd.2006.11.008 (local transform).
Burgers, van Leeuwen and Evensen 1998 (perturbed observations).
Gaspari and Cohn 1999, doi:10.1002/qj.49712555417, eq. 4.10 (taper).
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from gemel.core.errors import InferenceError

__all__ = ["EnKF", "analyse_local", "analyse_perturbed", "analyse_sqrt", "gaspari_cohn", "random_rotation"]


def _whiten(
    predicted: Float[Array, "member p"], observed: Float[Array, " p"], noise: Float[Array, "*shape"], mask: Bool[Array, " p"]
) -> tuple[Float[Array, "member p"], Float[Array, " p"], Float[Array, " p"] | Float[Array, "p p"]]:
    """Observed anomalies and mean innovation in units of the noise (zero where masked), and the square root of the noise."""
    present = jnp.where(mask, predicted, 0.0)
    mean = jnp.mean(present, axis=0)
    anomalies, innovation = present - mean, jnp.where(mask, jnp.where(mask, observed, 0.0) - mean, 0.0)
    if noise.ndim == 1:
        scale = jnp.sqrt(jnp.where(mask, noise, 1.0))
        return anomalies / scale, innovation / scale, scale
    both = mask[:, None] & mask[None, :]
    factor = jnp.linalg.cholesky(jnp.where(both, noise, jnp.eye(mask.shape[0], dtype=noise.dtype)))
    return solve_triangular(factor, anomalies.T, lower=True).T, solve_triangular(factor, innovation, lower=True), factor


def _transform(
    white: Float[Array, "member p"], innovation: Float[Array, " p"]
) -> tuple[Float[Array, " member"], Float[Array, "member member"]]:
    """Mean weights and symmetric transform in the space of members: ``C = Y Y' + (N-1) I = V diag(w) V'``."""
    size = white.shape[0]
    value, vector = jnp.linalg.eigh(white @ white.T + (size - 1) * jnp.eye(size, dtype=white.dtype))
    value = jnp.maximum(value, size - 1)  # the smallest eigenvalue is N - 1 exactly: rounding may not go below
    weights = vector @ ((vector.T @ (white @ innovation)) / value)
    return weights, (vector * jnp.sqrt((size - 1) / value)) @ vector.T


def _transformed(
    white: Float[Array, "member p"], innovation: Float[Array, " p"], anomalies: Float[Array, "member m"]
) -> tuple[Float[Array, " m"], Float[Array, "member m"]]:
    """Increment of the mean and transformed anomalies, computed on the smaller side.

    With fewer channels than members the same symmetric transform is ``I - Y B Y'`` with ``B`` of the size of the channels:
    for an eigenvalue ``s`` of ``Y'Y`` and ``q = sqrt(1 + s/(N-1))`` its eigenvalue is ``1 / ((N-1) q (1 + q))``.
    """
    size, channels = white.shape
    if channels >= size:
        weights, transform = _transform(white, innovation)
        return weights @ anomalies, transform @ anomalies
    value, vector = jnp.linalg.eigh(white.T @ white)
    value = jnp.maximum(value, 0.0)
    cross = white.T @ anomalies  # (p, m)
    mean = ((innovation @ vector) / (value + size - 1)) @ (vector.T @ cross)
    root = jnp.sqrt(1 + value / (size - 1))
    shrink = (vector / ((size - 1) * root * (1 + root))) @ (vector.T @ cross)
    return mean, anomalies - white @ shrink


def _gain(white: Float[Array, "member p"], anomalies: Float[Array, "member m"]) -> Float[Array, "p m"]:
    """Kalman gain on whitened channels, ``(Y'Y + (N-1) I)^-1 Y'A``, on the smaller side.

    By eigenvalues: batched triangular solves are a hundred times slower on a CPU in XLA.
    """
    size, channels = white.shape
    wide = channels >= size
    value, vector = jnp.linalg.eigh(white @ white.T if wide else white.T @ white)
    value = jnp.maximum(value, 0.0) + size - 1
    if wide:
        return white.T @ (vector @ ((vector.T @ anomalies) / value[:, None]))
    return vector @ ((vector.T @ (white.T @ anomalies)) / value[:, None])


def random_rotation(size: int, *, key: PRNGKeyArray) -> Float[Array, "member member"]:
    """Draw an orthogonal matrix that fixes the vector of ones, uniform among those.

    Multiplying anomalies by it changes neither mean nor covariance of the ensemble, and breaks up outliers.
    """
    square, triangle = jnp.linalg.qr(jax.random.normal(key, (size - 1, size - 1)))
    square = square * jnp.where(jnp.diagonal(triangle) < 0, -1.0, 1.0)
    axis = jnp.full(size, -1 / jnp.sqrt(size)).at[0].add(1.0)  # reflects the first axis onto the ones
    axis = axis / jnp.linalg.norm(axis)
    inner = jnp.zeros((size, size)).at[0, 0].set(1.0).at[1:, 1:].set(square)
    inner = inner - 2 * jnp.outer(axis, axis @ inner)
    return inner - 2 * jnp.outer(inner @ axis, axis)


def _assemble(ensemble, mean, anomalies, mask, inflation, rotate, key):
    """Put mean and anomalies together, inflated and rotated; leave the ensemble as it is when nothing was observed."""
    if rotate:
        anomalies = random_rotation(ensemble.shape[0], key=key) @ anomalies
    return jnp.where(jnp.any(mask), mean + inflation * anomalies, ensemble)


def analyse_sqrt(
    ensemble: Float[Array, "member m"],
    predicted: Float[Array, "member p"],
    observed: Float[Array, " p"],
    noise: Float[Array, "*shape"],
    mask: Bool[Array, " p"],
    *,
    inflation: float | Float[Array, ""] = 1.0,
    rotate: bool = False,
    key: PRNGKeyArray | None = None,
) -> Float[Array, "member m"]:
    """Analyse by the symmetric square root: ``xbar + weights A + inflation U T A``.

    Parameters
    ----------
    ensemble : (member, m) rows of parameters and states.
    predicted : (member, p) what each row predicts for each channel, in the unit of the channel.
    observed : (p,).
    noise : (p,) variances, or (p, p) covariance.
    mask : (p,) True where a value is present.
    inflation : factor on the analysed anomalies.
    rotate : apply a random rotation that fixes the mean (needs ``key``).

    Returns
    -------
    (member, m) analysed ensemble. Before inflation its mean and covariance are those of the Kalman filter with the ensemble's own
    covariance.
    """
    mask = jnp.asarray(mask, bool)
    mean = jnp.mean(ensemble, axis=0)
    white, innovation, _ = _whiten(predicted, observed, noise, mask)
    increment, anomalies = _transformed(white, innovation, ensemble - mean)
    return _assemble(ensemble, mean + increment, anomalies, mask, inflation, rotate, key)


def analyse_perturbed(
    ensemble: Float[Array, "member m"],
    predicted: Float[Array, "member p"],
    observed: Float[Array, " p"],
    noise: Float[Array, "*shape"],
    mask: Bool[Array, " p"],
    *,
    inflation: float | Float[Array, ""] = 1.0,
    rotate: bool = False,
    key: PRNGKeyArray,
) -> Float[Array, "member m"]:
    """Analyse with perturbed observations; the perturbations are centred, so that the mean is the Kalman filter's.

    Parameters as in :func:`analyse_sqrt`. The perturbations of a channel depend on ``key`` and its place only, not on how many
    channels there are.
    """
    mask = jnp.asarray(mask, bool)
    size, channels = predicted.shape
    white, innovation, _ = _whiten(predicted, observed, noise, mask)
    mean = jnp.mean(ensemble, axis=0)
    anomalies = ensemble - mean
    noise_key, rotation_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    draws = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(noise_key, i), (size,)), out_axes=1)(jnp.arange(channels))
    draws = jnp.where(mask, draws - jnp.mean(draws, axis=0), 0.0) * jnp.sqrt(size / (size - 1))
    gain = _gain(white, anomalies)
    return _assemble(ensemble, mean + innovation @ gain, anomalies - (draws + white) @ gain, mask, inflation, rotate, rotation_key)


def gaspari_cohn(distance: Float[Array, "*shape"], radius: float | Float[Array, ""]) -> Float[Array, "*shape"]:
    """Taper observations with distance: 1 at 0, falling like a Gaussian of standard deviation ``radius``, 0 beyond 3.64 times ``radius``.

    Parameters
    ----------
    distance : any shape, any unit.
    radius : same unit. The half-width of the fifth-order function is 1.82 radius (about sqrt(10/3): the curvature at 0 is that of the
        Gaussian), the scaling of DAPPER and of Sakov's code.
    """
    r = distance / (1.82 * radius)
    near = jnp.minimum(r, 1.0)
    far = jnp.clip(r, 1.0, 2.0)
    inside = 1 + near**2 * (-(near**3) / 4 + near**2 / 2 + 5 * near / 8 - 5 / 3)
    outside = far**2 * (far**3 / 12 - far**2 / 2 + 5 * far / 8 + 5 / 3) - 5 * far + 4 - 2 / (3 * far)
    return jnp.where(r <= 1, inside, jnp.where(r < 2, jnp.maximum(outside, 0.0), 0.0))


def analyse_local(
    ensemble: Float[Array, "member m"],
    predicted: Float[Array, "member p"],
    observed: Float[Array, " p"],
    noise: Float[Array, " p"],
    mask: Bool[Array, " p"],
    *,
    distance: Float[Array, "m p"],
    radius: float | Float[Array, ""],
    inflation: float | Float[Array, ""] = 1.0,
    rotate: bool = False,
    key: PRNGKeyArray | None = None,
) -> Float[Array, "member m"]:
    """Analyse each column of the ensemble with the observations near it (LETKF).

    Parameters
    ----------
    ensemble, predicted, observed, mask, inflation, rotate, key : as in :func:`analyse_sqrt`.
    noise : (p,) variances; correlated noise has no local form.
    distance : (m, p) from each column to each channel; 0 where a column sees a channel fully, ``inf`` where it must not.
    radius : localisation radius in the unit of ``distance``; see :func:`gaspari_cohn`.
    """
    if noise.ndim != 1:
        raise InferenceError("the local analysis needs independent noise", seen=f"shape {noise.shape}", expected="(channel,) variances")
    mask = jnp.asarray(mask, bool)
    white, innovation, _ = _whiten(predicted, observed, noise, mask)
    mean = jnp.mean(ensemble, axis=0)
    root = jnp.sqrt(gaspari_cohn(distance, radius))

    def site(column, taper):
        weights, transform = _transform(white * taper, innovation * taper)
        return weights @ column, transform @ column

    increment, anomalies = jax.vmap(site, in_axes=(1, 0), out_axes=(0, 1))(ensemble - mean, root)
    return _assemble(ensemble, mean + increment, anomalies, mask, inflation, rotate, key)


class EnKF(eqx.Module):
    """Settings of an ensemble Kalman filter; :meth:`analyse` is its analysis step.

    Parameters
    ----------
    kind : ``"sqrt"``, ``"perturbed"`` or ``"letkf"``.
    size : members.
    inflation : factor on analysed anomalies, 1 for none.
    rotate : random rotation that fixes the mean, after each analysis.
    radius : localisation radius, needed by ``"letkf"`` only.
    """

    kind: Literal["sqrt", "perturbed", "letkf"] = eqx.field(static=True, default="sqrt")
    size: int = eqx.field(static=True, default=64)
    inflation: float = eqx.field(static=True, default=1.0)
    rotate: bool = eqx.field(static=True, default=False)
    radius: float | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.kind not in ("sqrt", "perturbed", "letkf"):
            raise InferenceError("unknown kind of ensemble Kalman filter", seen=self.kind, expected="sqrt, perturbed or letkf")
        if self.size < 2 or not self.inflation > 0:
            raise InferenceError("an ensemble needs two members and a positive inflation", seen=(self.size, self.inflation))
        if self.kind == "letkf" and not (self.radius or 0) > 0:
            raise InferenceError("the local filter needs a localisation radius", seen=self.radius, expected="a positive number")

    @property
    def name(self) -> str:
        """Short name, as the command line knows it."""
        return f"enkf-{self.kind}"

    @property
    def validity(self) -> str:
        """When the result is exact, and when it is not."""
        local = f", localisation radius {self.radius:g}" if self.radius else ""
        note = f"inflation {self.inflation:g}{local}{', rotated' if self.rotate else ''}"
        return f"approximate: exact only for linear-Gaussian problems as members (here {self.size}) grow; {note}"

    def analyse(self, ensemble, predicted, observed, noise, mask, *, key: PRNGKeyArray, distance=None) -> Float[Array, "member m"]:
        """Return the analysed ensemble; arguments as in :func:`analyse_sqrt` and, for ``"letkf"``, :func:`analyse_local`."""
        common = {"inflation": self.inflation, "rotate": self.rotate, "key": key}
        if self.kind == "sqrt":
            return analyse_sqrt(ensemble, predicted, observed, noise, mask, **common)
        if self.kind == "perturbed":
            return analyse_perturbed(ensemble, predicted, observed, noise, mask, **common)
        if distance is None:
            raise InferenceError("the local filter needs the distance of each column to each channel", expected="distance of shape (m, p)")
        return analyse_local(ensemble, predicted, observed, noise, mask, distance=distance, radius=self.radius, **common)
