"""The paper's table as one study that can be resumed: EfficientNet-B0 to B4, each under the NoisyStudent of its size.

    accelerate launch recipes/imagenet_b0_to_b4.py --dataset imagenet
    accelerate launch --config_file recipes/accelerate/ddp.yaml --num_processes 8 recipes/imagenet_b0_to_b4.py

`--models b0 b1` takes some of them. Each is the recipe `imagenet_b1_from_b1ns.yaml` with other names, in a folder of
its own; started again it goes on where it was. Flags that are not listed here are settings, as of `exrep train`.

Time: by operations (0.39, 0.69, 1.0, 1.9 and 4.5 GMACs) from B1's 6.0 hours on one H100: 3, 6, 9, 16 and 39 hours an
arm; predicted, not measured. Expected, student and teacher (timm's results-imagenet.csv): 76.88 and 78.68, 78.84 and
81.39, 80.07 and 82.41, 81.65 and 84.05, 83.04 and 85.16. Nobody has measured this study here.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from exrep_hf.cli import parse_settings
from exrep_hf.command_line import run_command
from exrep_hf.report import align, percent
from exrep_hf.study import Study

CONFIG = Path(__file__).with_name("imagenet_b1_from_b1ns.yaml")
MODELS = ("b0", "b1", "b2", "b3", "b4")


def main(argv: Sequence[str]) -> None:
    """Run one model after another, and print what all reach."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    flags.add_argument("--output_dir", type=Path, default=Path("out/imagenet_b0_to_b4"))
    args, settings = flags.parse_known_args(argv)
    rows = [["", "student", "teacher", "arm", "top-1 %", "gap recovered %"]]
    for model in args.models:
        names = ["--teacher", f"timm/tf_efficientnet_{model}.ns_jft_in1k"]
        names += ["--student", f"timm/tf_efficientnet_{model}.aa_in1k"]
        where = ["--output_dir", str(args.output_dir / model), "--resume_from_checkpoint", "true"]
        results = Study(parse_settings(["--config", str(CONFIG), *names, *where, *settings], CONFIG)).run()
        before, teacher = percent(results["student"]["accuracy"]), f"{100 * results['teacher']['accuracy']:.1f}"
        for name, arm in results["arms"].items():
            rows.append([model, before, teacher, name, percent(arm["accuracy"]), percent(arm["gap_recovered"], 1.0)])
    if PartialState().is_main_process:
        print(f"\n{align(rows)}")


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
