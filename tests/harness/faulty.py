"""A backend that fails in every way a backend can, and the two programs that know it.

    python faulty.py harness --backends '[faulty/segfault]' ...    the harness, with `faulty` in its table
    python faulty.py worker FD FD                                   its worker (started by faulty.sh)

It answers with a fixed linear map of the mean colour, in NumPy alone: no library is needed, and workers start fast.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

import harness.backends
from harness.backends.base import Backend, BackendUnavailable, UnsupportedJob

VARIANTS = (
    "fine", "again", "slower", "slow", "segfault", "exit", "raise", "hang", "garbage", "allocate", "killed",
    "missing", "unsupported", "wrong", "nan", "raise_at_load", "segfault_at_load", "oom_at_4",
    "dies_on_second_load", "traced", "sticks", "after", "wrong_at_1", "infinite", "prints_in_c",
    "builds", "builds_too", "builds_as_well", "builds_each", "oom_each", "sleeps_each",
    "dies_building", "raises_building", "hangs_building",
)  # fmt: skip
SLOW_TO_BUILD = dict.fromkeys(
    (
        *(variant for variant in VARIANTS if "build" in variant),
        "slow", "missing", "unsupported", "raise", "segfault", "raise_at_load", "segfault_at_load",
    ),
    lambda batch_size: "one for all",
) | {
    "builds_each": lambda batch_size: batch_size > 1,
    "oom_each": lambda batch_size: batch_size,
    "sleeps_each": lambda batch_size: batch_size,
}  # fmt: skip
CLASSES = 10
WAIT_MS = float(os.environ.get("FAULTY_WAIT_MS", "2"))  # of one inference of `fine`
BUILD_S = float(os.environ.get("FAULTY_BUILD_S", "0"))
DIARY = os.environ.get("FAULTY_DIARY")  # a file that gets a line `event pid seconds` of the monotonic clock


def answer(images):
    """float32 logits (n, CLASSES) of images (n, 3, size, size)."""
    weights = np.linspace(-1, 1, 3 * CLASSES, dtype=np.float32).reshape(3, CLASSES)
    return images.mean(axis=(2, 3)) @ weights + np.linspace(0, 1, CLASSES, dtype=np.float32)


class FaultyBackend(Backend):
    """The variant names the fault; it strikes when the timed batch is 2 or more, so that batch 1 has a row."""

    versions: ClassVar = {"faulty": os.environ.get("FAULTY_VERSION", "1")}
    stuck = False

    def load(self, spec):
        self.check_context()
        if spec.variant == "dies_on_second_load" and hasattr(self, "spec"):
            os._exit(4)
        self.spec = spec
        self.calls = 0
        if spec.variant == "missing":
            raise BackendUnavailable("libfaulty.so is not here")
        if spec.variant == "unsupported":
            raise UnsupportedJob("faulty has no such kernel")
        if spec.variant == "raise_at_load":
            raise RuntimeError("cannot load this\nmodel")
        if spec.variant == "segfault_at_load":
            os.kill(os.getpid(), signal.SIGSEGV)

    def build(self, batch_sizes):
        note("begin")
        wait_for_others()
        time.sleep(BUILD_S)
        match self.spec.variant:
            case "dies_building":
                os._exit(5)
            case "raises_building":
                raise RuntimeError("the compiler refused")
            case "hangs_building":
                time.sleep(3600)
        note("end")

    def bind(self, images):
        self.images = images

    def check_context(self):
        """As CUDA does: after an illegal access every later call of the process fails with it."""
        if self.stuck:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def run(self):
        note("run")
        self.check_context()
        if self.spec.variant in ("fine", "again", "slower"):
            wait_ms(WAIT_MS * (1.05 if self.spec.variant == "slower" else 1.0))
        if self.spec.variant == "slow":
            time.sleep(0.02)
        if self.spec.variant == "sleeps_each":
            time.sleep(0.002 * len(self.images) ** 1.3)  # larger batches only get slower
        if self.spec.variant == "prints_in_c":
            ctypes.CDLL(None).puts(b"a word of a C library")
        if self.spec.variant == "garbage":
            print("{not json}\x00", flush=True)
        if len(self.images) >= 2:
            self.fail()
        self.output = answer(self.images)

    def fail(self):
        match self.spec.variant:
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(3)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise RuntimeError("the kernel\nrefused")
            case "hang":
                time.sleep(3600)
            case "allocate":
                self.hoard = [np.ones(1 << 22) for _ in range(1 << 12)]
            case "sticks" if len(self.images) == 2:
                self.stuck = True
                self.check_context()
            case "oom_at_4" | "oom_each" if len(self.images) >= 4:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    def logits(self):
        wrong_at_1 = float(len(self.images) == 1)
        noise = {"wrong": 1.0, "nan": np.nan, "wrong_at_1": wrong_at_1}.get(self.spec.variant, 0.0)
        return (self.output + noise).astype(np.float32)

    def profile(self, images, path):
        if self.spec.variant == "traced":
            path.write_text(json.dumps({"images": len(images)}))
        else:
            super().profile(images, path)

    def executed(self):
        scale = {"scale": float("inf")} if self.spec.variant == "infinite" else {}
        return {"dtype": "float32", "pid": os.getpid(), **scale}


def note(event):
    """Into the diary, where one is kept; short lines that several processes append do not mix."""
    if DIARY:
        with Path(DIARY).open("a") as file:
            file.write(f"{event} {os.getpid()} {time.monotonic()}\n")


def wait_for_others():
    """Until as many processes have begun to build as FAULTY_BUILDERS says; they cannot do so one after another."""
    count = int(os.environ.get("FAULTY_BUILDERS", "0"))
    deadline = time.monotonic() + 30
    while count and Path(DIARY).read_text().count("begin") < count:
        if time.monotonic() > deadline:
            raise TimeoutError("no other process builds")
        time.sleep(0.01)


def wait_ms(duration_ms):
    """Busy wait until a deadline, which absorbs other processes' turns; `time.sleep` is too coarse for 2 ms."""
    end = time.perf_counter() + duration_ms / 1000
    while time.perf_counter() < end:
        pass


def register():
    """Put `faulty` into the table of backends of this process."""
    harness.backends.BACKENDS["faulty"] = harness.backends.Entry("faulty:FaultyBackend", VARIANTS, SLOW_TO_BUILD)


if __name__ == "__main__":
    register()
    sys.modules["faulty"] = sys.modules["__main__"]
    program = sys.argv.pop(1)
    if program == "worker":
        from harness.worker import main
    else:
        from harness.__main__ import main
    sys.exit(main())
