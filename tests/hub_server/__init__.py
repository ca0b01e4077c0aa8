"""A small Hugging Face Hub on 127.0.0.1, for tests: the real client talks to it over real HTTP.

Storage is real too: every repo is a bare git repository (real commit and blob ids), large files are
git-lfs pointers, their bytes lie in an LFS store, and Xet uploads in a Xet CAS (xorbs + shards).
Two ports, as in production: the Hub itself, and the "S3/CDN/CAS" storage origin, which must never
see the user's token.  Standard library + PyYAML + the `git` program.  A route that the test hub
does not have answers 501, so that a gap shows up as an error and not as a wrong green test.

    with Hub({"hf_me": "me", "hf_other": "other"}) as hub:      # token -> user
        os.environ["HF_ENDPOINT"] = hub.url                     # before huggingface_hub is imported
"""

from tests.hub_server.handler import Fault
from tests.hub_server.hub import Hub

__all__ = ["Fault", "Hub"]
