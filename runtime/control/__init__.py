"""The inside of the platform: what runs one flow, and what becomes of its messages."""
