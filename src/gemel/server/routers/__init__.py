"""Routes, one file for each surface: ``router(services)`` returns them."""
