import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from exrep_hf.models import LightDistiller, PaperDistiller
from exrep_hf.models.input_distiller import LightBlock, PaperBlock


def count_macs(model: nn.Module, size: int) -> float:
    model = model.to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, size, size, device="meta"))
    return counter.get_total_flops() / 2


def build(kind: str, num_channels: int = 3) -> LightDistiller | PaperDistiller:
    return LightDistiller(num_channels) if kind == "light" else PaperDistiller(num_channels, 2**11)


def trained(distiller: LightDistiller | PaperDistiller) -> LightDistiller | PaperDistiller:
    nn.init.normal_(distiller.to_residual.weight, std=0.1)
    return distiller


def test_paper_has_the_published_size_and_cost() -> None:
    """A block forgotten or doubled: the reference that everything is compared with would not be the paper's."""
    distiller = PaperDistiller(3, 240)
    assert sum(p.numel() for p in distiller.parameters()) == pytest.approx(8.39e6, rel=0.01)
    assert count_macs(distiller, 240) == pytest.approx(34.6e9, rel=0.01)


@pytest.mark.parametrize(("student", "size"), [("efficientnet_b0", 224), ("tf_efficientnet_b1", 240)])
def test_light_costs_at_most_a_tenth_of_the_student(student: str, size: int) -> None:
    """A wider light distiller would make inference dear without anybody noticing."""
    assert 0 < count_macs(LightDistiller(3), size) <= 0.1 * count_macs(timm.create_model(student), size)


@pytest.mark.parametrize(("image_size", "widths"), [(240, [68, 136, 256, 256]), (32, [256, 256, 256, 256])])
def test_paper_widths(image_size: int, widths: list[int]) -> None:
    """Small images would otherwise get a first convolution of 512 channels and a billion weights' memory."""
    with torch.device("meta"):
        distiller = PaperDistiller(3, image_size)
    names = ["embed", *(f"encoder.{level}.conv2" for level in range(3))]
    assert [distiller.get_parameter(f"{name}.weight").shape[0] for name in names] == widths


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("light", (1, 3, 8, 8)),
        ("light", (2, 1, 33, 17)),
        ("light", (1, 5, 9, 30)),
        ("light", (1, 3, 1, 1)),
        ("paper", (1, 3, 16, 16)),
        ("paper", (2, 1, 33, 17)),
        ("paper", (1, 5, 20, 30)),
    ],
)
def test_shape_range_and_start(kind: str, shape: tuple[int, ...]) -> None:
    """Odd sizes must come back whole, and an untrained distiller must not change one bit of the image."""
    image = torch.randn(shape)
    distiller = build(kind, shape[1])
    for mode in (True, False):
        assert torch.equal(image + distiller.train(mode)(image), image)
    residual = trained(distiller)(10 * image)
    assert residual.shape == image.shape
    assert 0 < residual.abs().max() <= 1


@pytest.mark.parametrize("kind", ["light", "paper"])
def test_start_is_trainable(kind: str) -> None:
    """A distiller whose last layer gets no gradient at zero would stay at zero for ever."""
    distiller = build(kind)
    distiller(torch.randn(2, 3, 16, 16)).mul(torch.randn(2, 3, 16, 16)).sum().backward()
    gradient = distiller.to_residual.weight.grad
    assert gradient is not None
    assert gradient.abs().min() > 0


@pytest.mark.parametrize("kind", ["light", "paper"])
def test_no_batch_statistics(kind: str) -> None:
    """Images of one batch must not see each other, nor training differ from evaluation."""
    distiller = trained(build(kind)).double()
    batch = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    whole = distiller.train()(batch)
    alone = torch.cat([distiller.eval()(image[None]) for image in batch])
    torch.testing.assert_close(whole, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["light", "paper"])
def test_bfloat16_autocast(kind: str) -> None:
    """Under autocast the residual must stay finite and close to the one in full precision."""
    distiller = trained(build(kind))
    image = torch.randn(1, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = distiller(image)
        assert torch.equal(image + build(kind)(image), image)
    torch.testing.assert_close(low.float(), distiller(image), rtol=0.1, atol=0.1)


def test_light_against_a_plain_loop() -> None:
    """Patches put back in another order than they were taken would still have the right shape."""
    distiller = trained(LightDistiller(2, channels=6))
    image = torch.randn(1, 2, 6, 9)
    padded = torch.zeros(1, 2, 8, 12)
    padded[..., :6, :9] = image
    hidden = torch.empty(1, 6, 2, 3)
    for row in range(2):
        for column in range(3):
            patch = padded[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            weight = distiller.embed.weight
            hidden[0, :, row, column] = (weight * patch).sum((1, 2, 3))
    for block in distiller.get_submodule("blocks").children():
        assert isinstance(block, LightBlock)
        mixed = F.group_norm(F.conv2d(hidden, block.mix_space.weight, padding=3, groups=6), 1)
        hidden = hidden + pointwise(block.project, F.gelu(pointwise(block.expand, mixed)))
    out = pointwise(distiller.to_residual, hidden)
    expected = torch.empty(1, 2, 8, 12)
    for channel in range(2):
        for y in range(8):
            for x in range(12):
                expected[0, channel, y, x] = out[0, 16 * channel + 4 * (y % 4) + x % 4, y // 4, x // 4].tanh()
    torch.testing.assert_close(distiller(image), expected[..., :6, :9], rtol=1e-4, atol=1e-5)


def pointwise(layer: nn.Conv2d, hidden: Tensor) -> Tensor:
    return torch.einsum("oi,bihw->bohw", layer.weight[:, :, 0, 0], hidden)


def test_paper_is_deep_enough_to_see_everything() -> None:
    """Without the bottleneck's blocks a corner of the image could not change the residual of the other corner."""
    distiller = trained(build("paper"))
    image = torch.randn(1, 3, 16, 16, requires_grad=True)
    distiller(image)[0, :, -1, -1].sum().backward()
    assert image.grad is not None
    assert image.grad[0, :, 0, 0].abs().min() > 0


def test_paper_rejects_images_that_it_cannot_halve() -> None:
    """A 1x1 instance norm would give zeros, silently."""
    with pytest.raises(ValueError, match=r"got \(8, 20\) px; expected at least 16"):
        build("paper")(torch.zeros(1, 3, 8, 20))


def test_paper_block_keeps_the_variance_of_what_it_adds() -> None:
    """Without the division by √2 the hidden image would grow with each of the ten blocks."""
    block = PaperBlock(5, 5, encoder=True)
    nn.init.zeros_(block.conv2.weight)
    assert block.conv2.bias is not None
    nn.init.constant_(block.conv2.bias, 3.0)
    hidden = torch.randn(2, 5, 6, 4)
    torch.testing.assert_close(block(hidden), (hidden + 3) * math.sqrt(0.5))


@pytest.mark.parametrize("image_size", [1000, 2**11])
def test_paper_against_a_plain_computation(image_size: int) -> None:
    """Another slope, norm, pooling or order of two layers still has the published size, cost and range.

    At 1000 px ⌊2¹⁴ / 1000⌋ = 16 channels are doubled, which differs from 2¹⁴ · 2 / 1000 = 32.8.
    """
    distiller = trained(PaperDistiller(2, image_size)).double()
    for parameter in distiller.parameters():
        nn.init.normal_(parameter, std=0.3)
    image = torch.randn(2, 2, 21, 18, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(distiller(image), plain_paper_distiller(distiller.state_dict(), image, image_size))


def plain_paper_distiller(weights: dict[str, Tensor], image: Tensor, image_size: int) -> Tensor:
    """Section 3.1 of the paper in additions, products and indices; `weights` as of `PaperDistiller.state_dict()`."""

    def convolved(name: str, hidden: Tensor) -> Tensor:
        weight = weights[f"{name}.weight"]
        kernel, (height, width) = weight.shape[-1], hidden.shape[-2:]
        padded = torch.zeros(*hidden.shape[:2], height + kernel - 1, width + kernel - 1, dtype=hidden.dtype)
        start = kernel // 2
        padded[..., start : start + height, start : start + width] = hidden
        total = torch.zeros(len(hidden), len(weight), height, width, dtype=hidden.dtype)
        for row in range(kernel):
            for column in range(kernel):
                part = padded[..., row : row + height, column : column + width]
                total += torch.einsum("oi,bihw->bohw", weight[..., row, column], part)
        return total + weights[f"{name}.bias"][:, None, None] if f"{name}.bias" in weights else total

    def normed(name: str, hidden: Tensor, affine: bool) -> Tensor:
        mean = hidden.mean((2, 3), keepdim=True)
        variance = ((hidden - mean) ** 2).mean((2, 3), keepdim=True)
        hidden = (hidden - mean) / (variance + 1e-5).sqrt()
        assert affine is (f"{name}.weight" in weights)
        if affine:
            hidden = hidden * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]
        return torch.where(hidden > 0, hidden, 0.2 * hidden)

    def halved(hidden: Tensor) -> Tensor:
        height, width = (size // 2 * 2 for size in hidden.shape[-2:])
        rows = hidden[..., 0:height:2, :] + hidden[..., 1:height:2, :]
        return (rows[..., 0:width:2] + rows[..., 1:width:2]) / 4

    def enlarged(hidden: Tensor, size: tuple[int, ...]) -> Tensor:
        rows, columns = (
            [place * old // new for place in range(new)] for old, new in zip(hidden.shape[-2:], size, strict=True)
        )
        return hidden[..., rows, :][..., columns]

    def block(name: str, hidden: Tensor, encoder: bool, halve: bool, size: tuple[int, ...] | None) -> Tensor:
        shortcut, hidden = hidden, normed(f"{name}.norm1", hidden, encoder)
        if size is not None:
            shortcut, hidden = enlarged(shortcut, size), enlarged(hidden, size)
        hidden = convolved(f"{name}.conv1", hidden)
        if f"{name}.shortcut.weight" in weights:
            shortcut = convolved(f"{name}.shortcut", shortcut)
        if halve:
            shortcut, hidden = halved(shortcut), halved(hidden)
        hidden = convolved(f"{name}.conv2", normed(f"{name}.norm2", hidden, encoder))
        return (shortcut + hidden) / 2**0.5

    width = int(2**14 / image_size)
    hidden = convolved("embed", image)
    sizes: list[tuple[int, ...]] = []
    for level in range(3):
        sizes.append(tuple(hidden.shape[-2:]))
        hidden = block(f"encoder.{level}", hidden, True, True, None)
        assert hidden.shape[1] == width * 2 ** (level + 1)
    for number in range(4):
        hidden = block(f"bottleneck.{number}", hidden, number < 2, False, None)
    for level in range(3):
        hidden = block(f"decoder.{level}", hidden, False, False, sizes[-1 - level])
    return convolved("to_residual", normed("norm", hidden, True)).tanh()
