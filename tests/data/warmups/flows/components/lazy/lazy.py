"""Derives a key for each of 30 tenants when it first sees one; imports what it needs in the first call."""
CACHE = {}


def process(msg, cfg, snapshot):
    """Fill the cache in the first 30 messages, read it afterwards."""
    import decimal, hashlib, http.client, xml.dom.minidom  # noqa
    tenant = msg["body"]["sequence"] % 30
    if tenant not in CACHE:
        CACHE[tenant] = hashlib.pbkdf2_hmac("sha256", b"x", b"%d" % tenant, 8000)
    return {"body": msg["body"]}
