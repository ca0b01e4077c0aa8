"""The test Hub: its two servers and what it stores."""

import hmac
import re
import tempfile
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

# Each of them registers its routes.
from tests.hub_server import api, files, xet  # noqa: F401
from tests.hub_server.handler import Handler
from tests.hub_server.repository import Repo


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
