"""Adjustment for baseline covariates: one method per file, all of them returning a :class:`gemel.trials.adjust.base.Result`."""
