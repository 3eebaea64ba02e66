"""Whom it serves alike: audits by subgroup, labels that stand for others, remedies and their price."""
