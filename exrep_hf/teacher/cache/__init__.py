"""Teachers' answers on a disk: written once, found by image and view."""

from exrep_hf.teacher.cache.manifest import Plan, Provenance, Storage
from exrep_hf.teacher.cache.reader import StoredAnswers
from exrep_hf.teacher.cache.writer import write_answers

__all__ = ["Plan", "Provenance", "Storage", "StoredAnswers", "write_answers"]
