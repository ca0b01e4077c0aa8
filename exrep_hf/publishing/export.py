"""A student on its way out of Python: the file, how images get into it, and whether it does what the student does."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

from exrep_hf.arguments import ExportArguments
from exrep_hf.data import Preprocessing, class_names, names_or_numbers
from exrep_hf.evaluation import images_per_second
from exrep_hf.evaluation.predict import predict
from exrep_hf.files import write_json
from exrep_hf.finite import check_files
from exrep_hf.publishing.claimed_images import own_parts
from exrep_hf.publishing.evaluate_student import load_published
from exrep_hf.publishing.export_int8 import write_int8
from exrep_hf.publishing.export_preprocessing import PREPROCESSING_NAME, describe_preprocessing
from exrep_hf.publishing.export_program import check_packages, write_onnx, write_torch
from exrep_hf.publishing.exported_classifier import open_export
from exrep_hf.publishing.student import fetch_student
from exrep_hf.publishing.texts import read_results

FOLDER = "export"
FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
INT8_NAME = "model_int8.onnx"
# Of the largest logit: rounding of float32 through some hundred layers stays well below.
_TOLERANCE = 1e-4
_NEEDED = ("config.json", "model.safetensors", "preprocessor_config.json")
_COLUMNS = ("image", "label")


def export_student(args: ExportArguments) -> dict[str, Any]:
    """Export a student.

    Returns:
        `files`, their paths; with `check` or `quantize` `num_images`, and of `student` and each file `accuracy`,
        in [0, 1], and `images_per_second`; of files also `largest_difference` of a logit, the share of images with
        the `same_answer`; and `holds`, whether the float file's logits are the student's within 1e-4 of the largest.

    Raises:
        ValueError: if there is no student, or not a finite one, a package is missing, an export is there already, or
            the images that are needed are not found.
    """
    measures = args.check or args.quantize is not None
    packages = ("onnx", "onnxscript") if args.format == "onnx" else ()
    check_packages((*packages, *(("onnxruntime",) if measures and packages else ())))
    source = fetch_student(args.model)
    target = _target(args, source)
    path, int8 = target / FILES[args.format], target / INT8_NAME
    _check_source(source)
    _check_target([path, target / PREPROCESSING_NAME, *([int8] if args.format == "onnx" else [])], args)
    model, preprocessing = load_published(source, torch.device("cpu"))
    model.eval()
    parts = own_parts(_results(source), model, args.dataset, args.data_dir) if measures else None
    shape = (len(preprocessing.mean), preprocessing.height, preprocessing.width)
    # Two: a batch of one would become a constant of the program.
    images = torch.randn(2, *shape)
    with torch.no_grad():
        labels = names_or_numbers(class_names(model.config), model(images).logits.shape[1])
    files = [path, *([int8] if args.quantize else [])]
    target.parent.mkdir(parents=True, exist_ok=True)
    # All of it or nothing: what an earlier export left is replaced when everything is there.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as name:
        new = Path(name)
        (write_onnx if args.format == "onnx" else write_torch)(model, images, new / path.name)
        if parts is not None and args.quantize is not None:
            public = _some(parts[0], args.calibration_images)
            write_int8(new / path.name, _batches(public, preprocessing), new / int8.name)
        write_json(describe_preprocessing(preprocessing, labels), new / PREPROCESSING_NAME)
        target.mkdir(exist_ok=True)
        if args.format == "onnx":
            # It would be of another student.
            int8.unlink(missing_ok=True)
        for each in sorted(new.iterdir()):
            each.replace(target / each.name)
    report: dict[str, Any] = {"files": [str(each) for each in (*files, target / PREPROCESSING_NAME)]}
    if parts is not None:
        report |= _compare(model, files, preprocessing, _some(parts[1], args.max_samples))
    return report


def _target(args: ExportArguments, source: Path) -> Path:
    if args.output_dir is not None:
        return Path(args.output_dir).expanduser()
    if not Path(args.model).expanduser().is_dir():
        raise ValueError(
            f"`model` is {args.model!r}, a name on the Hub, and `output_dir` is not given; expected a folder."
        )
    return source / FOLDER


def _check_source(folder: Path) -> None:
    if missing := [name for name in _NEEDED if not (folder / name).is_file()]:
        raise ValueError(
            f"{str(folder)!r} is no student that can be exported: it has no {', '.join(missing)}. Give the "
            "`output_dir` of a finished run of `exrep train`."
        )
    check_files(sorted(folder.glob("*.safetensors")), "Such a student answers nothing: train it again.")


def _check_target(paths: list[Path], args: ExportArguments) -> None:
    # Formats share how images get in, which says the same for each.
    there = [path.name for path in paths if path.exists() and path.name != PREPROCESSING_NAME]
    if there and not args.overwrite:
        raise ValueError(
            f"{str(paths[0].parent)!r} holds {', '.join(there)} already; expected a folder without. Add `--overwrite` "
            "to replace it, or give another `--output_dir`."
        )


def _results(folder: Path) -> dict[str, Any]:
    try:
        return read_results(folder)
    except OSError as error:
        raise ValueError(
            f"{str(folder)!r} has no results.json, which names the images that `--check` and `--quantize` need. "
            "Export without them, or give the `output_dir` of a finished run."
        ) from error


def _some(images: Dataset, count: int) -> Dataset:
    return images.shuffle(seed=0).select(range(min(count, len(images))))


def _batches(images: Dataset, preprocessing: Preprocessing, size: int = 16) -> Iterator[Tensor]:
    for start in range(0, len(images), size):
        rows = images.select(range(start, min(start + size, len(images))))
        yield torch.stack([preprocessing.evaluation(image) for image in rows[_COLUMNS[0]]])


def _compare(
    model: PreTrainedModel, files: list[Path], preprocessing: Preprocessing, images: Dataset
) -> dict[str, Any]:
    shape = (len(preprocessing.mean), preprocessing.height, preprocessing.width)
    expected, labels = predict(model, preprocessing, images, _COLUMNS)

    def accuracy(logits: Tensor) -> float:
        return (logits.argmax(-1) == labels).double().mean().item()

    with torch.no_grad():
        speed = images_per_second(model, shape)
    report: dict[str, Any] = {
        "num_images": len(labels),
        "student": {"accuracy": accuracy(expected), "images_per_second": speed},
    }
    for path in files:
        exported = open_export(path)
        logits, _ = predict(exported, preprocessing, images, _COLUMNS)
        report[path.name] = {
            "accuracy": accuracy(logits),
            "images_per_second": images_per_second(exported, shape),
            "largest_difference": (logits - expected).abs().max().item(),
            "same_answer": (logits.argmax(-1) == expected.argmax(-1)).double().mean().item(),
        }
    allowed = _TOLERANCE * max(1.0, expected.abs().max().item())
    report["holds"] = report[files[0].name]["largest_difference"] <= allowed
    return report
