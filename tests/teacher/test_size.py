"""What is said of a teacher's size."""

import pytest
import timm
import torch

from exrep_hf.teacher import GivenAnswers, OnlineTeacher, TeacherEnsemble, size_in_words


def test_parameters_types_and_memory() -> None:
    """Of all networks together, a network that answers twice once."""
    first = OnlineTeacher(timm.create_model("test_resnet"))
    second = OnlineTeacher(timm.create_model("test_vit").to(torch.bfloat16))
    sizes = [sum(each.numel() for each in teacher.model.parameters()) for teacher in (first, second)]
    told = size_in_words(TeacherEnsemble([first, second, first]))
    assert told is not None
    assert told.startswith(f"teacher: {sum(sizes) / 1e6:.1f} M parameters in bfloat16, float32, 0.00 GiB")


def test_memory_is_counted_by_type() -> None:
    """Bytes of weights and buffers, in GiB."""
    model = timm.create_model("vit_base_patch16_siglip_224", num_classes=0, depth=1)
    values = sum(each.numel() for each in model.parameters())
    assert all(not buffer.numel() for buffer in model.buffers())
    for dtype, size in ((torch.float32, 4), (torch.float16, 2)):
        told = size_in_words(OnlineTeacher(model.to(dtype)))
        assert told is not None and told.endswith(f" {values * size / 2**30:.2f} GiB")
        assert float(told.split()[-2]) > 0


def test_no_network() -> None:
    """Stored or given answers have no size that matters."""
    assert size_in_words(GivenAnswers(num_labels=3)) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_memory_of_the_device() -> None:
    """What is left for the student is the device's memory without all that is allocated."""
    told = size_in_words(OnlineTeacher(timm.create_model("test_resnet").cuda()))
    assert told is not None and told.endswith("GiB allocated on cuda:0")
