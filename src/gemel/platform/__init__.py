"""Keeping and guarding data and twins."""
