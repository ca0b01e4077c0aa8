"""The task by torchdistill's distillation box: labels and logits, and contrast (CRD) beside them."""

from plumbing import DEVICE, Stopwatch, Task, hand_in

# user code
from typing import Any

from torch.utils.data import RandomSampler
from torchdistill.core.distillation import get_distillation_box
from torchvision import transforms
from torchvision.datasets import ImageFolder
from transformers import AutoModelForImageClassification

# end of user code

task, watch = Task.given(), Stopwatch()

# user code
teacher = AutoModelForImageClassification.from_pretrained(task.teacher).to(DEVICE).eval()
student = AutoModelForImageClassification.from_pretrained(task.student).to(DEVICE)
crop = transforms.RandomResizedCrop(56, scale=(0.35, 1.0))
normalize = transforms.Normalize((0.286,), (0.353,))
to_tensor = [transforms.Grayscale(), crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalize]
dataset = ImageFolder(f"{task.images}/train", transforms.Compose(to_tensor))
steps_per_epoch = len(dataset) // 128
loader: dict[str, Any] = {"dataset_id": "train", "kwargs": {"batch_size": 128, "drop_last": True}}
loader["sampler"] = {"class_or_func": RandomSampler, "kwargs": {}}
one_cycle = {"max_lr": 0.01, "total_steps": task.steps, "pct_start": 0.03, "cycle_momentum": False}
config: dict[str, Any] = {
    "num_epochs": task.steps // steps_per_epoch,
    "train_data_loader": loader,
    "optimizer": {"key": "AdamW", "kwargs": {"lr": 0.01, "weight_decay": 0.0}},
    "scheduler": {"key": "OneCycleLR", "kwargs": one_cycle, "scheduling_step": 1},
}
# end of user code
if task.method == "kd":
    # user code: kd
    logits = "classifier"
    model = {"forward_proc": "forward_batch_only", "forward_hook": {"output": [logits]}}
    config["teacher"], config["student"] = {**model, "requires_grad": False}, model
    # end of user code
else:
    # user code: kd-crd
    logits, pooled = "model.classifier", "model.resnet.pooler"
    loader["dataset_wrapper"] = {
        "key": "CRDDatasetWrapper",
        "kwargs": {"num_negative_samples": 256, "mode": "exact", "ratio": 1.0},
    }
    for name, network in (("teacher", teacher), ("student", student)):
        linear = {"in_features": network.config.hidden_sizes[-1], "out_features": 128}
        config[name] = {
            "forward_proc": "forward_batch_supp_dict",
            "auxiliary_model_wrapper": {
                "key": "Linear4CRD",
                "kwargs": {"input_module_path": pooled, "linear_kwargs": linear, "power": 2},
            },
            "forward_hook": {"input": ["empty"], "output": [logits, pooled, "normalizer"]},
        }
    config["teacher"]["frozen_modules"] = ["model"]
    # end of user code
# user code
paths = {"student_module_path": logits, "teacher_module_path": logits}
io = {"student_module_io": "output", "teacher_module_io": "output"}
kd = {"key": "KDLoss", "kwargs": {**paths, **io, "temperature": 4.0, "alpha": 0.5}}
terms: dict[str, Any] = {"kd": {"criterion": kd, "weight": 1.0}}
# end of user code
if task.method == "kd-crd":
    # user code: kd-crd
    crd: dict[str, Any] = {"teacher_norm_module_path": "normalizer", "student_norm_module_path": "normalizer"}
    crd |= {"student_empty_module_path": "empty", "input_size": 128, "output_size": len(dataset)}
    crd |= {"num_samples": len(dataset), "num_negative_samples": 256, "temperature": 0.07, "momentum": 0.5}
    terms["crd"] = {"criterion": {"key": "CRDLoss", "kwargs": crd}, "weight": 0.8}
    # end of user code
with watch.running():
    # user code
    config["criterion"] = {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}}
    box = get_distillation_box(teacher, student, {"train": dataset}, config, DEVICE, None, False, 1.0)
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        for pixels, labels, supplement in box.train_data_loader:
            pixels, labels = pixels.to(DEVICE), labels.to(DEVICE)
            box.post_forward_process(loss=box.forward_process(pixels, labels, supplement))
        box.post_epoch_process()
    # end of user code

hand_in(task, student, "torchdistill", watch)
