"""How images get into an exported student and what comes out of it, for readers without Python."""

from collections.abc import Sequence
from typing import Any

from exrep_hf.data import Preprocessing

PREPROCESSING_NAME = "preprocessing.json"
INPUT, OUTPUT = "pixel_values", "logits"


def describe_preprocessing(preprocessing: Preprocessing, labels: Sequence[str]) -> dict[str, Any]:
    """Return the content of `preprocessing.json`.

    Args:
        preprocessing: how the student wants its images.
        labels: names of the classes, in the order of the logits.
    """
    height, width, resize = preprocessing.height, preprocessing.width, preprocessing.resize
    channels = "RGB" if preprocessing.mode == "RGB" else "grey"
    exact = (height, width) if resize is None else resize
    size = {"shorter_edge": exact} if isinstance(exact, int) else {"height": exact[0], "width": exact[1]}
    to = (
        f"so that the shorter edge has {exact} pixels; the longer one has floor({exact} * longer / shorter)"
        if isinstance(exact, int)
        else f"to {exact[0]} rows and {exact[1]} columns, whatever its aspect ratio"
    )
    interpolation = preprocessing.interpolation.replace("-exact", "")
    return {
        "steps": [
            f"Decode the image to {channels}, 8 bits a channel; drop transparency.",
            f"Resize it {to}; {interpolation} interpolation, antialiased when it shrinks (as Pillow does), and "
            "round to 8 bits.",
            f"Crop {height} rows and {width} columns from the centre: the first row is floor((rows - {height}) / 2), "
            f"the first column floor((columns - {width}) / 2).",
            "Divide by 255; then, a channel at a time, subtract `mean` and divide by `std`.",
            f"Put it into a float32 array in the order batch, channel ({channels}), row, column; any number "
            "of images.",
            f"Run the model: input `{INPUT}`, output `{OUTPUT}`, a row an image. The largest is the answer; softmax "
            "makes them probabilities. Number i of a row belongs to entry i of `labels`, from 0.",
        ],
        "input": {
            "name": INPUT,
            "type": "float32",
            "shape": ["batch", len(preprocessing.mean), height, width],
            "channels": channels,
        },
        "output": {"name": OUTPUT, "type": "float32", "shape": ["batch", len(labels)]},
        "resize": size,
        "interpolation": interpolation,
        "antialias": True,
        "crop": {"height": height, "width": width},
        "divide_by": 255,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "labels": list(labels),
    }
