"""Keeps its state in memory up to 90 entries, and from then on rewrites a file with every message."""
import json
import os
import zlib

STATE = {}


def process(msg, cfg, snapshot):
    """Remember the message; spill when memory's share is used up."""
    body = msg["body"]
    STATE[body["sequence"]] = body["data"]
    if len(STATE) > 90:
        for old in sorted(STATE)[:-90]:
            del STATE[old]
        packed = zlib.compress(json.dumps(STATE).encode() * 3, 6)
        with open("/tmp/spill.json", "wb") as file:
            file.write(packed)
            file.flush()
            os.fsync(file.fileno())
    return {"body": body}
