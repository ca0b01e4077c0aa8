"""The Xet CAS of the test Hub: xorbs, shards, and files put together from them."""

import re
import struct
import time

from tests.hub_server.handler import Err, route


def xet_hex(raw):
    return "".join(raw[i : i + 8][::-1].hex() for i in range(0, 32, 8))


def chunk_offsets(xorb):
    """Byte offset of each chunk of a serialized xorb (8-byte header: version, 3 length, scheme, 3 unpacked), and the end."""
    at = [0]
    while at[-1] < len(xorb) and xorb[at[-1] : at[-1] + 6] != b"XETBLO":
        at.append(at[-1] + 8 + int.from_bytes(xorb[at[-1] + 1 : at[-1] + 4], "little"))
    return at


@route("hub", "GET", "/api/{kind}/{repo}/xet-(?P<what>read|write)-token/{rev}")
def xet_token(h, kind, ns, name, what, rev):
    h.repo(kind, ns, name, write=what == "write")
    token, exp = h.hub.sign("xet", what), int(time.time()) + 3600
    h.send(
        obj={"accessToken": token, "exp": exp, "casUrl": h.hub.storage},
        headers={"X-Xet-Cas-Url": h.hub.storage, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": exp},
    )


def xet_auth(h, *scopes):
    if h.token not in [h.hub.sign("xet", s) for s in scopes]:
        raise Err(401, "no valid Xet token")


@route("storage", "POST", r"/v1/xorbs/default/(?P<xorb>\w{64})")
def xorb_put(h, xorb):
    xet_auth(h, "write")
    body, file = h.body(), h.hub.root / "xorbs" / xorb
    new = not file.exists()
    file.write_bytes(body)
    h.send(obj={"was_inserted": new})


@route("storage", "POST", "/v1/shards")
def shard_put(h):
    xet_auth(h, "write")
    b, at = h.body(), 48
    while True:  # file sections: header, terms, [verification], [sha256]; records of 48 bytes
        raw, flags, n = struct.unpack_from("<32sII", b, at)
        at += 48
        if raw == b"\xff" * 32:
            break
        terms = [(xet_hex(t[0]), *t[2:]) for t in (struct.unpack_from("<32s4I", b, at + 48 * i) for i in range(n))]
        if any(not (h.hub.root / "xorbs" / t[0]).exists() for t in terms):
            raise Err(400, "shard refers to a xorb that was not uploaded")
        at += 48 * n * (2 if flags >> 31 else 1)
        h.hub.xet_files[xet_hex(raw)] = {"size": sum(t[1] for t in terms), "terms": terms}
        if flags >> 30 & 1:
            h.hub.xet_of_sha[xet_hex(b[at : at + 32])] = xet_hex(raw)
            at += 48
    h.send(obj={"result": 1})


@route("storage", "GET", r"/v1/reconstructions/(?P<file>\w{64})")
def reconstruct(h, file):
    xet_auth(h, "read", "write")
    if file not in h.hub.xet_files:
        raise Err(404, "no such file")
    size, m = h.hub.xet_files[file]["size"], re.match(r"bytes=(\d+)-(\d*)", h.headers.get("Range", "bytes=0-"))
    start, end, pos, skip, terms, fetch = int(m[1]), min(int(m[2] or size), size - 1), 0, 0, [], {}
    if start >= size:
        raise Err(416, "Range Not Satisfiable")
    for xorb, n, c0, c1 in h.hub.xet_files[file]["terms"]:
        if pos <= end and pos + n > start:
            skip = skip if terms else start - pos
            at = chunk_offsets((h.hub.root / "xorbs" / xorb).read_bytes())
            terms.append({"hash": xorb, "unpacked_length": n, "range": {"start": c0, "end": c1}})
            fetch.setdefault(xorb, []).append(
                {
                    "range": {"start": c0, "end": c1},
                    "url": h.hub.signed("GET", f"/xorbs/{xorb}"),
                    "url_range": {"start": at[c0], "end": at[c1] - 1},
                }
            )
        pos += n
    h.send(obj={"offset_into_first_range": skip, "terms": terms, "fetch_info": fetch})


@route("storage", "GET", r"/xorbs/(?P<xorb>\w{64})")
def xorb_get(h, xorb):
    h.check_signature()
    h.send(file=h.hub.root / "xorbs" / xorb)
