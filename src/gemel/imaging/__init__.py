"""Pictures into geometry. Knows ``core`` only; writes no file."""
