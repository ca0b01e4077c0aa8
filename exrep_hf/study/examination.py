"""The trainer of a study's method as it would begin, for a look before hours are spent."""

from transformers import set_seed

from exrep_hf.data.partition import load_partition
from exrep_hf.doctor import Finding, examine
from exrep_hf.study.arms import make_arms
from exrep_hf.study.controls import share_length
from exrep_hf.study.run import make_trainer
from exrep_hf.study.study import Settings
from exrep_hf.study.teaching import load_teaching


def examine_study(settings: Settings) -> list[Finding]:
    """Load everything as the study does, train nothing and write nothing, and return what the checks find.

    Raises:
        ValueError: what the study itself refuses.
    """
    settings.training.push_to_hub = False
    model, arms = settings.model, make_arms(settings.model, settings.data, settings.study, settings.training)
    data = load_partition(settings.data, settings.training.dataloader_num_workers or None)
    seed = settings.training.seed
    set_seed(seed)
    public, images = data.parts(seed)
    share_length(arms, len(public), model.student_from_scratch)
    teacher, start = load_teaching(model, data, public, arms[-1].args.needs_logits)
    source = teacher.source(start.classifier.config)
    trainer = make_trainer(arms[-1], start, images, data, seed, source)
    return examine(trainer, not model.teacher_steps and teacher.head != "probe", not model.student_steps)
