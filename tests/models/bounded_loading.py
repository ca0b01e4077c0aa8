"""Loads each model folder that is given, and prints what that cost and how it ended: a line of JSON each."""

import json
import resource
import sys
import time
from pathlib import Path

import torch

from exrep_hf.models import load_classifier


def peak() -> int:
    """Most memory that was ever resident, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folders: list[str]) -> None:
    """Load the first folder, which is sound, before anything is measured: imports and allocators are not meant."""
    torch.set_num_threads(1)
    load_classifier(folders[0])
    # Without bounds a test would take all memory of the machine instead of failing.
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
    for folder in folders:
        for pretrained in (True, False):
            before, began = peak(), time.process_time()
            try:
                load_classifier(folder, pretrained=pretrained)
                message = "loaded"
            except ValueError as error:
                message = str(error)
            cost = {"seconds": time.process_time() - began, "bytes": peak() - before}
            print(json.dumps({"folder": Path(folder).name, "pretrained": pretrained, "message": message} | cost))


if __name__ == "__main__":
    main(sys.argv[1:])
