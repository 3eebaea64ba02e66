"""Adapters: what each kind of message says, for :mod:`gemel.platform.intake`. The formats themselves are read in :mod:`gemel.interop`."""
