"""Measures flows: loads, trials, floors, and the run directory they are kept in."""
