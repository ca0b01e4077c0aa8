"""The text tower of a model with two: what classes are called becomes the weights of a classifier.

The classifier of several prompts is that of CLIP (Radford et al., 2021, https://arxiv.org/abs/2103.00020, section
3.1.4): of each class the mean of its normalised texts, normalised again.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoModel, AutoTokenizer, PreTrainedConfig

from .image_check import blank_image
from .vision_backbone import vision_tower
from .whole_weights import NETWORK, check_whole, load_reported, read_config

_PLACE = "{}"
_PROMPT, _PROMPT_OF_SIGLIP = "a photo of a {}.", "This is a photo of {}."
_TEXTS_AT_ONCE = 256
_REMEDY = "Have a classifier fitted on labelled images (`teacher_head='probe'`), or compare features alone ('none')."


@dataclass(frozen=True)
class TextWeights:
    """A classifier of what a vision tower pools: cosine of its projection to the text of each class, times a scale.

    Attributes:
        weight: texts, normalised and times the model's scale, `(classes, embedding_dim)`, float32.
        bias: the model's, `(classes,)`, float32.
        projection: of what is pooled, `(embedding_dim, feature_dim)`, float32; None: that is compared as it is.
    """

    weight: Tensor
    bias: Tensor
    projection: Tensor | None

    def logits(self, pooled: Tensor) -> Tensor:
        """Return logits `(batch, classes)` of pooled features `(batch, feature_dim)`, float32."""
        embedding = pooled if self.projection is None else F.linear(pooled, self.projection)
        return F.linear(F.normalize(embedding, dim=-1), self.weight, self.bias)


class TwoTowers:
    """A checkpoint of two towers, loaded whole, in float32, with its tokenizer.

    Args:
        name_or_path: Hub name or local folder.
        revision: branch, tag or commit on the Hub.

    Raises:
        ValueError: if it has no text tower or no tokenizer, or its weights are not whole.
    """

    def __init__(self, name_or_path: str | os.PathLike[str], revision: str | None = None) -> None:
        self.name = os.fspath(name_or_path)
        config = read_config(self.name, revision, NETWORK)
        _check_two_towers(self.name, config)
        model, report = load_reported(AutoModel, self.name, config, revision, torch.float32, NETWORK)
        check_whole(model, report, self.name, _REMEDY)
        self._model: Any = model.eval().requires_grad_(False)
        self._tokenizer: Any = _load_tokenizer(self.name, revision)

    @property
    def vision_tower(self) -> nn.Module:
        """The network that sees images."""
        return vision_tower(self._model)

    @property
    def usual_prompts(self) -> tuple[str, ...]:
        """The one that transformers asks models of this type with."""
        return (_PROMPT_OF_SIGLIP if self._is_siglip else _PROMPT,)

    @property
    def _is_siglip(self) -> bool:
        return "siglip" in self._model.config.model_type

    @torch.no_grad()
    def weights(self, words: Sequence[str], prompts: Sequence[str], device: torch.device | str = "cpu") -> TextWeights:
        """Return the classifier of some classes, on the CPU.

        Args:
            words: what the classes are called.
            prompts: each with `{}` where the name stands.
            device: where texts are read.

        Raises:
            ValueError: if the tokenizer can't tell the classes apart, a text is too long, or the model compares
                images and texts in a way of its own.
        """
        for prompt in prompts:
            self._check_tokens(words, self._sentences(words, prompt))
        self._model.to(device)
        with torch.autocast(torch.device(device).type, enabled=False):
            self._check(words[:2], prompts[:1])
            return self._weights(words, prompts)

    def _weights(self, words: Sequence[str], prompts: Sequence[str]) -> TextWeights:
        texts = torch.stack([F.normalize(self._texts(words, prompt), dim=-1) for prompt in prompts])
        scale, bias = self._scale_and_bias()
        projection = getattr(self._model, "visual_projection", None)
        return TextWeights(
            weight=scale * F.normalize(texts.mean(0), dim=-1),
            bias=torch.full((len(words),), bias),
            projection=None if projection is None else projection.weight.cpu().clone(),
        )

    def _texts(self, words: Sequence[str], prompt: str) -> Tensor:
        """Return the text tower's answers to a prompt, `(classes, embedding_dim)`, on the CPU."""
        texts = self._sentences(words, prompt)
        parts = [texts[first : first + _TEXTS_AT_ONCE] for first in range(0, len(texts), _TEXTS_AT_ONCE)]
        return torch.cat([_pooled(self._model.get_text_features(**self._tokens(part))).cpu() for part in parts])

    def _sentences(self, words: Sequence[str], prompt: str) -> list[str]:
        """Return a prompt about each class."""
        return [self._in_case(prompt.replace(_PLACE, word)) for word in words]

    def _in_case(self, text: str) -> str:
        # SigLIP 1 and 2 have read lower case alone, and not each tokenizer of theirs sees to it.
        return text.lower() if self._is_siglip else text

    def _tokens(self, texts: list[str]) -> Any:
        """Return texts as the model was trained on them, as transformers' pipeline does."""
        padding: dict[str, Any] = {"padding": "max_length", "max_length": self._longest} if self._is_siglip else {}
        return self._tokenizer(texts, return_tensors="pt", **{"padding": True} | padding).to(self._model.device)

    @property
    def _longest(self) -> int:
        """Most tokens of a text."""
        return min(self._model.config.text_config.max_position_embeddings, self._tokenizer.model_max_length)

    def _check_tokens(self, words: Sequence[str], texts: list[str]) -> None:
        """Make sure that texts are read whole and differ: without its files a tokenizer may know no word."""
        rows, vocabulary = self._tokenizer(texts)["input_ids"], self._model.config.text_config.vocab_size
        seen: dict[tuple[int, ...], str] = {}
        for word, text, row in zip(words, texts, rows, strict=True):
            own = self._tokenizer(self._in_case(word), add_special_tokens=False)["input_ids"]
            unknown = set(own) <= {self._tokenizer.unk_token_id} or max(row) >= vocabulary
            if unknown or tuple(row) in seen:
                what = "does not know" if unknown else f"can't tell from {seen[tuple(row)]!r}"
                raise ValueError(
                    f"The tokenizer of {self.name!r} {what} the class {word!r}. Expected the tokenizer that the text "
                    "tower was trained with: see that its files (tokenizer.json) lie beside the weights; else call "
                    "the class by other words."
                )
            if len(row) > self._longest:
                raise ValueError(
                    f"The text {text!r} has {len(row)} tokens, and the text tower of {self.name!r} reads at most "
                    f"{self._longest}. Give the class a shorter name, or shorten the prompt."
                )
            seen[tuple(row)] = word

    def _scale_and_bias(self) -> tuple[float, float]:
        model = self._model
        if hasattr(model, "logit_scale"):
            exponent = float(model.logit_scale)
            if (most := getattr(model, "max_log_logit_scale", None)) is not None:
                exponent = min(max(exponent, 0.0), most)
            scale = math.exp(exponent)
        else:
            scale = 1 / float(getattr(model, "temperature", 1.0))
        return scale, float(getattr(model, "logit_bias", 0.0))

    def _check(self, words: Sequence[str], prompts: Sequence[str]) -> None:
        """Make sure that the model itself gives the same answers, about an image and some classes."""
        blank = blank_image(self.vision_tower)
        image = torch.linspace(-1, 1, blank.numel()).view(1, *blank.shape).to(self._model.device)
        texts = self._sentences(words, prompts[0])
        expected = self._model(**self._tokens(texts), pixel_values=image).logits_per_image.cpu()
        found = self._weights(words, prompts).logits(_pooled(self.vision_tower(pixel_values=image)).cpu())
        scale, _ = self._scale_and_bias()
        if not torch.allclose(found, expected, atol=1e-3 * max(scale, 1.0), rtol=1e-3):
            raise ValueError(
                f"{self.name!r} is a {type(self._model).__name__}, which compares images and texts in a way of its "
                f"own: its logits are {expected.flatten().tolist()}, and the cosines times its scale "
                f"{found.flatten().tolist()}; expected the same. {_REMEDY}"
            )


def _load_tokenizer(name: str, revision: str | None) -> Any:
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, ImportError, LookupError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"`teacher_head` is 'text', and {name!r} has no tokenizer that can be loaded ({reason} …); expected the "
            "files of one (tokenizer.json) beside the weights. Put them there by `AutoTokenizer.from_pretrained(…)."
            f"save_pretrained(folder)` of the checkpoint that the weights come from. {_REMEDY}"
        ) from error


def _check_two_towers(name: str, config: PreTrainedConfig) -> None:
    architecture: Any = MODEL_MAPPING.get(type(config), None)
    kinds = architecture if isinstance(architecture, tuple | list) else (architecture,)
    has_text = any(hasattr(kind, "get_text_features") and hasattr(kind, "get_image_features") for kind in kinds)
    if not (has_text and hasattr(config, "text_config") and hasattr(config, "vision_config")):
        raise ValueError(
            f"`teacher_head` is 'text', and {name!r} is a model of the type {config.model_type!r}, which has no text "
            f"tower; expected one of images and texts, such as CLIP or SigLIP. {_REMEDY}"
        )


def _pooled(output: Any) -> Tensor:
    """Return features, which earlier releases of transformers gave as they are."""
    return output if isinstance(output, Tensor) else output.pooler_output
