"""Where the patients of simulated trials come from: one world per file, many trials at once."""
