"""Says what to measure: scenarios, their files, and the claims that they decide."""
