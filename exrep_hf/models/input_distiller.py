"""Input Distillers: networks that emit a residual of an image, to be added before the student sees it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ZeroConv2d(nn.Conv2d):
    """A 1x1 convolution that starts at zero, so that the residual does."""


def initialize_layer(module: nn.Module) -> None:
    """Draw the weights of one layer again: He-normal convolutions, identity norms, zeros in `ZeroConv2d`."""
    if isinstance(module, ZeroConv2d):
        nn.init.zeros_(module.weight)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
    # transformers calls this for weights that a checkpoint lacks, which hold whatever was in memory.
    elif isinstance(module, nn.GroupNorm | nn.InstanceNorm2d) and module.affine:
        nn.init.ones_(module.weight)
    bias = getattr(module, "bias", None)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)


class LightBlock(nn.Module):
    """Residual block: depthwise 7x7, norm over channels and space, pointwise expansion by two, GELU, projection."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix_space = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to the same shape."""
        return hidden + self.project(F.gelu(self.expand(self.norm(self.mix_space(hidden)))))


class LightDistiller(nn.Module):
    """The distiller that costs less than a tenth of its student: all work is done on 4x4 patches.

    Any size of at least 1 px works. Its 24 channels cost 29 MMACs at 224 px (EfficientNet-B0: 386 MMACs). It has no
    batch statistics, so training and evaluation see the same function.

    Args:
        num_channels: channels of the image.
        channels: width.
    """

    patch = 4

    def __init__(self, num_channels: int, channels: int = 24):
        super().__init__()
        self.embed = nn.Conv2d(num_channels, channels, self.patch, stride=self.patch)
        self.blocks = nn.Sequential(LightBlock(channels), LightBlock(channels))
        self.to_residual = ZeroConv2d(channels, num_channels * self.patch**2, 1)
        self.apply(initialize_layer)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return the residual of each image.

        Args:
            pixel_values: normalised images, `(batch, num_channels, height, width)`.

        Returns:
            residual in (-1, 1), of the same shape.
        """
        height, width = pixel_values.shape[-2:]
        # To whole patches, at the right and at the bottom: what is cut off again below.
        padded = F.pad(pixel_values, (0, -width % self.patch, 0, -height % self.patch))
        hidden = self.blocks(self.embed(padded))  # (batch, channels, ⌈height / 4⌉, ⌈width / 4⌉)
        patches = self.to_residual(hidden)  # (batch, num_channels · 4 · 4, ⌈height / 4⌉, ⌈width / 4⌉)
        return F.pixel_shuffle(patches, self.patch)[..., :height, :width].tanh()


class PaperBlock(nn.Module):
    """Pre-activation residual block of the paper's distiller, at one scale, halving, or growing to a given size.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        encoder: True for the encoder's form (affine norms, the first convolution keeps its width, pooling after it);
            False for the decoder's (norms without affine, the first convolution changes the width, upsampling
            before it).
        halve: average-pool by two (encoder only).
    """

    def __init__(self, in_channels: int, out_channels: int, encoder: bool, halve: bool = False):
        super().__init__()
        middle = in_channels if encoder else out_channels
        self.halve = halve
        self.norm1 = nn.InstanceNorm2d(in_channels, affine=encoder)
        self.conv1 = nn.Conv2d(in_channels, middle, 3, padding=1)
        self.norm2 = nn.InstanceNorm2d(middle, affine=encoder)
        self.conv2 = nn.Conv2d(middle, out_channels, 3, padding=1)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else nn.Identity()
        )

    def forward(self, hidden: Tensor, size: torch.Size | None = None) -> Tensor:
        """Map `(batch, in_channels, height, width)` to `(batch, out_channels, ...)`, upsampled to a given `size`."""
        # Activations come before convolutions, and the shortcut gets none: pre-activation (He et al., ECCV 2016).
        shortcut, hidden = hidden, F.leaky_relu(self.norm1(hidden), 0.2)
        if size is not None:
            shortcut, hidden = F.interpolate(shortcut, size=size), F.interpolate(hidden, size=size)
        shortcut, hidden = self.shortcut(shortcut), self.conv1(hidden)  # out_channels, middle
        if self.halve:
            # An odd last row or column is dropped; the decoder grows back to the size that it is told.
            shortcut, hidden = F.avg_pool2d(shortcut, 2), F.avg_pool2d(hidden, 2)
        hidden = self.conv2(F.leaky_relu(self.norm2(hidden), 0.2))
        # Two terms of the same variance: their sum keeps it.
        return (shortcut + hidden) / math.sqrt(2)


class PaperDistiller(nn.Module):
    """The paper's distiller, after StarGAN v2's generator: 8.39 M parameters and 34.6 GMACs at 240 px.

    Jeon et al., ACCV 2020, section 3.1; Choi et al., CVPR 2020. Differs in one point: the last convolution starts at
    zero, where the paper's starts at random.

    Args:
        num_channels: channels of the image.
        image_size: side in pixels that sets the width, `min(2**14 // image_size, 256)`. Images of other sizes, from
            16 px on, can be passed.
    """

    max_channels = 256

    def __init__(self, num_channels: int, image_size: int):
        super().__init__()
        # The first width is rounded down, and then doubled.
        widths = [min(2**14 // image_size * 2**level, self.max_channels) for level in range(4)]
        steps = list(zip(widths[:-1], widths[1:], strict=True))
        bottom = widths[-1]
        self.embed = nn.Conv2d(num_channels, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(PaperBlock(a, b, encoder=True, halve=True) for a, b in steps)
        self.bottleneck = nn.Sequential(
            *(PaperBlock(bottom, bottom, encoder=True) for _ in range(2)),
            *(PaperBlock(bottom, bottom, encoder=False) for _ in range(2)),
        )
        self.decoder = nn.ModuleList(PaperBlock(b, a, encoder=False) for a, b in reversed(steps))
        self.norm = nn.InstanceNorm2d(widths[0], affine=True)
        self.to_residual = ZeroConv2d(widths[0], num_channels, 1)
        self.apply(initialize_layer)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return the residual of each image.

        Args:
            pixel_values: normalised images, `(batch, num_channels, height, width)`, at least 16 px a side.

        Returns:
            residual in (-1, 1), of the same shape.
        """
        # Three halvings would leave one pixel, which an instance norm makes zero, or none.
        if min(pixel_values.shape[-2:]) < 16:
            raise ValueError(
                f"The `paper` distiller halves images three times and got {tuple(pixel_values.shape[-2:])} px; "
                "expected at least 16 px a side. Use distiller='light', or larger images."
            )
        hidden = self.embed(pixel_values)  # (batch, widths[0], height, width)
        sizes = []
        for block in self.encoder:
            sizes.append(hidden.shape[-2:])
            hidden = block(hidden)  # twice the channels, half the size
        hidden = self.bottleneck(hidden)  # (batch, widths[3], height // 8, width // 8)
        # By the encoder's own sizes: doubling would turn 33 px into 32.
        for block, size in zip(self.decoder, reversed(sizes), strict=True):
            hidden = block(hidden, size)
        return self.to_residual(F.leaky_relu(self.norm(hidden), 0.2)).tanh()
