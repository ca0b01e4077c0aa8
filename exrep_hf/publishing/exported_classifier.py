"""An exported student, called as the student itself is."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from exrep_hf.models import StudentOutput
from exrep_hf.publishing.export_preprocessing import INPUT, OUTPUT


class ExportedClassifier(nn.Module):
    """Gives the logits of a file; it has no weights of its own, and runs on the CPU.

    Args:
        answer: from images `(batch, channels, height, width)` to logits `(batch, num_labels)`.
    """

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer
        # Says where images belong, as the weights of a network do.
        self.place = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, pixel_values: Tensor) -> StudentOutput:
        """Classify a batch of normalised images, `(batch, channels, height, width)`."""
        return StudentOutput(logits=self.answer(pixel_values))


def open_export(path: Path) -> ExportedClassifier:
    """Open a file of `exrep export`: `.onnx` with onnxruntime, `.pt2` with PyTorch; as many threads as PyTorch has."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return ExportedClassifier(lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0]))
    program = torch.export.load(path).module()
    return ExportedClassifier(lambda images: program(**{INPUT: images})[OUTPUT])
