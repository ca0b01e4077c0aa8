"""Settings of exporting a student."""

from dataclasses import dataclass, field
from typing import Literal

from exrep_hf.arguments.ranges import require, require_number


@dataclass
class ExportArguments:
    """What is exported, into which format, and whether it is compared with what it was made of."""

    _argument_group_name = "exporting"

    model: str = field(metadata={"help": "The student: `output_dir` of a finished run, or a name on the Hub."})
    format: Literal["onnx", "torch"] = field(
        default="onnx", metadata={"help": "`onnx`: model.onnx; `torch`: model.pt2 of `torch.export`."}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "Where to; the folder `export` in the student's where not given."}
    )
    check: bool = field(
        default=False, metadata={"help": "Compare its logits on test images with the student's, and time both."}
    )
    quantize: Literal["int8"] | None = field(
        default=None,
        metadata={"help": "Write model_int8.onnx too, calibrated on public training images, and measure its top-1."},
    )
    calibration_images: int = field(default=256, metadata={"help": "Public training images for `quantize`."})
    max_samples: int = field(default=1000, metadata={"help": "Test images for `check` and `quantize`, at most."})
    dataset: str | None = field(
        default=None, metadata={"help": "Where the student's own data set lies, if not on the Hub."}
    )
    data_dir: str | None = field(
        default=None, metadata={"help": "Folder of `fashion_mnist`'s files, or inside the data set."}
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace an export that is there."})

    def __post_init__(self) -> None:
        """Check what would otherwise be found out after the export.

        Raises:
            ValueError: naming the setting, what it is, and what was expected.
        """
        require(self.format in ("onnx", "torch"), "format", self.format, "onnx or torch")
        require(self.quantize in (None, "int8"), "quantize", self.quantize, "int8")
        require(
            self.quantize is None or self.format == "onnx",
            "quantize",
            self.quantize,
            "no value with `--format torch`: onnxruntime quantises, which takes `--format onnx`",
        )
        require_number("calibration_images", self.calibration_images, 1, whole=True)
        require_number("max_samples", self.max_samples, 1, whole=True)
