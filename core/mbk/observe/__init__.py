"""Counters, metrics and traces of runs."""
