"""Demonstrations: the main job, on a real person, from one command."""

from gemel.cli.demo.metabolic import demo

__all__ = ["demo"]
