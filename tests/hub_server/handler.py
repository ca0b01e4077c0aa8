"""Requests and answers of the test Hub: who asks, what they may do, faults that are injected."""

import json
import os
import re
import socket
import struct
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from tests.hub_server.hub import Hub

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
