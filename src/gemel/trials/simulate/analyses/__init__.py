"""How a simulated trial is read: one analysis per file, many trials at once."""
