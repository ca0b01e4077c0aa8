"""A look at a whole study before hours are spent on it."""

from collections.abc import Iterator
from pathlib import Path

from transformers import set_seed

from exrep_hf.data.partition import load_partition
from exrep_hf.doctor import Finding, check_hub, examine, refusal
from exrep_hf.study.arms import make_arms
from exrep_hf.study.controls import controls_left_out, share_length
from exrep_hf.study.folder import check_output_dir, wants_resume
from exrep_hf.study.run import make_trainer
from exrep_hf.study.stages import check_labels_for_stages
from exrep_hf.study.study import Settings
from exrep_hf.study.teaching import load_teaching


def examine_study(settings: Settings) -> list[Finding]:
    """Load everything as the study does, train nothing and write nothing, and return what the checks find.

    What the study itself would refuse is a finding too.
    """
    training, found = settings.training, []
    pushes, training.push_to_hub = training.push_to_hub, False
    try:
        for finding in _examined(settings):
            found.append(finding)
    except (ValueError, OSError) as error:
        found.append(refusal(error))
    if pushes:
        name = training.hub_model_id or Path(str(training.output_dir)).name
        found += check_hub(name, training.hub_private_repo, training.hub_token)
    return found


def _examined(settings: Settings) -> Iterator[Finding]:
    model, study, training = settings.model, settings.study, settings.training
    yield from _of_folder(settings)
    arms = make_arms(model, settings.data, study, training)
    data = load_partition(settings.data, training.dataloader_num_workers or None)
    seeds = [training.seed + number for number in range(study.num_seeds)]
    check_labels_for_stages(data, model, seeds)
    set_seed(training.seed)
    public, images = data.parts(training.seed)
    share_length(arms, len(public), model.student_from_scratch)
    are_default = study.controls is None
    # Controls that nobody asked for are no reason to fit a head.
    needs_logits = any(arm.args.needs_logits for arm in (arms[-1:] if are_default else arms))
    teacher, start = load_teaching(model, data, public, needs_logits)
    source = teacher.source(start.classifier.config)
    left_out = controls_left_out(arms, start, data, seeds if teacher.caches else seeds[:1], source, are_default)
    for name, reason in left_out.items():
        yield Finding("fine", f"the control {name} is left out: {reason}")
    trainer = make_trainer(arms[-1], start, images, data, training.seed, source)
    teacher_is_ready = not model.teacher_steps and teacher.head != "probe"
    runs = (len(arms) - len(left_out)) * len(seeds)
    yield from examine(trainer, teacher_is_ready, model.student_is_ready, runs=runs)


def _of_folder(settings: Settings) -> Iterator[Finding]:
    """Look whether the output folder holds what would be replaced; a run would be refused at once, and not wasted."""
    training = settings.training
    resuming = wants_resume(training.resume_from_checkpoint)
    try:
        check_output_dir(
            Path(str(training.output_dir)), settings.study.overwrite_output_dir, resuming, settings.inputs
        )
    except ValueError as error:
        yield Finding("warning", str(error))
