"""Methods of inference by the names that the command line knows: those of :mod:`gemel.engine.methods`."""

from gemel.engine.methods import NAMES, classes_of, method

__all__ = ["NAMES", "classes_of", "method"]
