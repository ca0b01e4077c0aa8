"""A step of `DistillationTrainer` over a bare loop of plain PyTorch with the same mathematics.

    python recipes/benchmarks/step.py                    # on a CPU core: about two minutes
    python recipes/benchmarks/step.py --device cuda      # EfficientNet-B1 at 240 px, 128 images a step

Both get the same batch, which lies on the device: data are another benchmark's. The Trainer's settings are those that
it has by default, so that the memory layout and precision that it chooses are a part of what is measured; the bare
loop has those that are fastest. Rows: 1, the step; 2, compiled; 3, images a second against the authors' step, fp32.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
from paired import Ratio, Row, compare, parser, report, seconds_of
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments
from turns import Turns, in_a_thread, share_memory_pool

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification
from exrep_hf.command_line import run_command
from exrep_hf.losses import AdversarialLoss, CRDLoss, FeatureLoss

Distiller = Literal["light", "paper"]
CLASSES = 1000
FEATURES = 10.0
STEPS = 10_000
WITHOUT_TRACES: dict[str, Any] = {
    "max_steps": STEPS,
    "logging_steps": 100,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "learning_rate": 1e-6,
}
PAPER: dict[str, Any] = {
    "ce_weight": 1.0,
    "crd_weight": 0.8,
    "adversarial_weight": 0.1,
    "feature_weight": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "freeze_batch_norm": True,
}


class Rows(torch.utils.data.Dataset):
    """As many rows as ImageNet has; the loader gives others than these."""

    def __init__(self, count: int, size: int, classes: int) -> None:
        self.labels = torch.arange(count) % classes
        self.image = torch.randn(3, size, size)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"pixel_values": self.image, "labels": int(self.labels[row]), "sample_index": row}


class Bench:
    """Student, teacher and batch of one size on one device.

    Args:
        name: timm's name of student and teacher.
        size: height and width of the images.
        batch: images a step.
        device: where.
        rows: of the memory bank.
        folder: for what the Trainer writes.
        classes: that both know.
    """

    def __init__(
        self, name: str, size: int, batch: int, device: str, rows: int, folder: str, classes: int = CLASSES
    ) -> None:
        self.name, self.size, self.device, self.folder, self.classes = name, size, device, folder, classes
        self.rows = Rows(rows, size, classes)
        index = torch.arange(batch)
        self.batch = {
            "pixel_values": torch.randn(batch, 3, size, size, device=device),
            "labels": self.rows.labels[index].to(device),
            "sample_index": index.to(device),
        }

    def network(self) -> Any:
        """A network of timm, the same each time."""
        torch.manual_seed(0)
        return timm.create_model(self.name, pretrained=False, num_classes=self.classes)

    def trainer(self, distiller: Distiller | None = None, **settings: Any) -> DistillationTrainer:
        """A trainer as a user makes it."""
        student = ExRepForImageClassification.from_backbone(
            f"timm/{self.name}", distiller=distiller, pretrained=False, image_size=self.size, num_labels=self.classes
        )
        args = DistillationArguments(
            self.folder,
            per_device_train_batch_size=len(self.batch["labels"]),
            use_cpu=self.device == "cpu",
            **WITHOUT_TRACES,
            **settings,
        )
        return DistillationTrainer(student, self.network(), args, self.rows, classes="position")

    def ours(self, distiller: Distiller | None = None, **settings: Any) -> Turns:
        """Our trainer, a step at a time."""
        return Turns(self.trainer(distiller, **settings), self.batch)

    def bare(self, terms: "Terms", fast: bool, frozen: bool) -> Callable[[], None]:
        """The same step without a Trainer.

        Args:
            terms: what the loss is made of.
            fast: in bfloat16 on GPUs, in channels_last.
            frozen: BatchNorm keeps its statistics.
        """
        student, teacher = self.network().to(self.device).train(), self.network().to(self.device).eval()
        teacher.requires_grad_(False)
        terms.to(self.device)
        for module in batch_norms(student) if frozen else ():
            module.eval()
        if fast:
            student, teacher = (net.to(memory_format=torch.channels_last) for net in (student, teacher))
        parameters = [*student.parameters(), *terms.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True)
        # As the Trainer's: loss and learning rate of the log are not a bare loop's.
        halves = fast and self.device == "cuda"

        def step() -> None:
            batch = terms.mixed(self.batch)
            with torch.no_grad(), torch.autocast(self.device, torch.bfloat16, enabled=halves):
                taught = features_and_logits(teacher, batch["pixel_values"])
            with torch.autocast(self.device, torch.bfloat16, enabled=halves):
                learnt = features_and_logits(student, batch["pixel_values"])
                loss = terms(learnt, taught, batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return in_a_thread(step)


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """BatchNorm of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def features_and_logits(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled features and logits of timm's networks."""
    features = network.forward_head(network.forward_features(images), pre_logits=True)
    return features, network.get_classifier()(features)


class Terms(nn.Module):
    """Logits and features of the teacher on mixed images: the preset `exrep`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.feature = FeatureLoss(width, width)

    def mixed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mix each image with another one."""
        images = batch["pixel_values"]
        partner = torch.randperm(len(images), device=images.device)
        share = torch.rand(len(images), 1, 1, 1, device=images.device)
        return {**batch, "pixel_values": torch.lerp(images[partner], images, share)}

    def forward(
        self, student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], batch: dict[str, Tensor]
    ) -> Tensor:
        """The loss."""
        return divergence(student[1], teacher[1]) + FEATURES * self.feature(student[0], teacher[0])


class PaperTerms(Terms):
    """The paper's: labels, logits, contrast, critic."""

    def __init__(self, width: int, rows: Rows) -> None:
        nn.Module.__init__(self)
        self.crd = CRDLoss(width, width, len(rows))
        self.crd.set_labels(rows.labels)
        self.adversarial = AdversarialLoss(width, width)

    def mixed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave images as they are."""
        return batch

    def forward(
        self, student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], batch: dict[str, Tensor]
    ) -> Tensor:
        """The loss."""
        loss = F.cross_entropy(student[1].float(), batch["labels"], label_smoothing=0.1)
        loss = loss + divergence(student[1], teacher[1])
        loss = loss + 0.8 * self.crd(student[0], teacher[0], batch["sample_index"], batch["labels"])
        told = self.adversarial(student[0], teacher[0])
        fooled, critic = told.values() if isinstance(told, dict) else told
        return loss + 0.1 * fooled + 0.1 * critic


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL divergence at τ = 4."""
    wanted, found = F.log_softmax(teacher.float() / 4, 1), F.log_softmax(student.float() / 4, 1)
    return 16 * F.kl_div(found, wanted, log_target=True, reduction="batchmean")


class PlainStep(nn.Module):
    """The mathematics of the preset as a module that the Trainer itself trains."""

    def __init__(self, bench: Bench, terms: Terms) -> None:
        super().__init__()
        self.student, self.terms = bench.network().to(memory_format=torch.channels_last), terms
        self.frozen = batch_norms(self.student)
        # Out of sight of the Trainer, which would train it.
        teacher = bench.network().to(bench.device, memory_format=torch.channels_last)
        self.teacher = [teacher.eval().requires_grad_(False)]

    def train(self, mode: bool = True) -> "PlainStep":
        """Leave BatchNorm's statistics as they are."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """The loss of a batch."""
        batch = self.terms.mixed(batch)
        with torch.no_grad():
            taught = features_and_logits(self.teacher[0], batch["pixel_values"])
        return {"loss": self.terms(features_and_logits(self.student, batch["pixel_values"]), taught, batch)}


@contextlib.contextmanager
def turns_of(turns: Turns) -> Iterator[Callable[[], None]]:
    """A trainer's step, and the end of its training."""
    try:
        yield turns.step
    finally:
        turns.stop()


def over_the_trainer(bench: Bench, width: int, pairs: int, several: int) -> tuple[Ratio, Ratio]:
    """Return our trainer's time, less the Trainer's, over a bare loop's; and the Trainer's over the bare loop's."""
    plain = TrainingArguments(
        bench.folder, use_cpu=bench.device == "cpu", remove_unused_columns=False, max_grad_norm=0, **WITHOUT_TRACES
    )
    # One image has no statistics of its own.
    bare = bench.bare(Terms(width), fast=True, frozen=True)
    theirs = Turns(Trainer(PlainStep(bench, Terms(width)), plain, train_dataset=bench.rows), bench.batch)
    with turns_of(bench.ours(freeze_batch_norm=True)) as ours, turns_of(theirs) as the_trainer:
        every = [repeated(step, several) for step in (ours, the_trainer, bare)]
        for step in every * 3:
            step()
        taken = []
        for pair in range(pairs):
            order = [(pair + place) % 3 for place in range(3)]
            seconds = {which: seconds_of(every[which]) for which in order}
            taken.append((seconds[0], seconds[1], seconds[2]))
    return (
        Ratio.of([(one - other) / base for one, other, base in taken]),
        Ratio.of([other / base for _, other, base in taken]),
    )


def repeated(step: Callable[[], None], times: int) -> Callable[[], None]:
    """Several steps as one, where one alone is too short to be timed."""

    def several() -> None:
        for _ in range(times):
            step()

    return several


def on_cpu(args: argparse.Namespace, folder: str) -> list[Row]:
    """Rows of a CPU."""
    name, size, batch, rows = ("resnet18", 64, 16, 1_281_167) if not args.smoke else ("test_resnet", 32, 2, 2000)
    bench = Bench(name, size, batch, "cpu", rows, folder)
    width = bench.network().num_features
    told = f"{name} at {size} px, B {batch}"
    with turns_of(bench.ours()) as ours:
        preset = compare(ours, bench.bare(Terms(width), fast=True, frozen=False), args.pairs)
    negatives: dict[str, Any] = {} if not args.smoke else {"num_negatives": 64}
    paper = PaperTerms(width, bench.rows)
    paper.crd.num_negatives = negatives.get("num_negatives", paper.crd.num_negatives)
    with turns_of(bench.ours(**PAPER, **negatives)) as ours:
        every = compare(ours, bench.bare(paper, fast=True, frozen=True), args.pairs)
    small = Bench("efficientnet_b0" if not args.smoke else "test_efficientnet", 32, 1, "cpu", rows, folder)
    above, trainers = over_the_trainer(small, small.network().num_features, args.pairs, 5)
    note = f"{small.name} at 32 px, B 1; the Trainer's own {trainers.value:.3f}"
    return [
        Row(1, "step over a bare loop, preset", preset, 1.02, note=told),
        Row(1, "step over a bare loop, all terms of the paper", every, 1.05, note=told),
        Row(1, "step less the Trainer's, over a bare loop", above, 0.03, note=note),
    ]


def on_gpu(args: argparse.Namespace, folder: str) -> list[Row]:
    """Rows of a GPU."""
    name, size, batch, rows = ("tf_efficientnet_b1", 240, 128, 1_281_167)
    if args.smoke:
        name, size, batch, rows = ("test_efficientnet", 32, 4, 2000)
    bench = Bench(name, size, batch, args.device, rows, folder)
    width = bench.network().num_features
    fast = bench.bare(Terms(width), fast=True, frozen=False)
    told = f"{name} at {size} px, B {batch}; settings as by default"
    with turns_of(bench.ours()) as ours:
        default = compare(ours, fast, args.pairs)
    with turns_of(bench.ours(torch_compile=True)) as ours:
        compiled = compare(ours, fast, args.pairs, warm_up=5)
    # The authors' step takes 73 GiB at 128 images.
    half = Bench(name, size, batch // 2, args.device, rows, folder)
    authors = half.ours("paper", **PAPER, bf16=False, tf32=False, channels_last=False)
    with turns_of(authors) as slow:
        with turns_of(half.ours("light", **PAPER)) as ours:
            same_terms = compare(slow, ours, args.pairs, warm_up=2)
        with turns_of(half.ours(torch_compile=True)) as ours:
            preset = compare(slow, ours, args.pairs, warm_up=5)
    return [
        Row(1, "step over a bare loop, preset", default, 1.03, note=told),
        Row(2, "compiled student, teacher and terms over the eager bare loop", compiled, 0.78, note=told),
        Row(
            3,
            "speed over the authors' step, same terms, light distiller",
            same_terms,
            9.0,
            "larger",
            f"B {batch // 2}",
        ),
        Row(3, "speed over the authors' step, preset `exrep`, compiled", preset, 11.0, "larger", "other mathematics"),
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    args = parser(__doc__).parse_args(argv)
    torch.backends.cudnn.benchmark = True
    share_memory_pool()
    with tempfile.TemporaryDirectory() as folder:
        rows = on_cpu(args, folder) if args.device == "cpu" else on_gpu(args, folder)
    report(rows, "step", args)


if __name__ == "__main__":
    run_command(main)
