"""Renderings of the results: HTML, Markdown, JUnit, terminal."""
