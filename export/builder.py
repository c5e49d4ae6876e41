"""The child process that builds, seen from its parent: started when first asked, under TensorRT's interpreter."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from export.files import BadInputError, CheckFailedError

ROOT = Path(__file__).resolve().parent.parent
TENSORRT_PYTHON = ROOT / ".venv-tensorrt" / "bin" / "python"  # what `make setup-tensorrt-pypi` makes
DONE = {"describe": "built", "engine": "built", "torch_trt": "built", "time": "timed"}
INSTALL = "install it with `make setup-tensorrt`, or name an interpreter that has it with --engine_python"


class TookTooLongError(CheckFailedError):
    """The child had no answer in time, and was ended."""


def find_interpreter(given: Path | None) -> str:
    """`given`; or that of `.venv-tensorrt`, where it exists; or this one."""
    return str(given or (TENSORRT_PYTHON if TENSORRT_PYTHON.exists() else sys.executable))


class Builder:
    """One `export.engine_builder` for a whole export: its imports and its CUDA context are paid once."""

    def __init__(self, interpreter: str, log: Path) -> None:
        self.interpreter, self.log = interpreter, log
        self.process: subprocess.Popen[bytes] | None = None
        self._about: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        """The GPU and library versions. Raises BadInputError with the reason and the mend when it cannot build."""
        if self._about is None:
            answer = self._ask({"do": "describe"})
            if "error" in answer:
                mend = f"; {INSTALL}" if "No module named" in answer["error"] else ""
                raise BadInputError(
                    f"--engine_python: cannot build engines under {self.interpreter}: {answer['error']}{mend}"
                )
            self._about = answer
        return self._about

    def build(self, what: str, request: dict[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """Have an "engine" or a "torch_trt" module built, or do another of `engine_builder`'s commands.

        Raises CheckFailedError with the library's reason, TookTooLongError after `timeout_s`.
        """
        answer = self._ask({"do": what, "request": request}, timeout_s)
        if "error" in answer:
            raise CheckFailedError(f"not {DONE[what]}: {answer['error']}; the whole log is {self.log}")
        return answer

    def _ask(self, command: dict[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        if self.process is None:
            self._start()
        assert self.process is not None  # noqa: S101 - _start() made it
        try:
            self._commands.write(json.dumps(command) + "\n")
            self._commands.flush()
            if not select.select([self._replies], [], [], timeout_s)[0]:
                self.close()
                raise TookTooLongError(f"not {DONE[command['do']]} in {timeout_s:g} s")
            line = self._replies.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            status = self.process.wait()
            self.close()
            what = DONE[command["do"]]
            raise CheckFailedError(f"not {what}: the builder ended with status {status}; its log is {self.log}")
        return json.loads(line)

    def _start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        commands_read, commands = os.pipe()
        replies, replies_write = os.pipe()
        search_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        try:
            with self.log.open("ab") as stream:
                self.process = subprocess.Popen(
                    [self.interpreter, "-m", "export.engine_builder", str(commands_read), str(replies_write)],
                    # lazy loading, TensorRT's own advice: else every kernel of its libraries is loaded at the start
                    env={
                        "CUDA_MODULE_LOADING": "LAZY",
                        **os.environ,
                        "PYTHONPATH": search_path,
                        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    pass_fds=(commands_read, replies_write),
                )
        except OSError as error:
            os.close(commands)
            os.close(replies)
            raise BadInputError(f"--engine_python: cannot start {self.interpreter}: {error.strerror}") from None
        finally:
            os.close(commands_read)
            os.close(replies_write)
        self._commands, self._replies = os.fdopen(commands, "w"), os.fdopen(replies)

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            with contextlib.suppress(BrokenPipeError):
                self._commands.close()
            self._replies.close()
            self.process, self._about = None, None

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
