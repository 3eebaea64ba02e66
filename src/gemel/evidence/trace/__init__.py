"""Requirements, hazards, software and tests: the matrix and its orphans."""
