"""Files of the test Hub: addresses to download from, and the LFS store."""

import hashlib
import shutil
import tempfile
from urllib.parse import quote

from tests.hub_server.handler import Err, route


@route("hub", "GET", "/{web}{repo}/resolve/{rev}/(?P<path>.+)")
def resolve(h, kind, ns, name, rev, path):
    repo = h.repo(kind, ns, name)
    sha = repo.sha(rev)
    e = repo.entry(sha, path)
    head = {"X-Repo-Commit": sha}
    if "lfs" not in e:  # as the Hub: a relative redirect to an immutable address
        return h.send(
            307,
            headers={
                **head,
                "X-Linked-Etag": f'"{e["oid"]}"',
                "Location": f"/api/resolve-cache/{repo.kind}/{repo.id}/{sha}/{quote(path)}",
            },
        )
    oid = e["lfs"]["oid"]
    if xet := e.get("xetHash"):
        head |= {
            "X-Xet-Hash": xet,
            "Link": f'<{h.hub.url}/api/{repo.kind}/{repo.id}/xet-read-token/{sha}>; rel="xet-auth"',
        }
    h.send(
        302,
        headers={
            **head,
            "X-Linked-Etag": f'"{oid}"',
            "X-Linked-Size": e["size"],
            "Location": h.hub.signed("GET", f"/lfs/{oid}"),
        },
    )


@route("hub", "GET", "/api/resolve-cache/{kind}/{repo}/{rev}/(?P<path>.+)")
def resolve_cache(h, kind, ns, name, rev, path):
    repo = h.repo(kind, ns, name)
    oid = repo.entry(repo.sha(rev), path)["oid"]
    h.send(
        data=repo.git("cat-file", "blob", oid),
        headers={"ETag": f'"{oid}"', "X-Repo-Commit": rev, "Content-Type": "text/plain"},
    )


@route("hub", "POST", "/{web}{repo}.git/info/lfs/objects/(?P<what>batch|verify)")
def lfs_batch(h, kind, ns, name, what):
    b = h.json()
    repo = h.repo(kind, ns, name, write=True)
    if what == "verify":
        if h.hub.stored_size(b["oid"]) != b["size"]:
            raise Err(404, "LFS object is not there, or has another size")
        return h.send(obj={})

    def one(o):
        new = (
            {}
            if h.hub.stored_size(o["oid"]) is not None
            else {
                "actions": {
                    "upload": {"href": h.hub.signed("PUT", "/lfs/" + o["oid"])},
                    "verify": {"href": f"{h.hub.url}/{repo.web}.git/info/lfs/objects/verify"},
                }
            }
        )
        return {"oid": o["oid"], "size": o["size"], "authenticated": True, **new}

    h.send(
        obj={"transfer": "basic", "objects": [one(o) for o in b["objects"]]},
        headers={"Content-Type": "application/vnd.git-lfs+json"},
    )


@route("storage", "PUT", r"/lfs/(?P<oid>\w{64})")
def lfs_put(h, oid):
    h.check_signature()
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=h.hub.root) as f:
        for block in h.chunks():
            digest.update(block)
            f.write(block)
        if digest.hexdigest() != oid:
            raise Err(400, "BadDigest")
        f.flush()
        shutil.copyfile(f.name, h.hub.root / "lfs" / oid)
    h.send(headers={"ETag": f'"{oid}"'})


@route("storage", "GET", r"/lfs/(?P<oid>\w{64})")
def lfs_get(h, oid):
    h.check_signature()
    h.hub.materialize(oid)
    h.send(file=h.hub.root / "lfs" / oid, headers={"ETag": f'"{oid}"', "Content-Type": "application/octet-stream"})
