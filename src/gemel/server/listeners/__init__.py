"""Listeners: sockets that devices and hospitals speak to. What is received is committed first and acknowledged then, never the other way round."""

from gemel.server.listeners.mllp import Arrival, MllpListener, Verdict

__all__ = ["Arrival", "MllpListener", "Verdict"]
