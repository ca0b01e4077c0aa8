"""Push a finished student to the Hub: `exrep publish`.

python recipes/publish.py out/digits --repo_id me/digits-student --write_card
"""

import sys

from exrep_hf.command_line import run_command
from exrep_hf.commands.publish import main

if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
