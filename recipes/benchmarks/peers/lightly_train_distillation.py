"""The task by lightly-train's distillation of features, then its own fine-tuning, or a linear probe, on the labels."""

import json
from pathlib import Path

from plumbing import DEVICE, Stopwatch, Task, hand_in

# user code
import lightly_train
import torch
from torch import Tensor, nn
from torchvision import transforms
from torchvision.datasets import ImageFolder
from transformers import AutoModelForImageClassification


class Wrapped(nn.Module):
    """A classifier of transformers with what lightly-train asks a custom model for."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.model = AutoModelForImageClassification.from_pretrained(folder)

    def get_model(self) -> nn.Module:
        return self.model

    def feature_dim(self) -> int:
        return self.model.config.hidden_sizes[-1]

    def forward_features(self, pixels: Tensor) -> dict[str, Tensor]:
        return {"features": self.model.base_model(pixels[:, :1]).last_hidden_state}

    def forward_pool(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"pooled_features": given["features"].mean((2, 3), keepdim=True)}


# end of user code

task, watch = Task.given(), Stopwatch()
# Distilled once for both methods.
distilled = Path(task.output).parent / f"lightly-train-distilled-{task.seed}"

# user code
images = ImageFolder(f"{task.images}/train")
views = {
    "image_size": (56, 56),
    "random_resize": {"min_scale": 0.35, "max_scale": 1.0},
    "color_jitter": None,
    "random_gray_scale": None,
    "gaussian_blur": None,
    "normalize": {"mean": (0.286,) * 3, "std": (0.353,) * 3},
}
# end of user code
if not (distilled / "seconds.json").is_file():
    with watch.running():
        # user code
        lightly_train.pretrain(
            out=distilled,
            data=f"{task.images}/train",
            model=Wrapped(task.student),
            method="distillationv3",
            method_args={"teacher": Wrapped(task.teacher)},
            epochs=task.steps // (len(images) // 128),
            batch_size=128,
            num_workers=0,
            # It is multiplied by √(128 / 1536).
            optim_args={"lr": 0.01 * 12**0.5},
            transform_args=views,
            precision="32-true",
            seed=task.seed,
            overwrite=True,
        )
        # end of user code
    (distilled / "seconds.json").write_text(json.dumps(vars(watch)), encoding="utf-8")
vars(watch).update(json.loads((distilled / "seconds.json").read_text(encoding="utf-8")))

# user code
exported = distilled / "exported_models" / "exported_last.pt"
# end of user code
if task.method == "fine-tuned":
    # user code: fine-tuned
    data = {
        "train": f"{task.images}/train",
        "val": f"{task.images}/train",
        "classes": {number: name for name, number in images.class_to_idx.items()},
    }
    tuned = Path(task.output) / "tuned"
    lightly_train.train_image_classification(
        out=tuned, data=data, model=str(exported), steps=500, batch_size=128, num_workers=0, precision="32-true"
    )
    student = lightly_train.load_model(tuned / "exported_models" / "exported_last.pt")
    # end of user code
else:
    # user code: probe
    from sklearn.linear_model import LogisticRegression

    student = AutoModelForImageClassification.from_pretrained(task.student)
    student.load_state_dict(torch.load(exported, weights_only=True))
    student.to(DEVICE).eval()
    normalize = transforms.Normalize((0.286,), (0.353,))
    whole = [transforms.Grayscale(), transforms.Resize(56), transforms.ToTensor(), normalize]
    pixels = torch.stack([transforms.Compose(whole)(image) for image, _ in images]).to(DEVICE)
    with torch.no_grad():
        features = torch.cat([student.base_model(part).pooler_output.flatten(1) for part in pixels.split(128)])
    probe = LogisticRegression(max_iter=2000).fit(features.cpu().numpy(), images.targets)
    linear = student.classifier[-1]
    linear.weight.data.copy_(torch.from_numpy(probe.coef_))
    linear.bias.data.copy_(torch.from_numpy(probe.intercept_))
    # end of user code

hand_in(task, student, "lightly-train", watch)
