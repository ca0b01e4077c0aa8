"""Whatever stands in a config: a run's settings, or a refusal of ours."""

import contextlib
import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exrep_hf.cli import ARGUMENT_CLASSES, parse_settings
from exrep_hf.command_line import run_command
from exrep_hf.study import Settings

NAMES = sorted({field.name for cls in ARGUMENT_CLASSES for field in dataclasses.fields(cls) if field.init})
# What sets up devices, reads files, or asks the network is tried elsewhere.
NAMES = [
    name for name in NAMES if name not in ("deepspeed", "fsdp", "fsdp_config", "accelerator_config", "ddp_backend")
]
OWN = sorted({name for cls in ARGUMENT_CLASSES for name in vars(cls).get("__annotations__", {}) if name in NAMES})
TASK = {"dataset": "digits", "teacher": "me/teacher", "student": "me/student"}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3)
    | st.floats()
    | st.floats(0, 1)
    | st.text(max_size=8)
    | st.sampled_from(
        ["true", "1e-3", "1e400", "nan", "-", "--x", "{}", "[", "no", "epoch", "a b", "é", "\x00", "../x", "~nobody"]
    )
    | st.dates()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=5
)


def check_parsed(parsed: Settings) -> None:
    assert parsed.data.dataset and parsed.training.use_cpu


def read(content: bytes, folder: Path) -> str:
    """What a person sees of a refusal; nothing where the settings are some."""
    config = folder / "config.yaml"
    config.write_bytes(content)
    flags = ["--config", str(config), "--output_dir", str(folder / "out"), "--use_cpu", "true"]
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            # Raises what is no refusal of ours.
            run_command(lambda: check_parsed(parse_settings(flags, config)))
        except SystemExit as ended:
            assert ended.code == 2
            return told.getvalue()
    return ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs")


def test_what_is_compared(folder: Path) -> None:
    """The task alone is read, and a refusal is told."""
    assert read(yaml.safe_dump(TASK).encode(), folder) == ""
    assert "`kd_weight` is -1" in read(yaml.safe_dump(TASK | {"kd_weight": -1.0}).encode(), folder)
    assert "`kd_weight` is [0, None]; expected one value" in read(b"kd_weight: [0, null]", folder)
    assert "`include_for_metrics` holds -1e+16, -x; expected" in read(
        b"include_for_metrics: [a, -1.0e+16, -x]", folder
    )
    told = read(b"controls: {kd: {run: 2026-01-02}}", folder)
    assert "`controls` holds what is no setting (Object of type date is not JSON" in told


@settings(max_examples=200)
@given(st.data())
def test_any_values(folder: Path, data: st.DataObject) -> None:
    """Settings of ours as often as the Trainer's, of which there are more."""
    names = st.sampled_from(OWN) | st.sampled_from(NAMES)
    content: dict[str, Any] = data.draw(st.dictionaries(names, VALUES, min_size=1, max_size=3))
    told = read(yaml.safe_dump(TASK | content, allow_unicode=True).encode(), folder)
    assert told == "" or any(name in told for name in content), told


@settings(max_examples=60)
@given(
    st.binary(max_size=60)
    | st.dictionaries(VALUES.filter(lambda v: isinstance(v, str | int | float)), VALUES, max_size=3).map(
        lambda content: yaml.safe_dump(content).encode()
    )
)
def test_any_bytes(folder: Path, content: bytes) -> None:
    assert read(content, folder) != ""
