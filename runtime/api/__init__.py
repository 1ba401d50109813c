"""The platform over HTTP: its operations, what components call, the webhook trigger."""
