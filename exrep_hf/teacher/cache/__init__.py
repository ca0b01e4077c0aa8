"""Teachers' answers on a disk: written once, found by image and view."""

from exrep_hf.teacher.cache.batch_answers import BatchAnswers
from exrep_hf.teacher.cache.manifest import Plan, Provenance, Storage
from exrep_hf.teacher.cache.writer import write_answers

__all__ = ["BatchAnswers", "Plan", "Provenance", "Storage", "write_answers"]
