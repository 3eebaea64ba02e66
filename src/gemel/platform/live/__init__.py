"""Live twins: what the process that owns the numeric stack does with a store. Nothing here is imported by the process that answers requests."""
