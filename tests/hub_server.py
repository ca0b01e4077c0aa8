"""A small Hugging Face Hub on 127.0.0.1, for tests: the real client talks to it over real HTTP.

Storage is real too: every repo is a bare git repository (real commit and blob ids), large files are
git-lfs pointers, their bytes lie in an LFS store, and Xet uploads in a Xet CAS (xorbs + shards).
Two ports, as in production: the Hub itself, and the "S3/CDN/CAS" storage origin, which must never
see the user's token.  Standard library + PyYAML + the `git` program.  A route that the test hub
does not have answers 501, so that a gap shows up as an error and not as a wrong green test.

    with Hub({"hf_me": "me", "hf_other": "other"}) as hub:      # token -> user
        os.environ["HF_ENDPOINT"] = hub.url                     # before huggingface_hub is imported
"""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml

LFS_PATTERNS = "*.bin *.ckpt *.h5 *.msgpack *.npy *.onnx *.parquet *.pt *.pth *.safetensors *.zip *tfevents*".split()
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"
IS_POINTER = re.compile((POINTER % (r"(\w{64})", 7)).replace("7", r"(\d+)").encode()).fullmatch
ROUTES = []  # (role, method, regex, function)


class Err(Exception):
    """An answer other than success, in the Hub's form: X-Error-Code, X-Error-Message and a JSON body."""

    def __init__(self, status, message, code=None, headers=(), **body):
        self.status, self.body = status, {"error": message, **body}
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **dict(headers)}


@dataclass
class Fault:
    """`times` times: answer `status`, or (status None) cut the connection after `after` bytes of the body that
    is sent, or of the answer for a GET; after=-1: do the work, then cut without an answer (a lost reply)."""

    match: str
    times: int = 1
    status: int | None = None
    after: int = 0
    reset: bool = False  # TCP reset and not an orderly close


def route(role, method, pattern):
    rx = re.compile(
        "^"
        + pattern.replace("{repo}", r"(?P<ns>[\w.-]+)/(?P<name>[\w.-]+)")
        .replace("{kind}", "(?P<kind>models|datasets|spaces)")
        .replace("{web}", "(?P<kind>datasets/|spaces/|)")
        .replace("{rev}", "(?P<rev>[^/]+)")
        + "$"
    )
    return lambda fn: ROUTES.append((role, method, rx, fn)) or fn


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: "Hub"
    role: str
    user = None

    def log_message(self, *a):
        pass

    # ---- body in, answer out
    def chunks(self):
        if self.drained:
            return
        self.drained = True
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while n := int(self.rfile.readline().split(b";")[0], 16):
                yield self.read(n)
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length") or 0)
            while left:
                block = self.read(min(left, 1 << 20))
                left -= len(block)
                yield block

    def read(self, n):
        data = self.rfile.read(n)
        if len(data) < n:
            raise ConnectionError("client went away")
        self.seen += n
        if self.fault and self.fault.status is None and 0 <= self.fault.after <= self.seen:
            raise BrokenPipeError("injected")
        return data

    def body(self):
        return b"".join(self.chunks())

    def json(self):
        return json.loads(self.body() or b"{}")

    def send(self, status=200, obj=None, headers=(), file=None, data=None):
        headers, start, length, code = dict(headers), 0, 0, status
        if obj is not None:
            data, headers["Content-Type"] = json.dumps(obj).encode(), "application/json; charset=utf-8"
        if file is not None or data is not None:
            size = length = len(data) if data is not None else file.stat().st_size
            if obj is None and status == 200 and (m := re.match(r"bytes=(\d*)-(\d*)$", self.headers.get("Range", ""))):
                start = int(m[1]) if m[1] else max(size - int(m[2]), 0)
                end = min(int(m[2]), size - 1) if m[1] and m[2] else size - 1
                if start >= size:
                    raise Err(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
                code, length, headers["Content-Range"] = 206, end - start + 1, f"bytes {start}-{end}/{size}"
        if self.fault and self.fault.after < 0:
            raise BrokenPipeError("injected, reply lost")
        self.status = code
        self.send_response(code)
        for k, v in {"Accept-Ranges": "bytes", "Content-Length": length, **headers}.items():
            self.send_header(k, str(v))
        self.end_headers()
        if self.command == "HEAD" or not length:
            return
        if data is None:
            with open(file, "rb") as f:
                f.seek(start)
                data, start = f.read(length), 0
        cut = self.fault and self.fault.status is None and self.fault.after
        self.wfile.write(data[start : start + (min(length, cut) if cut else length)])
        if cut:
            raise BrokenPipeError("injected")

    def handle_request(self):
        url = urlsplit(self.path)
        self.query, self.seen, self.status, self.drained, t0 = parse_qs(url.query), 0, 0, False, time.time()
        line = f"{self.role} {self.command} {self.path}"
        self.fault = self.hub.take_fault(line)
        try:
            if self.fault and self.fault.status:
                self.body()
                raise Err(self.fault.status, "injected fault")
            self.authenticate()
            for role, method, rx, fn in ROUTES:
                if role == self.role and method == self.command.replace("HEAD", "GET") and (m := rx.match(url.path)):
                    fn(self, **{k: unquote(v) if v else v for k, v in m.groupdict().items()})
                    break
            else:
                # 404 on the storage side: hf_xet then falls back from its newer to its older CAS routes
                raise Err(501 if self.role == "hub" else 404, "not in the test hub")
        except Err as e:
            for _ in self.chunks():
                pass
            self.send(e.status, e.body, e.headers)
        except (ConnectionError, BrokenPipeError) as e:
            self.status, self.close_connection = f"cut ({e})", True
            if self.fault and self.fault.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
        finally:
            self.hub.log.append(
                {
                    "role": self.role,
                    "method": self.command,
                    "path": self.path,
                    "status": self.status,
                    "auth": "Authorization" in self.headers,
                    "bytes_in": self.seen,
                    "ms": round(1e3 * (time.time() - t0)),
                }
            )

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

    # ---- who is it, and what may they do
    def authenticate(self):
        self.user, self.token = None, self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.role == "storage" and self.token in self.hub.tokens:
            raise Err(400, "the user's Hub token was sent to the storage origin")
        if self.token and self.role == "hub":
            self.user = self.hub.tokens.get(self.token)
            if self.user is None:
                raise Err(401, "Invalid credentials in Authorization header")

    def check_signature(self):
        path, exp = urlsplit(self.path).path, self.query.get("X-Expires", ["0"])[0]
        if (
            self.query.get("X-Signature") != [self.hub.sign(self.command.replace("HEAD", "GET"), path, exp)]
            or int(exp) < time.time()
        ):
            raise Err(403, "SignatureDoesNotMatch")

    def need_user(self):
        if self.user is None:
            raise Err(
                401,
                "Invalid username or password.",
                headers={"WWW-Authenticate": 'Bearer realm="Authentication required", charset="UTF-8"'},
            )

    def repo(self, kind, ns, name, write=False):
        repo = self.hub.repo((kind.rstrip("/") or "models"), f"{ns}/{name}")
        if write:
            self.need_user()
        if not repo.path.exists() or (repo.private and ns != self.user):
            if self.user is None:  # the Hub does not tell an anonymous caller whether a repo exists. It sends no
                # error code here, but the client maps a bare 401 to RepositoryNotFoundError on https:// only.
                raise Err(401, "Invalid username or password.", "RepoNotFound")
            raise Err(404, "Repository not found", "RepoNotFound")
        if write and ns != self.user:
            raise Err(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repo


# ------------------------------------------------------------------------------------------------ git
class Repo:
    def __init__(self, hub, kind, repo_id):
        self.hub, self.kind, self.id = hub, kind, repo_id
        self.path = hub.root / "repos" / kind / f"{repo_id}.git"

    private = property(lambda self: (self.path / "private").exists())
    web = property(lambda self: ("" if self.kind == "models" else self.kind + "/") + self.id)

    def git(self, *args, stdin=None):
        return subprocess.run(
            ["git", "--git-dir", self.path, *args], input=stdin, check=True, capture_output=True
        ).stdout

    def sha(self, rev):
        try:
            return self.git("rev-parse", "--verify", "-q", f"{rev}^{{commit}}", "--").split()[0].decode()
        except subprocess.CalledProcessError:
            raise Err(404, f"Invalid rev id: {rev}", "RevisionNotFound") from None

    def tree(self, sha, path="", recursive=True):
        out = self.git(
            "ls-tree",
            "-l",
            "-z",
            *(["-r", "-t"] if recursive else []),
            sha,
            *([path.strip("/") + "/"] if path else []),
        )
        rows = [(*meta.split(), p) for meta, p in (r.split("\t", 1) for r in out.decode().split("\0") if r)]
        for _, kind, oid, size, p in rows:
            entry = {
                "type": "file" if kind == "blob" else "directory",
                "oid": oid,
                "size": int(size) if size != "-" else 0,
                "path": p,
            }
            if kind == "blob" and entry["size"] < 200 and (m := IS_POINTER(self.git("cat-file", "blob", oid))):
                sha256, n = m[1].decode(), int(m[2])
                entry |= {"size": n, "lfs": {"oid": sha256, "size": n, "pointerSize": int(size)}}
                if sha256 in self.hub.xet_of_sha:
                    entry["xetHash"] = self.hub.xet_of_sha[sha256]
            yield entry

    def entry(self, sha, path):
        found = [
            e
            for e in self.tree(sha, "/".join(path.split("/")[:-1]), recursive=False)
            if e["path"] == path and e["type"] == "file"
        ]
        if not found:
            raise Err(404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": sha})
        return found[0]

    def commit(self, branch, author, summary, description, ops, parent=None):
        q = lambda p: ('"%s"' % p.replace("\\", "\\\\").replace('"', '\\"')).encode()
        msg = (summary + ("\n\n" + description if description else "")).encode()
        stream = b"commit refs/heads/%s\ncommitter %s <%s@hub> %d +0000\ndata %d\n%s\n" % (
            branch.encode(),
            author.encode(),
            author.encode(),
            time.time(),
            len(msg),
            msg,
        )
        stream += b"from %s\n" % parent.encode() if parent else b""
        for path, content in ops:
            stream += (
                b"D %s\n" % q(path)
                if content is None
                else b"M 100644 inline %s\ndata %d\n%s\n" % (q(path), len(content), content)
            )
        self.git("fast-import", "--quiet", stdin=stream)
        return self.sha(branch)


# ------------------------------------------------------------------------------------------------ Hub API
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


# ------------------------------------------------------------------------------------------------ download
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


# ------------------------------------------------------------------------------------------------ LFS
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


# ------------------------------------------------------------------------------------------------ Xet CAS
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


class Hub:
    def __init__(self, tokens, root=None):
        self.tokens, self.log, self.faults, self.lock = dict(tokens), [], [], threading.RLock()
        self.tmp = None if root else tempfile.TemporaryDirectory(prefix="hub-")
        self.root = Path(root or self.tmp.name)
        self.key, self.xet_of_sha, self.xet_files = b"test-hub", {}, {}
        for d in ("repos", "lfs", "xorbs"):
            (self.root / d).mkdir(parents=True, exist_ok=True)
        self.servers = {}
        for role in ("hub", "storage"):
            s = self.servers[role] = ThreadingHTTPServer(
                ("127.0.0.1", 0), type("H", (Handler,), {"hub": self, "role": role})
            )
            s.daemon_threads = True
            threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url, self.storage = (f"http://127.0.0.1:{self.servers[r].server_port}" for r in ("hub", "storage"))

    def __enter__(self):
        return self

    def __exit__(self, *a):
        for s in self.servers.values():
            s.shutdown()
            s.server_close()
        if self.tmp:
            self.tmp.cleanup()

    def repo(self, kind, repo_id):
        return Repo(self, kind, repo_id)

    def take_fault(self, line):
        with self.lock:
            for f in self.faults:
                if f.times > 0 and re.search(f.match, line):
                    f.times -= 1
                    return f

    def sign(self, *what):
        return hmac.new(self.key, " ".join(map(str, what)).encode(), "sha256").hexdigest()

    def signed(self, method, path, ttl=900):
        exp = int(time.time()) + ttl
        return f"{self.storage}{path}?X-Expires={exp}&X-Signature={self.sign(method, path, exp)}"

    def stored_size(self, sha256):
        file = self.root / "lfs" / sha256
        if file.exists():
            return file.stat().st_size
        return self.xet_files[self.xet_of_sha[sha256]]["size"] if sha256 in self.xet_of_sha else None

    def materialize(self, sha256):
        """The plain bytes of a file that came in through Xet (the Hub's "Xet bridge"), made by the real hf_xet."""
        if not (self.root / "lfs" / sha256).exists() and sha256 in self.xet_of_sha:
            from hf_xet import XetFileInfo, XetSession

            part = self.root / f"part-{sha256}-{threading.get_ident()}"
            with XetSession().new_file_download_group(
                endpoint=self.storage, token=self.sign("xet", "read"), token_expiry_unix_secs=int(time.time()) + 3600
            ) as group:
                group.start_download_file(XetFileInfo(self.xet_of_sha[sha256], self.stored_size(sha256)), str(part))
            part.replace(self.root / "lfs" / sha256)
