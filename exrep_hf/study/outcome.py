"""What a finished study leaves: figures, page, pictures, card and recipe, beside the student."""

from pathlib import Path
from typing import Any

from datasets import Dataset

from exrep_hf.arguments import DataArguments, DistillationArguments
from exrep_hf.files import write_json
from exrep_hf.publishing import make_model_card
from exrep_hf.publishing.card_figures import write_eval_results
from exrep_hf.publishing.recipe import make_recipe
from exrep_hf.publishing.student_folder import RELIABILITY_PICTURE, describe_published
from exrep_hf.report import RESULTS_NAME, plot_reliability
from exrep_hf.report.page import PAGE_NAME, write_page
from exrep_hf.training.machine import loader_workers
from exrep_hf.training.metrics import TOP5


def write_outcome(
    results: dict[str, Any],
    folder: Path,
    images: Dataset,
    data_args: DataArguments,
    args: DistillationArguments,
    model_id: str,
) -> None:
    """Measure the student as `from_pretrained` loads it, and write all that is made of the results.

    Args:
        results: of the study; `published` gets what the student in the folder reaches.
        folder: with the student.
        images: that it is evaluated on.
        data_args: how classes are matched.
        args: of training: where to evaluate.
        model_id: what the card calls the student.
    """
    # Half precision of the run does not count.
    of_evaluation = {name: value for name, value in results["published"].items() if name != TOP5}
    where = (args.device, loader_workers(args))
    results["published"] = of_evaluation | describe_published(folder, images, data_args.class_rule(), *where)
    plot_reliability(results["published"]["bins"], folder / RELIABILITY_PICTURE)
    write_json(results, folder / RESULTS_NAME)
    write_page({folder.name: results}, folder / PAGE_NAME)
    make_model_card(results, model_id).save(folder / "README.md")
    make_recipe(results).write(folder)
    identity, split = results["dataset"]["hub_name"], results["dataset"]["split"]
    if identity is not None and split is not None and data_args.dataset_config_name is None:
        write_eval_results(folder, identity, split, results["published"], results["dataset"]["num_evaluated"])
