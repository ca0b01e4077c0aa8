"""A student as a file that runs without its code, by the exporters of transformers."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from packaging.version import Version
from torch import Tensor
from transformers import PreTrainedModel

from exrep_hf.files import replacing
from exrep_hf.publishing.export_preprocessing import INPUT

# What transformers' exporters ask for.
_OLDEST_TORCH = "2.11"
# Of a file in protobuf, which holds no more.
_LARGEST_ONNX = 2**31 - 2**24


def check_packages(names: tuple[str, ...]) -> None:
    """Make sure that what an export needs is installed.

    Raises:
        ValueError: naming what is missing, and the extra that installs it.
    """
    if missing := [name for name in names if find_spec(name) is None]:
        raise ValueError(
            f"An export by these settings needs {', '.join(missing)}, which is not installed: "
            "`pip install 'exrep_hf[export]'` (`pip install -e '.[export]'` in a checkout)."
        )
    if not can_export():
        raise ValueError(
            f"transformers {transformers.__version__} with PyTorch {torch.__version__} exports nothing; expected a "
            f"transformers with `transformers.exporters`, and PyTorch {_OLDEST_TORCH} or later: "
            "`pip install --upgrade transformers torch torchvision`."
        )


def can_export() -> bool:
    """Return whether transformers and PyTorch are recent enough for the exporters of transformers."""
    return find_spec("transformers.exporters") is not None and Version(torch.__version__) >= Version(_OLDEST_TORCH)


def write_onnx(model: PreTrainedModel, images: Tensor, path: Path) -> None:
    """Write a student as one ONNX file, weights inside, for any number of images.

    Args:
        model: in evaluation mode, on the CPU.
        images: two or more that it takes, `(batch, channels, height, width)`.
        path: to write to, whole or not at all.

    Raises:
        ValueError: if its weights don't fit into one file.
    """
    import onnx_ir
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    size = sum(each.numel() * each.element_size() for each in model.state_dict().values())
    if size > _LARGEST_ONNX:
        raise ValueError(
            f"The student's weights have {size} bytes; expected at most {_LARGEST_ONNX}, what one ONNX file holds. "
            "Use `--format torch`."
        )
    settings = OnnxConfig(dynamic=True, dynamic_shapes=_shapes())
    # What a command prints is its report alone. The exporter warns of operations that no student has.
    with contextlib.redirect_stdout(sys.stderr), _errors_alone("torch.onnx"):
        program, _ = OnnxExporter().export_program(model, {INPUT: images}, settings)
    with replacing(path) as temporary:
        onnx_ir.save(program, str(temporary))


@contextlib.contextmanager
def _errors_alone(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def write_torch(model: PreTrainedModel, images: Tensor, path: Path) -> None:
    """Write a student as `torch.export` saves one; arguments as of `write_onnx`.

    Who loads it has to have imported what its outputs are made of: transformers, or this package with a distiller.
    """
    from transformers.exporters.exporter_dynamo import DynamoConfig, DynamoExporter

    settings = DynamoConfig(dynamic=True, dynamic_shapes=_shapes())
    program, _ = DynamoExporter().export_program(model, {INPUT: images}, settings)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.export.save(program, file)


def _shapes() -> dict[str, dict[int, torch.export.Dim]]:
    return {INPUT: {0: torch.export.Dim("batch")}}
