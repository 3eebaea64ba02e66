"""What a world is: it draws patients, and their outcomes under the arm that each is given."""

from __future__ import annotations

import abc

import numpy as np

from gemel.trials.simulate.batch import Batch, Enrolment

__all__ = ["World", "given", "potential"]


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


def potential(world: World, patients: int, trials: int, rng: np.random.Generator) -> tuple[Batch, Batch]:
    """Draw the same patients under control and under treatment, for rules of allocation that look at them first.

    A world takes the same draws whatever the arm, so that the generator is set back in between.
    """
    before = rng.bit_generator.state
    control = world.draw(Enrolment(np.zeros(patients, np.int8), trials), rng)
    rng.bit_generator.state = before
    return control, world.draw(Enrolment(np.ones(patients, np.int8), trials), rng)


def given(both: tuple[Batch, Batch], arm: np.ndarray) -> Batch:
    """Return the trials in which each patient has the arm that he was given: (trial, patient)."""
    control, treated = both
    wide = arm[..., None] if control.outcome.ndim == 3 else arm
    observed = None
    if control.observed is not None and treated.observed is not None:
        observed = np.where(wide == 1, treated.observed, control.observed)
    return Batch(arm, control.covariates, np.where(wide == 1, treated.outcome, control.outcome), observed)
