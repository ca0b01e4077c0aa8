"""Post-training quantisation of an exported student, by onnxruntime."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from exrep_hf.files import replacing
from exrep_hf.publishing.export_preprocessing import INPUT


def write_int8(source: Path, images: Iterator[Tensor], path: Path) -> None:
    """Quantise weights (a scale a channel) and activations of an ONNX file to 8 bits.

    Args:
        source: the ONNX file, which stays as it is.
        images: batches that the ranges of the activations are taken from, `(batch, channels, height, width)`.
        path: to write to, whole or not at all.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def get_next(self) -> dict[str, Any] | None:
            batch = next(images, None)
            return None if batch is None else {INPUT: batch.numpy()}

    with tempfile.TemporaryDirectory() as name, replacing(path) as temporary:
        prepared = Path(name) / source.name
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(temporary),
            Images(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Without it sums saturate on processors that lack VNNI.
            reduce_range=True,
        )
