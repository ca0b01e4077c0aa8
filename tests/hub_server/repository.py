"""A repository of the test Hub: a bare git repository, with pointers to large files."""

import re
import subprocess
import time

from tests.hub_server.handler import Err

LFS_PATTERNS = "*.bin *.ckpt *.h5 *.msgpack *.npy *.onnx *.parquet *.pt *.pth *.safetensors *.zip *tfevents*".split()
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"
IS_POINTER = re.compile((POINTER % (r"(\w{64})", 7)).replace("7", r"(\d+)").encode()).fullmatch


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
