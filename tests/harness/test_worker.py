"""How a worker process ends."""

import os
import subprocess
import sys

from tests.stage_process import SEARCH_PATH


def run_worker(serve):
    """A process whose worker is served by `serve`, and that has something left to take apart."""
    script = f"""
import atexit, sys
from harness import worker

class Part:
    def __del__(self):
        print("taken apart")

worker.part = Part()

def serve(commands_fd, replies_fd):
    atexit.register(print, "the library's own end")
    {serve}

worker.serve = serve
sys.argv = ["worker", "0", "1"]
worker.main()
"""
    environment = {**os.environ, "PYTHONPATH": SEARCH_PATH}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_a_worker_that_has_served_ends_without_teardown():
    """What libraries registered is done; nothing is taken apart, which takes torch a second."""
    ended = run_worker("print('served')")
    assert (ended.returncode, ended.stdout) == (0, "served\nthe library's own end\n"), ended.stderr


def test_a_worker_that_fails_ends_as_any_program():
    """Its exit status and traceback are what the row and the log say."""
    ended = run_worker("raise RuntimeError('a fault of the harness')")
    assert (ended.returncode, ended.stdout) == (1, "the library's own end\ntaken apart\n")
    assert "RuntimeError: a fault of the harness" in ended.stderr
