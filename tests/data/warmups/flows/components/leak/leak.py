"""Remembers every message and looks through all of them for a duplicate: slower for ever."""
SEEN = []


def process(msg, cfg, snapshot):
    """Compare with everything seen."""
    body = msg["body"]
    for _ in range(400):
        SEEN.append({"sequence": body["sequence"], "key": str(body["sequence"]) * 3})
    found = sum(1 for entry in SEEN if entry["key"] == body["data"])
    return {"body": body} if not found else None
