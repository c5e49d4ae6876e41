"""SIGINT and SIGTERM of a run: nothing that was measured is lost."""

from __future__ import annotations

import signal
from types import FrameType

from harness.launch import WorkerProcess


class Interrupt:
    """SIGINT and SIGTERM: the first lets the row in progress end, a second (`abandoned`) stops its worker at once.

    Workers that are `building` have no row in progress: the first stops them at once.
    """

    def __init__(self) -> None:
        self.requested = self.abandoned = False
        self.worker: WorkerProcess | None = None
        self.building: list[WorkerProcess] = []

    def install(self) -> None:
        """Take over both signals in this process."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def watch(self, worker: WorkerProcess) -> None:
        """Count a worker among those that build; it is stopped at once where the signal came before."""
        self.building.append(worker)
        if self.requested:
            worker.process.kill()

    def request(self) -> None:
        """What a signal does."""
        if self.requested and self.worker is not None:
            self.worker.process.kill()
        self.abandoned, self.requested = self.requested, True
        for worker in self.building:
            worker.process.kill()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.request()
