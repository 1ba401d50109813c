"""The load generator: an open-loop schedule, sent by a process of its own."""
