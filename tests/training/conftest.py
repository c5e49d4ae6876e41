"""`run_training`: the command line in a process of its own, from any folder."""

import pytest

from tests.stage_process import run_training as run_in_process


@pytest.fixture(scope="session")
def run_training():
    return run_in_process
