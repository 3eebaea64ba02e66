"""Bijections from unconstrained space, each with its log-Jacobian."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["AbstractBijector", "Identity", "Log", "Logit", "ordered", "ordered_inverse", "simplex", "simplex_inverse"]


class AbstractBijector(eqx.Module):
    """A smooth one-to-one map of the real line onto the support of one parameter."""

    @abc.abstractmethod
    def constrain(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Map unconstrained ``z`` to the support."""

    @abc.abstractmethod
    def unconstrain(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Map a value of the support to the real line."""

    @abc.abstractmethod
    def log_jacobian(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        """Return ``log |dx/dz|``."""


class Identity(AbstractBijector):
    """The whole real line."""

    def constrain(self, z):
        """Return ``z``."""
        return z

    def unconstrain(self, x):
        """Return ``x``."""
        return x

    def log_jacobian(self, z):
        """Return zero."""
        return jnp.zeros_like(z)


class Log(AbstractBijector):
    """Values above ``lower``: ``x = lower + exp(z)``."""

    lower: float = eqx.field(static=True, default=0.0)

    def constrain(self, z):
        """Return ``lower + exp(z)``."""
        return self.lower + jnp.exp(z)

    def unconstrain(self, x):
        """Return ``log(x - lower)``."""
        return jnp.log(x - self.lower)

    def log_jacobian(self, z):
        """Return ``z``."""
        return z


class Logit(AbstractBijector):
    """Values between two bounds: ``x = a + (b - a) s(z)``."""

    lower: float = eqx.field(static=True, default=0.0)
    upper: float = eqx.field(static=True, default=1.0)

    def constrain(self, z):
        """Return ``a + (b - a) s(z)``."""
        return self.lower + (self.upper - self.lower) * jax.nn.sigmoid(z)

    def unconstrain(self, x):
        """Return ``logit((x - a)/(b - a))``."""
        u = (x - self.lower) / (self.upper - self.lower)
        return jnp.log(u) - jnp.log1p(-u)

    def log_jacobian(self, z):
        """Return ``log(b - a) + log s(z) + log(1 - s(z))``."""
        return jnp.log(self.upper - self.lower) + jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z)


def ordered(z: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Map to increasing values, as Stan does: the first as it is, each next one by a positive step.

    Returns
    -------
    The values and the log-Jacobian.
    """
    return jnp.cumsum(jnp.concatenate([z[:1], jnp.exp(z[1:])])), jnp.sum(z[1:])


def ordered_inverse(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """Undo :func:`ordered`."""
    return jnp.concatenate([x[:1], jnp.log(jnp.diff(x))])


def simplex(z: Float[Array, " n-1"]) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Map to positive values that sum to one by stick breaking (Stan reference manual, 'simplex').

    Returns
    -------
    The values and the log-Jacobian.
    """
    k = z.shape[0]
    broken = jax.nn.sigmoid(z - jnp.log(jnp.arange(k, 0, -1, dtype=z.dtype)))
    left = jnp.concatenate([jnp.ones(1, z.dtype), jnp.cumprod(1 - broken)])
    x = jnp.concatenate([broken * left[:-1], left[-1:]])
    return x, jnp.sum(jnp.log(broken) + jnp.log1p(-broken) + jnp.log(left[:-1]))


def simplex_inverse(x: Float[Array, " n"]) -> Float[Array, " n-1"]:
    """Undo :func:`simplex`."""
    k = x.shape[0] - 1
    left = 1 - jnp.concatenate([jnp.zeros(1, x.dtype), jnp.cumsum(x[:-1])[:-1]])
    broken = x[:-1] / left
    return jnp.log(broken) - jnp.log1p(-broken) + jnp.log(jnp.arange(k, 0, -1, dtype=x.dtype))
