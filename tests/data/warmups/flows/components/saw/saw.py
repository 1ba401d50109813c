"""Keeps a batch sorted and checksummed after every message, and starts a new one after 50."""
import json
import zlib

BATCH = []


def process(msg, cfg, snapshot):
    """Add to the batch: the cost grows with its size."""
    BATCH.append(msg["body"])
    for _ in range(24):
        text = json.dumps(sorted(BATCH, key=lambda body: -body["sequence"]))
        zlib.crc32(text.encode())
        zlib.compress(text.encode(), 1)
    if len(BATCH) == 50:
        BATCH.clear()
    return {"body": msg["body"]}
