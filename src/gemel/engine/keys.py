"""Named PRNG streams: keys are folded from names and identities, never from the order of calls."""

from __future__ import annotations

import hashlib

import jax
from jaxtyping import Array, PRNGKeyArray

__all__ = ["fold_time", "make_key", "stream"]


def make_key(seed: int) -> PRNGKeyArray:
    """Return a typed key from a seed."""
    return jax.random.key(seed)


def stream(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """Return the sub-stream of this name.

    Examples
    --------
    >>> k = make_key(0)
    >>> bool((jax.random.key_data(stream(k, "meal")) == jax.random.key_data(stream(k, "meal"))).all())
    True
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") & 0x7FFFFFFF
    return jax.random.fold_in(key, number)


def fold_time(key: PRNGKeyArray, index: Array | int) -> PRNGKeyArray:
    """Return the key of one absolute time index: the noise of an instant does not depend on when it was computed."""
    return jax.random.fold_in(key, index)
