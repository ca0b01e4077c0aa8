"""The Hub's API: accounts, repositories, commits."""

import base64
import json
import re
import shutil
import subprocess
from fnmatch import fnmatch
from urllib.parse import parse_qs

import yaml

from tests.hub_server.handler import Err, route
from tests.hub_server.repository import LFS_PATTERNS, POINTER


@route("hub", "GET", "/api/whoami-v2")
def whoami(h):
    h.need_user()
    h.send(
        obj={
            "type": "user",
            "name": h.user,
            "fullname": h.user,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}},
        }
    )


@route("hub", "GET", "/api/agent-harnesses")
def harnesses(h):
    h.send(obj={"harnesses": {}})


@route("hub", "POST", "/api/repos/create")
def create(h):
    b = h.json()
    h.need_user()
    kind, ns = b.get("type", "model") + "s", b.get("organization") or h.user
    repo = h.hub.repo(kind, f"{ns}/{b['name']}")
    if ns != h.user:
        raise Err(403, f'You don\'t have the rights to create a {kind[:-1]} under the namespace "{ns}"')
    url = f"{h.hub.url}/{repo.web}"
    with h.hub.lock:
        if repo.path.exists():
            raise Err(409, f"You already created this {kind[:-1]} repo: {repo.id}", url=url)
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", repo.path], check=True)
        if b.get("visibility") == "private" or b.get("private"):
            (repo.path / "private").touch()
        attrs = "".join(f"{p} filter=lfs diff=lfs merge=lfs -text\n" for p in LFS_PATTERNS)
        repo.commit("main", h.user, "initial commit", "", [(".gitattributes", attrs.encode())])
    h.send(obj={"url": url, "name": repo.id, "id": repo.id})


@route("hub", "GET", "/api/{kind}/{repo}/auth-check(?P<write>/write)?")
def auth_check(h, kind, ns, name, write):
    h.repo(kind, ns, name, write=bool(write))
    h.send(obj={})


@route("hub", "DELETE", "/api/repos/delete")
def delete(h):
    b = h.json()
    h.need_user()
    shutil.rmtree(h.repo(b.get("type", "model") + "s", b.get("organization") or h.user, b["name"], write=True).path)
    h.send(obj={})


def front_matter(text):
    m = re.match(r"\A\ufeff?\s*---\r?\n(.*?)\r?\n---", text, re.S)
    return (yaml.safe_load(m[1]) if m else None) or {}


@route("hub", "POST", "/api/validate-yaml")
def validate(h):
    try:
        bad = not isinstance(meta := front_matter(h.json()["content"]), dict)
    except yaml.YAMLError as e:
        bad, meta = True, str(e)
    if bad:
        raise Err(400, "Invalid metadata", errors=[{"message": str(meta)}], warnings=[])
    h.send(
        obj={"errors": [], "warnings": [] if meta else [{"message": "empty or missing yaml metadata in repo card"}]}
    )


@route("hub", "GET", "/api/{kind}/{repo}(?:/revision/{rev})?")
def info(h, kind, ns, name, rev):
    repo = h.repo(kind, ns, name)
    sha = repo.sha(rev or "main")
    files = [e for e in repo.tree(sha) if e["type"] == "file"]
    try:
        card = front_matter(repo.git("cat-file", "blob", f"{sha}:README.md").decode())
    except (subprocess.CalledProcessError, yaml.YAMLError):
        card = {}
    blobs = h.query.get("blobs", [""])[0].lower() == "true"
    when = repo.git("log", "-1", "--format=%cI", sha).decode().strip().replace("+00:00", ".000Z")
    h.send(
        obj={
            "_id": sha[:24],
            "id": repo.id,
            "author": ns,
            "sha": sha,
            "private": repo.private,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "lastModified": when,
            "createdAt": when,
            "cardData": card,
            "tags": card.get("tags") or [],
            "spaces": [],
            **(
                {
                    "modelId": repo.id,
                    "library_name": card.get("library_name"),
                    "pipeline_tag": card.get("pipeline_tag"),
                    "model-index": card.get("model-index"),
                }
                if kind == "models"
                else {}
            ),
            "siblings": [
                {
                    "rfilename": e["path"],
                    **(
                        {
                            "size": e["size"],
                            "blobId": e["oid"],
                            **({"lfs": {"sha256": e["lfs"]["oid"], **e["lfs"]}} if "lfs" in e else {}),
                        }
                        if blobs
                        else {}
                    ),
                }
                for e in files
            ],
        }
    )


@route("hub", "GET", "/api/{kind}/{repo}/tree/{rev}(?:/(?P<path>.+))?")
def tree(h, kind, ns, name, rev, path):
    repo = h.repo(kind, ns, name)
    rows = list(repo.tree(repo.sha(rev), path or "", h.query.get("recursive", [""])[0].lower() in ("true", "1")))
    if path and not rows:
        raise Err(404, f'{path} does not exist on "{rev}"', "EntryNotFound")
    h.send(obj=rows)


@route("hub", "POST", "/api/{kind}/{repo}/paths-info/{rev}")
def paths_info(h, kind, ns, name, rev):
    want = set(parse_qs(h.body().decode()).get("paths", []))
    repo = h.repo(kind, ns, name)
    h.send(obj=[e for e in repo.tree(repo.sha(rev)) if e["path"] in want])


@route("hub", "GET", "/api/{kind}/{repo}/refs")
def refs(h, kind, ns, name):
    rows = h.repo(kind, ns, name).git("for-each-ref", "--format=%(refname)%09%(objectname)").decode().split("\n")
    ref = lambda p: [
        {"name": r[len(p) :].split("\t")[0], "ref": r.split("\t")[0], "targetCommit": r.split("\t")[1]}
        for r in rows
        if r.startswith(p)
    ]
    h.send(obj={"branches": ref("refs/heads/"), "tags": ref("refs/tags/"), "converts": []})


@route("hub", "GET", "/api/{kind}/{repo}/commits/{rev}")
def commits(h, kind, ns, name, rev):
    repo = h.repo(kind, ns, name)
    out = repo.git("log", "--format=%H%x00%an%x00%cI%x00%s%x00%b%x01", repo.sha(rev)).decode()
    h.send(
        obj=[
            dict(id=i, authors=[{"user": a}], date=d.replace("+00:00", ".000Z"), title=s, message=b.strip())
            for i, a, d, s, b in (c.strip("\n").split("\0") for c in out.split("\1") if c.strip())
        ]
    )


@route("hub", "POST", "/api/{kind}/{repo}/(?P<what>branch|tag)/{rev}")
def make_ref(h, kind, ns, name, what, rev):
    b = h.json()
    repo = h.repo(kind, ns, name, write=True)
    ref, start = (
        (f"refs/heads/{rev}", b.get("startingPoint", "main")) if what == "branch" else (f"refs/tags/{b['tag']}", rev)
    )
    if repo.git("for-each-ref", ref):
        raise Err(409, f"Reference already exists: {ref}")
    repo.git("update-ref", ref, repo.sha(start))
    h.send(obj={})


@route("hub", "POST", "/api/{kind}/{repo}/preupload/{rev}")
def preupload(h, kind, ns, name, rev):
    files = h.json()["files"]
    repo = h.repo(kind, ns, name, write=True)
    old = {e["path"]: e for e in repo.tree(repo.sha(rev))}

    def one(f):
        lfs = (
            f["size"] >= 10_000_000
            or b"\0" in base64.b64decode(f["sample"])
            or any(fnmatch(f["path"].split("/")[-1], p) for p in LFS_PATTERNS)
        )
        e = old.get(f["path"])
        return {
            "path": f["path"],
            "uploadMode": "lfs" if lfs else "regular",
            "shouldIgnore": False,
            "oid": e and (e.get("lfs", {}).get("oid") or e["oid"]),
        }

    h.send(obj={"files": [one(f) for f in files], "commitOid": repo.sha(rev)})


@route("hub", "POST", "/api/{kind}/{repo}/commit/{rev}")
def commit(h, kind, ns, name, rev):
    lines = [json.loads(x) for x in h.body().splitlines() if x.strip()]
    repo = h.repo(kind, ns, name, write=True)
    if h.query.get("create_pr"):
        raise Err(501, "pull requests are not in the test hub")
    head, ops = lines[0]["value"], []
    for op in lines[1:]:
        key, v = op["key"], op["value"]
        if key == "file":
            ops.append((v["path"], base64.b64decode(v["content"])))
        elif key == "lfsFile":
            size = h.hub.stored_size(v["oid"])
            if size is None or v.get("size", size) != size:
                raise Err(
                    400,
                    f"LFS pointer {v['path']} points to a file that does not exist (or has another size): {v['oid']}",
                )
            ops.append((v["path"], (POINTER % (v["oid"], size)).encode()))
        elif key in ("deletedFile", "deletedFolder"):
            ops.append((v["path"].rstrip("/"), None))
    with h.hub.lock:
        parent = repo.sha(rev)
        if head.get("parentCommit") and not parent.startswith(head["parentCommit"]):
            raise Err(412, "A commit has happened since. Please refresh and try again.")
        sha = repo.commit(rev, h.user, head["summary"], head.get("description"), ops, parent)
    h.send(
        obj={"success": True, "commitOid": sha, "commitUrl": f"{h.hub.url}/{repo.web}/commit/{sha}", "hookOutput": ""}
    )
