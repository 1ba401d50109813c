"""Times the small parts on their own, each beside its floor (pytest-benchmark; nox -s micro)."""
