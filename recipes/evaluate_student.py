"""Evaluate a published student: `exrep evaluate`.

python recipes/evaluate_student.py --model me/student --dataset me/images --split test
"""

import sys

from exrep_hf.command_line import run_command
from exrep_hf.commands.evaluate import main

if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
