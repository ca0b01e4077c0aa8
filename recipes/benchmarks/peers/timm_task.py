"""The task by timm's distillation tasks: logits and labels, logits alone on mixed images, features and labels."""

from plumbing import DEVICE, Stopwatch, Task, hand_in

# user code
from typing import Any

from timm.data import Mixup, create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.task import FeatureDistillationTask, LogitDistillationTask, TrainingTask
from torch import Tensor, nn
from transformers import AutoModelForImageClassification

MEAN, STD = (0.286,), (0.353,)


class AsTimm(nn.Module):
    """A classifier of transformers with what timm's tasks ask a model for."""

    num_classes, in_chans, pretrained_cfg = 10, 1, {"mean": MEAN, "std": STD}

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.model = AutoModelForImageClassification.from_pretrained(folder)
        self.head_hidden_size = self.model.config.hidden_sizes[-1]

    def forward_features(self, pixels: Tensor) -> Tensor:
        return self.model.base_model(pixels).pooler_output

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return features.flatten(1) if pre_logits else self.model.classifier(features)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(pixels))


# end of user code

given, watch = Task.given(), Stopwatch()

# user code
student, teacher = AsTimm(given.student), AsTimm(given.teacher)
dataset = create_dataset("", given.images, is_training=True, input_img_mode="L")
views: dict[str, Any] = {"scale": (0.35, 1.0), "color_jitter": 0.0, "mean": MEAN, "std": STD}
settings: dict[str, Any] = {"is_training": True, "num_workers": 0, "use_prefetcher": False}
loader = create_loader(dataset, (1, 56, 56), 128, **views, **settings)
# end of user code
task: TrainingTask
if given.method == "logits":
    # user code: logits
    task = LogitDistillationTask(student, teacher, task_loss_weight=0.3, temperature=4.0, device=DEVICE)
    # end of user code
elif given.method == "logits-mixed":
    # user code: logits-mixed
    mixup = Mixup(mixup_alpha=1.0, cutmix_alpha=1.0, num_classes=10)
    loss = nn.CrossEntropyLoss()
    task = LogitDistillationTask(student, teacher, loss, task_loss_weight=0.0, temperature=4.0, device=DEVICE)
    # end of user code
else:
    # user code: features
    task = FeatureDistillationTask(student, teacher, distill_loss_weight=5.0, task_loss_weight=1.0, device=DEVICE)
    # end of user code

with watch.running():
    # user code
    task.to(DEVICE).train()
    optimizer = create_optimizer_v2(task.trainable_module, "adamw", lr=0.01, weight_decay=0.0)
    epochs = given.steps // len(loader)
    updates: dict[str, Any] = {"step_on_epochs": False, "updates_per_epoch": len(loader)}
    scheduler, _ = create_scheduler_v2(optimizer, num_epochs=epochs, warmup_epochs=0.03 * epochs, **updates)
    for epoch in range(epochs):
        for step, (pixels, labels) in enumerate(loader, 1 + epoch * len(loader)):
            pixels, labels = pixels.to(DEVICE), labels.to(DEVICE)
            # end of user code
            if given.method == "logits-mixed":
                # user code: logits-mixed
                pixels, labels = mixup(pixels, labels)
                # end of user code
            # user code
            task(pixels, labels)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step_update(step)
    # end of user code

hand_in(given, student.model, "timm", watch)
