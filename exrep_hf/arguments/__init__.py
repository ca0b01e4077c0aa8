"""Every setting, once: what is trained, on what data, how, and what becomes of it."""

from exrep_hf.arguments.caching import CachingArguments
from exrep_hf.arguments.data import DataArguments
from exrep_hf.arguments.distillation import DistillationArguments
from exrep_hf.arguments.evaluation import EvaluationArguments
from exrep_hf.arguments.export import ExportArguments
from exrep_hf.arguments.model import ModelArguments
from exrep_hf.arguments.publishing import PublishArguments, VerificationArguments
from exrep_hf.arguments.study import StudyArguments

__all__ = [
    "CachingArguments",
    "DataArguments",
    "DistillationArguments",
    "EvaluationArguments",
    "ExportArguments",
    "ModelArguments",
    "PublishArguments",
    "StudyArguments",
    "VerificationArguments",
]
