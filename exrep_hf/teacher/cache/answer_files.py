"""Where stored answers lie: a folder, or a data set repository on the Hub."""

from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import HTTPError  # of the client that this release uses

from exrep_hf.teacher.cache.manifest import MANIFEST_NAME, Manifest, Shard, view_folder
from exrep_hf.teacher.cache.manifest_file import read_manifest
from exrep_hf.teacher.cache.shard_file import find_fault

# Of each view, files whose checksum is computed without being asked for.
_SAMPLED = 2


class AnswerFiles:
    """Files of stored answers; those on the Hub are downloaded view by view, when a view is first asked for.

    Args:
        name_or_path: a folder, or the name of a data set on the Hub.
        revision: branch, tag or commit on the Hub.
        verify: `sample` checks sizes and headers of all files and the checksums of some; `full` those of all. What
            is downloaded is always checked whole.

    Attributes:
        manifest: what is stored.

    Raises:
        ValueError: if there are no stored answers, or files are damaged, naming them.
    """

    def __init__(self, name_or_path: str | Path, revision: str | None = None, verify: str = "sample") -> None:
        if verify not in ("sample", "full"):
            raise ValueError(f"`verify` is {verify!r}; expected `sample` or `full`.")
        self.name = str(name_or_path)
        self._folder: Path | None = Path(name_or_path).expanduser()
        self._commit: str | None = None
        # In shared memory: what one worker of a loader has checked, the others need not read again.
        self._checked = torch.zeros(0, dtype=torch.bool)
        if self._folder.exists():
            if revision is not None:
                raise ValueError(f"A revision, {revision!r}, was given for the folder {self.name!r}; leave it out.")
            self.manifest = read_manifest(self._folder / MANIFEST_NAME)
            self._check(self._folder, self.manifest.plan.shards(), verify == "full")
        else:
            self._folder = None
            self.manifest = self._manifest_from_hub(revision)
            self._checked = torch.zeros(self.manifest.plan.views["views"], dtype=torch.bool).share_memory_()

    def view(self, view: int) -> Path:
        """Return the folder that holds the files of a view under their names, which are there when this returns."""
        if self._folder is not None:
            return self._folder
        folder = self._download(f"{view_folder(view)}/*", again=False)
        if not self._checked[view]:
            shards = self.manifest.plan.shards_of(view)
            # The local cache of downloads may be damaged: files there are taken for whole by their names.
            for shard in find_faults(folder, self.manifest, shards, full=True):
                self._download(shard.name, again=True)
            self._check(folder, shards, full=True)
            self._checked[view] = True
        return folder

    def _check(self, folder: Path, shards: Sequence[Shard], full: bool) -> None:
        faults = find_faults(folder, self.manifest, shards, full)
        if faults:
            named = "; ".join(f"{shard.name}: {fault}" for shard, fault in list(faults.items())[:5])
            more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
            raise ValueError(
                f"{len(faults)} of {len(shards)} files of stored answers in {self.name!r} are damaged: {named}{more}. "
                "Run `recipes/cache_teacher.py` again with the settings they were written with and `--rebuild`, which "
                "writes only these again."
            )

    def _manifest_from_hub(self, revision: str | None) -> Manifest:
        try:
            path = Path(hf_hub_download(self.name, MANIFEST_NAME, repo_type="dataset", revision=revision))
        except (HTTPError, OSError, ValueError) as error:
            raise ValueError(
                f"{self.name!r} holds no stored answers of a teacher: it is no folder here, and as a data set on the "
                f"Hub{f', revision {revision!r},' if revision else ''} it is not available ({error}). Expected what "
                "`recipes/cache_teacher.py` wrote or pushed."
            ) from error
        # The cache's folder of a snapshot has the name of its commit: all files have to be of one.
        self._commit = path.parent.name
        return read_manifest(path)

    def _download(self, pattern: str, again: bool) -> Path:
        try:
            return Path(
                snapshot_download(
                    self.name,
                    repo_type="dataset",
                    revision=self._commit,
                    allow_patterns=[pattern],
                    force_download=again,
                )
            )
        except (HTTPError, OSError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"The stored answers {pattern} of {self.name!r} can't be downloaded ({error}). Try again: what has "
                "arrived is kept."
            ) from error


def find_faults(folder: Path, manifest: Manifest, shards: Sequence[Shard], full: bool) -> dict[Shard, str]:
    """Return what is wrong with files, by file; without `full` only some of the checksums are computed."""
    found = {}
    step = max(manifest.plan.shards_per_view // _SAMPLED, 1)
    for shard in shards:
        entry = manifest.shards[shard.name]
        sampled = shard.number % step == 0
        sha256 = entry["sha256"] if full or sampled else None
        fault = find_fault(folder / shard.name, manifest.plan, shard, entry["bytes"], sha256)
        if fault is not None:
            found[shard] = fault
    return found
