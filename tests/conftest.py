"""Shared by all tests: this folder is on the path, so that tests can import its helpers (``_data``)."""
