"""Streams: what arrives faster than it can be worked on, from clocks that are wrong, in any order; and twins that follow it.

Nothing here keeps what matters in memory: queues, leases and checkpoints lie in the store, and what is lost with a process is found again there.
"""
