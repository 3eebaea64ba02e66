"""Compile once: buckets, counters, and a cache that a second process only reads."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemel.core.errors import ValueRangeError
from gemel.engine.compile import bucket, compilations, counting


@given(n=st.integers(0, 10**6), smallest=st.integers(1, 64))
def test_bucket_holds_its_content_and_wastes_at_most_half(n, smallest):
    size = bucket(n, smallest)
    assert size >= max(n, smallest)
    assert size == smallest or size < 2 * n
    assert bucket(size, smallest) == size


def test_bucket_refuses_nonsense():
    with pytest.raises(ValueRangeError):
        bucket(-1)


def test_counting_counts_programs_once():
    function = jax.jit(lambda x: jnp.sin(x) * 3.25)
    x = jnp.ones(7)
    before = compilations()
    with counting() as first:
        function(x)
    with counting() as second:
        function(x)
    assert (first.count, second.count) == (1, 0)
    assert first.seconds > 0
    assert compilations() == before + 1


PROGRAM = """
import sys
from gemel.engine.compile import compilations, use_cache
path = use_cache(sys.argv[1])
assert path.stat().st_mode & 0o777 == 0o700
import jax
from gemel.engine.infer.laplace import Laplace
from gemel.engine.infer.nuts import Nuts
from gemel.engine.problems import Decay
keys = jax.random.split(jax.random.key(0), 3)
laplace = Laplace(starts=4, draws=50).run_batch([Decay.simulated(i) for i in range(3)], keys=keys)
nuts = Nuts(warmup=20, draws=20, chunk=20, until_ess=None, retries=()).run(Decay.simulated(0), key=keys[0])
print(float(nuts.posterior.draws.sum()), laplace[0].log_evidence, file=sys.stderr)
print(compilations())
"""


@pytest.mark.slow
def test_a_second_process_reads_the_cache_and_writes_nothing(tmp_path):
    """A Laplace batch and a NUTS chunk: no host callback keeps them out of the cache."""
    folder = tmp_path / "cache"

    def run():
        done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        entries = {p.name for p in folder.iterdir() if not p.name.endswith("-atime")}
        return int(done.stdout), done.stderr.strip().splitlines()[-1], entries

    programs, first, written = run()
    _, second, after = run()
    print(f"programs: {programs}, entries: {len(written)}")
    assert written
    assert after == written
    assert first == second  # the same numbers from a loaded program
