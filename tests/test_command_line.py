"""Commands as anybody may read them."""

from pathlib import Path

import pytest

from exrep_hf.command_line import public_command


def test_secrets_and_places_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left reproduces the run, on another machine too."""
    monkeypatch.chdir(tmp_path)
    argv = ["--config", str(tmp_path / "recipes" / "mine.yaml"), "--hub_token", "hf_secret", "--scale", "0.2", "1.0"]
    argv += [
        "--output_dir=/home/me/out",
        "--teacher",
        "/home/me/teachers/big",
        "--student=~/small",
        "--arm",
        "two words",
    ]
    argv += ["--hub-token=hf_secret", "--dataset", "../images", "--resume_from_checkpoint", "true", "--kd_weight", "2"]
    argv += ["--controls", '{"a": {"teacher": "/home/me/big"}}']
    assert public_command("recipes/train.py", argv) == (
        "accelerate launch recipes/train.py --config recipes/mine.yaml --scale 0.2 1.0 --teacher big --student=small "
        '--arm \'two words\' --dataset images --kd_weight 2 --controls \'{"a": {"teacher": "big"}}\''
    )
