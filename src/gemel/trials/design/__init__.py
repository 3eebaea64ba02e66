"""Designs with looks: boundaries and spending, what an interim says, what may be said after a stop, sizes looked at again, enrichment, allocation."""
