"""A trained Input Distiller as an augmentation for other data and other students."""

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from exrep_hf.data import Preprocessing
from exrep_hf.models import ExRepForImageClassification


class DistillerAugment(nn.Module):
    """Replace an image, with a small probability, by what a trained Input Distiller makes of it.

    The image is resized to the distiller's size, replaced by `x + G(x)`, and resized back (Jeon et al., ACCV 2020, the
    experiments on CIFAR: `p=0.01`). It is a transform like any of torchvision's, to be used before normalisation.
    Randomness comes from torch's global generator.

    Args:
        model: the student that the distiller was trained with. It is frozen, not copied.
        p: probability that an image is replaced, in [0, 1].
        preprocessing: size, mean and deviation that the distiller knows; found from the model where not given.

    Raises:
        ValueError: if the model has no distiller, or `p` is no probability.
    """

    def __init__(
        self, model: ExRepForImageClassification, p: float = 0.01, preprocessing: Preprocessing | None = None
    ) -> None:
        super().__init__()
        if not isinstance(model, ExRepForImageClassification) or model.input_distiller is None:
            raise ValueError(
                f"{type(model).__name__} has no Input Distiller; expected an ExRepForImageClassification that was "
                "trained with one. Where a recipe made the distiller removable, load the sub-folder `with_distiller`."
            )
        if not 0 <= p <= 1:
            raise ValueError(f"`p` is {p}; expected a probability in [0, 1].")
        self.p = p
        self.preprocessing = preprocessing or Preprocessing.from_model(model)
        self.distiller = model.input_distiller.eval().requires_grad_(False)

    def forward(self, image: Image.Image | Tensor) -> Image.Image | Tensor:
        """Vary one image, or each image of a batch by itself.

        Args:
            image: a PIL image, or pixels `(..., channels, height, width)`: uint8, or float in [0, 1].

        Returns:
            What came in, in its own type, mode and size. Transparency is lost, and colour too where the distiller is
            for grey images.

        Raises:
            ValueError: if a tensor has no three or four dimensions, or a PIL image has more than 8 bits a channel.
        """
        if isinstance(image, Image.Image):
            if torch.rand(()) >= self.p:
                return image
            pixels = self.preprocessing.pixels(image)
            return F.to_pil_image(self._distilled(pixels[None])[0]).convert(image.mode)
        if image.ndim not in (3, 4):
            raise ValueError(
                f"Pixels have the shape {tuple(image.shape)}; expected (channels, height, width), or a batch."
            )
        batch = image if image.ndim == 4 else image[None]
        drawn = (torch.rand(len(batch)) < self.p).to(batch.device)
        if bool(drawn.any()):
            batch = batch.clone()
            batch[drawn] = self._distilled(batch[drawn])
        return batch if image.ndim == 4 else batch[0]

    @torch.no_grad()
    def _distilled(self, pixels: Tensor) -> Tensor:
        """`x + G(x)` of a batch of pixels, in its own type and size."""
        wanted, channels = self.preprocessing, pixels.shape[-3]
        values = F.to_dtype(pixels, torch.float32, scale=True)
        if channels != len(wanted.mean):
            values = F.rgb_to_grayscale(values) if len(wanted.mean) == 1 else F.grayscale_to_rgb(values)
        resized = _resize(values, wanted.height, wanted.width)
        normalised = F.normalize(resized, list(wanted.mean), list(wanted.std))
        weight = next(self.distiller.parameters())
        residual = self.distiller(normalised.to(weight)).to(values)
        distilled = (resized + residual * residual.new_tensor(wanted.std)[:, None, None]).clamp(0, 1)
        distilled = _resize(distilled, *pixels.shape[-2:])
        if channels != len(wanted.mean):
            distilled = F.rgb_to_grayscale(distilled) if channels == 1 else F.grayscale_to_rgb(distilled)
        return F.to_dtype(distilled.clamp(0, 1), pixels.dtype, scale=True)


def _resize(pixels: Tensor, height: int, width: int) -> Tensor:
    return F.resize(pixels, [height, width], InterpolationMode.BICUBIC, antialias=True)
