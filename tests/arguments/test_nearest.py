from exrep_hf.arguments.nearest import did_you_mean


def test_a_name_that_is_like_another() -> None:
    known = ["kd_weight", "kd_temperature", "mixup"]
    assert did_you_mean("kd_wieght", known) == " (did you mean `kd_weight`?)"
    assert did_you_mean("zzz", known) == "" and did_you_mean("x", []) == ""
