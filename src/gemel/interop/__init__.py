"""Data in, results out: files and messages of devices, hospitals and studies. Imports ``core`` only."""
