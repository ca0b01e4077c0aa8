"""Arms in words, from what they were run with."""

from typing import Any

from exrep_hf.report import arms_in_words


def test_arms(results: dict[str, Any]) -> None:
    """Terms with their weights, images, learning rates that differ, and other changes by their names."""
    kd, exrep = results["arms"]["kd"], results["arms"]["exrep"]
    labels = {"ce": {"weight": 1.0, "smoothing": 0.1}, "kd": {"weight": 0.5, "temperature": 4.0}}
    kd["objective"] = {"terms": labels, "mixup": 0.0, "cutmix": 0.0, "mix_rounds": 1}
    kd["changes"] = {"ce_weight": 1.0, "scale": [0.15, 1.0], "optim": "sgd", "terms": None}
    terms: dict[str, Any] = {"kd": {"weight": 1.0, "temperature": 2.0}, "feature": {"weight": 10.0}}
    terms |= {"dist": {"class": "exrep_hf.losses.dist:DISTLoss", "weight": {"inter": 1.0, "intra": 2.0}}}
    exrep["objective"] = {"terms": terms, "mixup": 1.0, "cutmix": 0.0, "mix_rounds": 2}
    for arm, rate in ((kd, 0.003), (exrep, 0.01)):
        arm["runs"][0]["chosen"] = {"learning_rate": rate}
    assert arms_in_words(results) == {
        "kd": "labels (weight 1, smoothing 0.1) and the teacher's logits (weight 0.5, temperature 4); `scale 0.15 "
        "1.0`, `optim sgd`; learning rate 0.003",
        "exrep": "the teacher's logits (weight 1, temperature 2), the teacher's features (weight 10) and the term "
        "`dist` (class `exrep_hf.losses.dist:DISTLoss`, weights `inter` 1, `intra` 2), on mixtures of 4 images "
        "(mixup), behind the `light` Input Distiller; learning rate 0.01",
    }
    exrep["runs"][0]["chosen"]["learning_rate"] = 0.003
    exrep["plain"] = kd["oracle"] = True
    words = arms_in_words(results)
    assert words["exrep"].endswith("behind the `light` Input Distiller, which is removed afterwards")
    assert words["kd"].startswith("trained on all 1000 images, labels (weight 1")


def test_results_of_earlier_versions(results: dict[str, Any]) -> None:
    """Which terms there were is known by their losses; a weight that was a default then is not made up."""
    assert arms_in_words(results) == {}
    run = results["arms"]["kd"]["runs"][0]
    run["after"] |= {"loss_ce": 1.0, "loss_kd": 0.5}
    run["settings"] = {"training": {"kd_weight": 2.0, "cutmix": 1.0}}
    assert arms_in_words(results) == {"kd": "labels and the teacher's logits (weight 2), on mixed images (cutmix)"}
