"""One random view of an image, given to each model in its own size and normalisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from timm.data.auto_augment import augment_and_mix_transform, auto_augment_transform, rand_augment_transform
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from exrep_hf.arguments import DataArguments
from exrep_hf.arguments.data import CROP_RATIO, CROP_SCALE, FLIP_PROBABILITY
from exrep_hf.arguments.preset import read_preset
from exrep_hf.data.pixels import STUDENT_PIXELS, teacher_pixels_name
from exrep_hf.data.preprocessing import RESAMPLING, Preprocessing


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training image; names and meanings as in timm's `train.py`.

    Attributes:
        scale: smallest and largest area of the random crop, as a part of the image's area, in (0, 1].
        ratio: smallest and largest aspect ratio (width / height) of the crop.
        hflip: probability of a horizontal flip, in [0, 1].
        auto_augment: policy in timm's notation, such as `rand-m9-mstd0.5`, `original` or `augmix-m3`; `None`: none.

    Raises:
        ValueError: if a value is outside its range or the policy cannot be read.
    """

    scale: tuple[float, float] = CROP_SCALE
    ratio: tuple[float, float] = CROP_RATIO
    hflip: float = FLIP_PROBABILITY
    auto_augment: str | None = None

    @classmethod
    def from_preset(cls, name: str) -> "Augmentation | None":
        """Return how a preset varies its images; None where it does not.

        Raises:
            ValueError: for an unknown preset, naming the nearest one.
        """
        return cls.from_arguments(DataArguments(**read_preset(name).settings_of(DataArguments)))

    @classmethod
    def from_arguments(cls, args: DataArguments) -> "Augmentation | None":
        """Return how training images are varied under some settings; None with `no_aug`."""
        if args.no_aug:
            return None
        low, high = args.scale
        narrow, wide = args.ratio
        return cls((low, high), (narrow, wide), args.hflip, args.auto_augment)

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"`scale` is {self.scale}; expected (smallest, largest) part of the area within (0, 1].")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"`ratio` is {self.ratio}; expected (smallest, largest) aspect ratio, both above 0.")
        if not 0 <= self.hflip <= 1:
            raise ValueError(f"`hflip` is {self.hflip}; expected a probability between 0 and 1.")
        if self.auto_augment is not None:
            policy_transform(self.auto_augment, 224, (0.5, 0.5, 0.5), Image.Resampling.BICUBIC)


def policy_transform(
    policy: str, size: int, mean: tuple[float, ...], resampling: Image.Resampling
) -> Callable[[Image.Image], Image.Image]:
    """Build timm's auto-augmentation for RGB images whose shorter edge has `size` pixels.

    Raises:
        ValueError: if timm cannot read the policy.
    """
    options = {
        "translate_const": int(size * 0.45),
        "img_mean": tuple(min(255, round(255 * value)) for value in mean),
        "interpolation": resampling,
    }
    try:
        if policy.startswith("rand"):
            return rand_augment_transform(policy, options)
        if policy.startswith("augmix"):
            return augment_and_mix_transform(policy, {**options, "translate_pct": 0.3})
        return auto_augment_transform(policy, options)
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise ValueError(
            f"`auto_augment` is {policy!r}, which timm cannot read ({error}); expected a policy such as "
            "'rand-m9-mstd0.5', 'original-mstd0.5' or 'augmix-m3'."
        ) from error


def largest(models: Sequence[Preprocessing]) -> Preprocessing:
    """Return the largest input, the first of several: smaller ones are made from it, never the other way round."""
    return max(models, key=lambda model: model.height * model.width)


class ViewTransform:
    """Makes one view of an image and presents it to student and teachers, each in its own way.

    With an augmentation all see the same crop, flip and colours; without, each sees its own evaluation transform.
    Randomness comes from torch's global generator, and for `auto_augment` also from `random` and NumPy, as timm has
    it: `SeededDataset` seeds all three for each item.

    Args:
        student: how the student wants its images.
        teachers: how the teacher wants each of its sets of pixels; none: it sees none, or the student's.
        augmentation: `None` for evaluation.
        reference: the model at whose size `auto_augment` acts; the one with the largest input where not given. Views
            that are made again elsewhere, for some of the models alone, need the same.
        normalised: whether the tensors are what the models take; if not, they are pixels, and `Normalising` makes of
            a batch of them, where the models are, the same values to the bit.
    """

    def __init__(
        self,
        student: Preprocessing,
        teachers: Sequence[Preprocessing] = (),
        augmentation: Augmentation | None = None,
        reference: Preprocessing | None = None,
        normalised: bool = True,
    ) -> None:
        self.student = student
        self.teachers = tuple(teachers)
        self.augmentation = augmentation
        self.normalised = normalised
        self._reference = reference or largest((student, *self.teachers))
        self._policy = None
        if augmentation is not None and augmentation.auto_augment is not None:
            mean = self._reference.mean * (3 // len(self._reference.mean))
            size = min(self._reference.height, self._reference.width)
            resampling = RESAMPLING[self._reference.interpolation]
            self._policy = policy_transform(augmentation.auto_augment, size, mean, resampling)

    @property
    def takes_pixels(self) -> bool:
        """Whether it takes pixels as well as Pillow's images: for random views in colours, without `auto_augment`."""
        in_colours = all(model.mode == "RGB" for model in (self.student, *self.teachers))
        return self.augmentation is not None and self._policy is None and in_colours

    def __call__(self, image: Image.Image | Tensor) -> dict[str, Tensor]:
        """Transform a decoded image of any size.

        Args:
            image: Pillow's; or, where it `takes_pixels`, their values `(3, height, width)`, uint8.

        Returns:
            `pixel_values` `(channels, height, width)` for the student, and for the teacher each set of pixels that
            differs from it, under its `teacher_pixels_name`; where one is the same, the student's tensor serves both.
            float32 where they are normalised, else uint8.
        """
        view = image
        if self.augmentation is not None:
            view = self._varied(image, self.augmentation)
        models = dict.fromkeys((self.student, *self.teachers))
        # From an image to a tensor once, where all want the same channels.
        if len({model.mode for model in models}) == 1:
            view = self.student.pixels(view)
        made = {wanted: self._tensor(view, wanted) for wanted in models}
        pixels = {STUDENT_PIXELS: made[self.student]}
        for place, wanted in enumerate(self.teachers):
            if wanted != self.student:
                pixels[teacher_pixels_name(place, len(self.teachers))] = made[wanted]
        return pixels

    def _tensor(self, view: Image.Image | Tensor, wanted: Preprocessing) -> Tensor:
        pixels = wanted.evaluation_pixels(view) if self.augmentation is None else wanted.squeezed_pixels(view)
        return wanted.normalised(pixels) if self.normalised else pixels

    def _varied(self, image: Image.Image | Tensor, augmentation: Augmentation) -> Image.Image | Tensor:
        """Return a random view; of pixels that of the image, by the same draws."""
        if isinstance(image, Image.Image):
            return self._random_view(image, augmentation)
        top, left, height, width = RandomResizedCrop.get_params(image, augmentation.scale, augmentation.ratio)
        view = image[:, top : top + height, left : left + width]
        view = view.permute(1, 2, 0)
        # Its own memory, each pixel's channels side by side.
        view = view.flip(1) if torch.rand(()).item() < augmentation.hflip else view.contiguous()
        return view.permute(2, 0, 1)

    def _random_view(self, image: Image.Image, augmentation: Augmentation) -> Image.Image:
        top, left, height, width = RandomResizedCrop.get_params(image, augmentation.scale, augmentation.ratio)
        view = image.crop((left, top, left + width, top + height))
        if torch.rand(()).item() < augmentation.hflip:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self._policy is None:
            return view
        # timm's policies shift by pixels of the model's input, so they come after the resize.
        target = (self._reference.width, self._reference.height)
        view = view.convert("RGB").resize(target, RESAMPLING[self._reference.interpolation])
        return self._policy(view)
