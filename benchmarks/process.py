"""Fresh interpreters, for what can be measured only once in a process."""

import os
import subprocess
import sys
from pathlib import Path


def python(code: str, **environment: str) -> list[float]:
    """Run the code where it can import this package and return the numbers that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
    )
    return [float(word) for word in done.stdout.split()]
