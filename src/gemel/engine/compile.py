"""Compile once: persistent cache, bucket lengths, and a count of what was compiled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
from jax import monitoring

from gemel.core.errors import ValueRangeError

__all__ = ["Counter", "bucket", "compilations", "counting", "use_cache"]

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


@dataclass
class Counter:
    """How many programs were compiled or loaded from the cache, and the seconds that took."""

    count: int = 0
    seconds: float = 0.0


_total = Counter()


def _listen(event: str, duration: float, **_: object) -> None:
    if event == _COMPILE_EVENT:
        _total.count += 1
        _total.seconds += duration


monitoring.register_event_duration_secs_listener(_listen)


def compilations() -> int:
    """Return how many programs this process has compiled (or loaded from the cache) since this module was imported."""
    return _total.count


@contextlib.contextmanager
def counting() -> Iterator[Counter]:
    """Count the programs compiled inside the block.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> double = jax.jit(lambda x: 2 * x)
    >>> one = double(jnp.ones(3))
    >>> with counting() as counter:
    ...     two = double(one)
    >>> counter.count
    0
    """
    count, seconds = _total.count, _total.seconds
    counter = Counter()
    try:
        yield counter
    finally:
        counter.count, counter.seconds = _total.count - count, _total.seconds - seconds


def use_cache(path: str | Path) -> Path:
    """Keep compiled programs in this folder, readable and writable by its owner alone.

    A writable cache is arbitrary code execution: the folder gets mode 0700. Call before the first compilation; not on network file systems.

    Parameters
    ----------
    path : a folder; it is made when missing.

    Returns
    -------
    The folder.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path


def bucket(n: int, smallest: int = 32) -> int:
    """Return the bucket length for ``n``: ``smallest`` doubled as often as is needed.

    Examples
    --------
    >>> bucket(5), bucket(32), bucket(33), bucket(3, smallest=1)
    (32, 32, 64, 4)
    """
    if n < 0 or smallest < 1:
        raise ValueRangeError("a bucket needs a count and a smallest length", seen=(n, smallest), expected="n >= 0, smallest >= 1")
    size = smallest
    while size < n:
        size *= 2
    return size
