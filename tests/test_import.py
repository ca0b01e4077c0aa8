"""What `import exrep_hf` brings with it."""

import subprocess
import sys

SLOW = ("sklearn", "matplotlib", "evaluate")


def test_slow_packages_are_not_imported() -> None:
    """scikit-learn alone took most of a second, for those who split a data set or ask for its digits."""
    code = f"import sys, exrep_hf; print([name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
