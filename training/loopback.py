"""Several training processes on one machine: they meet on 127.0.0.1, where nobody else can reach them."""

from __future__ import annotations

import os
import socket

from lightning.fabric.plugins import environments
from lightning.fabric.plugins.environments import LightningEnvironment
from torch.distributed import TCPStore

HOST = "127.0.0.1"
LAUNCHERS = (  # others than Lightning, which say themselves where to meet
    environments.TorchElasticEnvironment,
    environments.SLURMEnvironment,
    environments.LSFEnvironment,
    environments.MPIEnvironment,
)


class LoopbackEnvironment(LightningEnvironment):
    """Lightning's own launcher, but for the address that is listened on: PyTorch's store takes every interface.

    The launching process opens the store on a socket of its own, and tells all ranks (itself too) to be its clients.
    """

    store: TCPStore | None = None

    @property
    def main_address(self) -> str:
        """Of the store."""
        return HOST

    @property
    def main_port(self) -> int:
        """Of the store; opens it in the process that launches the others."""
        if self._main_port == -1 and not self.creates_processes_externally:
            listener = socket.create_server((HOST, 0))
            self._main_port = listener.getsockname()[1]
            # None: how many clients there will be is not asked
            self.store = TCPStore(HOST, self._main_port, None, True, master_listen_fd=listener.detach())
            os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
        return super().main_port


def choose_environment(num_nodes: int) -> list[LightningEnvironment]:
    """Plugins for a Trainer: loopback where Lightning starts the processes itself, on this machine alone."""
    if num_nodes > 1 or any(launcher.detect() for launcher in LAUNCHERS):
        return []
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    for library in ("GLOO", "NCCL") if loopback else ():
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", str(loopback))
    return [LoopbackEnvironment()]
