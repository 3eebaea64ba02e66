"""What a world is: it draws patients, and their outcomes under the arm that each is given."""

from __future__ import annotations

import abc

import numpy as np

from gemel.trials.simulate.batch import Batch, Enrolment

__all__ = ["World"]


class World(abc.ABC):
    """Draws many trials at once. Patients are drawn anew for every trial; nobody knows anybody."""

    @property
    @abc.abstractmethod
    def effect(self) -> float:
        """Return the estimand: what the analyses estimate, in expectation over the world's patients."""

    @abc.abstractmethod
    def draw(self, enrolment: Enrolment, rng: np.random.Generator) -> Batch:
        """Enrol these patients."""

    @abc.abstractmethod
    def null(self) -> World:
        """Return the same world where the treatment does nothing on average."""
