"""Train a student under a teacher, with its controls: `exrep train`.

accelerate launch recipes/train.py --config recipes/digits.yaml
accelerate launch recipes/train.py --dataset images/ --teacher me/teacher --student me/student --output_dir out
"""

import sys

from exrep_hf.command_line import run_command
from exrep_hf.commands.train import main

if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
