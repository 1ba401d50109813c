"""The platform's commands: one serves it, the others call it."""
