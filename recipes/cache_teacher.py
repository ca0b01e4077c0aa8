"""Store what a teacher says about every view of every training image, once: `exrep cache`.

accelerate launch recipes/cache_teacher.py --config recipes/….yaml --teacher me/teacher --output_dir cache/mine
accelerate launch recipes/train.py --config recipes/….yaml --teacher_cache cache/mine
"""

import sys

from exrep_hf.command_line import run_command
from exrep_hf.commands.cache import main

if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
