"""What results say of a teacher that a study knows by its stored answers alone."""

from pathlib import Path

from exrep_hf.study.stored_teacher import summarise_stored_teacher
from exrep_hf.teacher.cache import Provenance
from tests.teacher.cache.conftest import store


def test_answers_that_were_stored_without_a_name(tmp_path: Path) -> None:
    """All arms had been trained when they were found to have none."""
    unnamed = store(tmp_path / "a", provenance=None)
    named = store(tmp_path / "b", provenance=Provenance("me/teacher", "v1"))
    told = summarise_stored_teacher([unnamed, named], None, [{"teacher": None}])
    assert told["name"] == "a teacher without a name, me/teacher" and told["accuracy"] is None
