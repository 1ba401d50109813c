"""Runs flows: the reference runtime that the rest of hopbench measures."""
