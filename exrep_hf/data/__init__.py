"""From a data set's name to the tensors of a step."""

from exrep_hf.data.augmentation import Augmentation, ViewTransform
from exrep_hf.data.checks import check_images, check_items, check_labels, find_broken_images
from exrep_hf.data.class_map import ClassMap
from exrep_hf.data.classes import class_names, encode_labels, label_names, names_or_numbers
from exrep_hf.data.collator import collate_distillation
from exrep_hf.data.datasets import DistillationDataset
from exrep_hf.data.extra_images import WithExtraImages
from exrep_hf.data.loading import find_columns, load_digits, load_images
from exrep_hf.data.mixing import Mixing
from exrep_hf.data.preprocessing import Preprocessing
from exrep_hf.data.splits import split_public_private, train_val_split
from exrep_hf.data.transport import Normalising
from exrep_hf.data.views import ViewPolicy

__all__ = [
    "Augmentation",
    "ClassMap",
    "DistillationDataset",
    "Mixing",
    "Normalising",
    "Preprocessing",
    "ViewPolicy",
    "ViewTransform",
    "WithExtraImages",
    "check_images",
    "check_items",
    "check_labels",
    "class_names",
    "collate_distillation",
    "encode_labels",
    "find_broken_images",
    "find_columns",
    "label_names",
    "names_or_numbers",
    "load_digits",
    "load_images",
    "split_public_private",
    "train_val_split",
]
