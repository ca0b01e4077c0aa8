"""Small untrained checkpoints of two towers, each in a folder with a tokenizer and an image processor."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from exrep_hf.data import Preprocessing
from tests.families import SIZE, two_towers

NAMES = ["cat", "dog", "bird"]
_WORDS = [*("<pad>", "<s>", "</s>", "<unk>", "a", "photo", "of", ".", "this", "is", "picture", "small"), *NAMES]
_WORDS += ["Small", "Cat"]
# Ten are the digits' classes.
_WORDS += [str(digit) for digit in range(10)]
PREPROCESSING = Preprocessing(SIZE, SIZE, None, "bilinear", (0.5,) * 3, (0.5,) * 3)


def save_tokenizer(folder: Path, words: list[str] = _WORDS) -> None:
    """Write a tokenizer that knows some words, whatever their case."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends: list[Any] = [("<s>", 1), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=9, **special)
    fast.save_pretrained(folder)


def save_towers(family: str, folder: Path, tokenizer: bool = True) -> str:
    """Write a model of images and text, with what belongs to it; returns the folder."""
    two_towers(family).save_pretrained(folder)
    PREPROCESSING.to_image_processor().save_pretrained(folder)
    if tokenizer:
        save_tokenizer(folder)
    return str(folder)


def zero_shot_logits(folder: str, texts: list[str], images: Any) -> Any:
    """What the model itself says, as transformers' pipeline asks it: `logits_per_image` `(images, texts)`.

    Of SigLIP in lower case, as its own tokenizers have it.
    """
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    is_siglip = "siglip" in model.config.model_type
    texts = [text.lower() for text in texts] if is_siglip else texts
    most = model.config.text_config.max_position_embeddings
    padding: dict[str, Any] = {"padding": "max_length", "max_length": min(most, 9)} if is_siglip else {"padding": True}
    return model(**tokenizer(texts, return_tensors="pt", **padding), pixel_values=images).logits_per_image.detach()
