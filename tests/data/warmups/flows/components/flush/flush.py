"""Collects messages; every 50th call sorts, packs and writes what it has, with the messages behind it waiting."""
import json
import os
import zlib

BUFFER = []


def process(msg, cfg, snapshot):
    """Buffer the message; flush when there are 50."""
    BUFFER.append(msg["body"])
    if len(BUFFER) == 50:
        rows = sorted((json.dumps(body) for body in BUFFER * 40), reverse=True)
        with open("/tmp/flush.bin", "wb") as file:
            for _ in range(8):
                file.write(zlib.compress("".join(rows).encode(), 6))
            os.fsync(file.fileno())
        BUFFER.clear()
    return {"body": msg["body"]}
