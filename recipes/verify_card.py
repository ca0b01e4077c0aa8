"""Evaluate a student again and compare with every figure that its card claims: `exrep verify`.

python recipes/verify_card.py model_cards/digits
"""

import sys

from exrep_hf.command_line import run_command
from exrep_hf.commands.verify import main

if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
