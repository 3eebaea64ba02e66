"""Watching a released twin: charts with run lengths, drift, incidents, reports."""
