"""Designs with looks before the end: boundaries and how the error is spent."""
