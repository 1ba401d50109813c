"""Measures: runs scenarios, the floor beside them, and writes run directories."""
