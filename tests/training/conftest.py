"""`run_training`: the command line in a process of its own, from any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def run_training():
    def run(*args, cwd, timeout_s=200):
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}  # tiny images
        command = [sys.executable, "-m", "training", *map(str, args)]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    return run
