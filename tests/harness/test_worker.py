"""How a worker process ends."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from harness.clocks import Window
from harness.measure import Samples, half_width_percent
from harness.worker import Worker
from tests.harness.series import T_975, make_rule
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


class FakeClock:
    """A device that takes 2 ms, and lets a caller wait for the times given."""

    def __init__(self, host_ms):
        self.host_ms = host_ms

    def window(self, run, count):
        return Window([2.0] * count, 2.0 * count)

    def wait_each(self, run, count):
        return [self.host_ms[0]] if count == 1 else self.host_ms[:count]

    def stream(self, run, count):
        return 2.0 * count


@pytest.mark.parametrize(("device", "known"), [("cuda", True), ("cpu", False)])
def test_how_well_the_time_of_a_call_is_known(device, known):
    """From its own samples in their order, where a device works by itself."""
    host_ms = (2 + np.sin(np.arange(40) / 5)).tolist()
    worker = Worker()
    worker.spec, worker.clock, worker.boundary_s = SimpleNamespace(device=device), FakeClock(host_ms), 0.08
    worker.rule, worker.backend = make_rule(), SimpleNamespace(run=None, run_with_transfers=None)
    others = worker._sample_others(1, 0.0, Samples([2.0] * 9, [500.0], [2.0], "", 0.1, 1.0, None))
    assert others["host_half_width_percent"] == (half_width_percent(host_ms, T_975) if known else None)
