"""The metabolic room: one person's glucose, from minutes to hours."""
