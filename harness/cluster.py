"""The machines of a Ray cluster: connect, and hold one actor on each device of one accelerator type."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.audit import merge_loads
from harness.cluster_device import Device
from harness.cluster_slots import TYPE, ClusterError, Slot, check_accelerator, find_slots
from harness.config import BenchConfig
from harness.launch import ROOT
from harness.machine import describe_gpu

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 120.0
JOIN_ATTEMPTS = 3


@dataclass
class Cluster:
    """A connection, and the actors by name; all measure devices that call themselves alike."""

    ray: Any
    actors: dict[str, Any] = field(default_factory=dict)
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)
    loads: list[dict[str, Any]] = field(default_factory=list)
    tensorrt: dict[str, str] = field(default_factory=dict)

    @property
    def machine(self) -> dict[str, Any]:
        """What stands for all of them in machine.json."""
        return next(iter(self.machines.values()))

    @property
    def load(self) -> dict[str, Any]:
        """The busiest of all devices, as `audit.observe_load` has one."""
        return merge_loads(self.loads)

    def start(self, slots: list[Slot], config: BenchConfig, run_id: str, weights_dir: Path) -> None:
        """An actor for each slot. Raises ClusterError when no device answers."""
        waiting = {}
        for slot in slots:
            actor = self._make_actor(slot).remote(slot.name, config, run_id, str(weights_dir.resolve()))
            waiting[actor.describe.remote()] = slot.name, actor
        ready, late = self.ray.wait(list(waiting), num_returns=len(waiting), timeout=START_TIMEOUT_S)
        for call in late:
            print(f"{waiting[call][0]}: not free within {START_TIMEOUT_S:g} s, so it is left out.", flush=True)
            self.ray.kill(waiting[call][1])
        fault, pids = "all are in use", {}
        for call in sorted(ready, key=lambda call: waiting[call][0]):
            name, actor = waiting[call]
            try:
                described = self.ray.get(call)
                self._admit(name, actor, described)
                pids[name] = described["pid"]
            except (self.ray.exceptions.RayError, ValueError) as error:
                fault = " ".join(str(getattr(error, "cause", None) or error).split()[-40:])
                print(f"{name}: left out ({fault})", flush=True)
        self._observe_loads(pids, {slot.name: slot.node_id for slot in slots})
        if not self.actors:
            raise ClusterError(f"--cluster: no device of the cluster can be used ({fault})")

    def _make_actor(self, slot: Slot) -> Any:
        affinity = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(slot.node_id, soft=False)
        resources = {f"{TYPE}{slot.accelerator}": 0.001} if slot.accelerator else {}
        return self.ray.remote(Device).options(
            num_cpus=slot.cpus,
            num_gpus=1 if slot.accelerator else 0,
            resources=resources,
            scheduling_strategy=affinity,
            max_concurrency=2,
            max_restarts=0,
        )

    def _admit(self, name: str, actor: Any, described: dict[str, Any]) -> None:
        machine = described["machine"]
        if self.machines and machine["device"] != self.machine["device"]:
            self.ray.kill(actor)
            raise ValueError(f"it is {machine['device']}, this run measures {self.machine['device']}")
        if self.machines and described["tensorrt"] != self.tensorrt:
            self.ray.kill(actor)
            raise ValueError(f"its TensorRT is {described['tensorrt']}, this run measures {self.tensorrt}")
        self.actors[name], self.machines[name], self.tensorrt = actor, machine, described["tensorrt"]

    def _observe_loads(self, pids: dict[str, int], nodes: dict[str, str]) -> None:
        """Once all have started: devices of one node that still start would take one another for a disturbance."""
        calls = {}
        for name, actor in self.actors.items():
            calls[name] = actor.observe_load.remote([pids[o] for o in self.actors if nodes[o] == nodes[name]])
        for name, call in calls.items():
            try:
                self.loads.append(self.ray.get(call))
            except self.ray.exceptions.RayError as error:
                print(f"{name}: left out ({first_line(error)})", flush=True)
                self.drop(name)
                del self.machines[name]

    def drop(self, name: str) -> None:
        """Do without a device, which may be gone or only misbehave."""
        self.ray.kill(self.actors.pop(name))

    def close(self) -> None:
        """End the actors, and the cluster where it was started for this run."""
        for actor in self.actors.values():
            self.ray.kill(actor)
        self.ray.shutdown()


def connect(address: str, config: BenchConfig, accelerator: str | None, run_id: str, weights_dir: Path) -> Cluster:
    """Devices of the cluster at `address`: local (started here, on loopback alone), HOST:PORT or ray://HOST:PORT.

    Raises ClusterError: Ray is not installed, nobody answers, or the devices are not of one type.
    """
    check_accelerator(accelerator, config.device)  # before a cluster is started for it
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address == "local" or address.startswith((LOOPBACK, "localhost")):
        # the variable is meant for other systems, but makes Ray take 127.0.0.1 for this machine's address on Linux too
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray  # noqa: PLC0415 - optional, and slow to import
        import ray.util.scheduling_strategies  # noqa: PLC0415
    except ImportError:
        raise ClusterError("--cluster: Ray is not installed; pip install -r requirements-cluster.txt") from None
    check_answer(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
            # Ray starts a process for each CPU beforehand; there is work for one on each device
            quiet |= {"num_cpus": (describe_gpu() or {"count": 1})["count"], "include_dashboard": False}
            ray.init(address="local", _node_ip_address=LOOPBACK, **quiet)
        else:
            code = {"py_modules": [str(ROOT / "harness")], "excludes": ["**/__pycache__"]}
            join(ray, address, runtime_env=code, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise ClusterError(f"--cluster {address}: {last_words(error)}") from None
    cluster = Cluster(ray)
    try:
        slots = find_slots(ray.nodes(), accelerator, config.device)
        environments = {name: resolve(path) for name, path in config.environments.items()}
        cluster.start(slots, replace(config, environments=environments), run_id, weights_dir)
    except BaseException:
        cluster.close()
        raise
    return cluster


def join(ray: Any, address: str, **options: Any) -> None:
    """`ray.init`, again where a Ray Client server died before it could answer. Raises what `ray.init` raises.

    The head forks that process from one whose threads are inside gRPC, and on a busy machine about one in six such
    forks died at once (Ray 2.60), with nothing in its log; another one is made for a new connection.
    """
    for left in reversed(range(JOIN_ATTEMPTS)):
        try:
            ray.init(address=address, **options)
        except ConnectionError as error:
            if not left or "Starting Ray client server failed" not in str(error):
                raise
        else:
            return


def check_answer(address: str) -> None:
    """Raises ClusterError where nobody listens: Ray itself would try for minutes."""
    if address == "local":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"--cluster {address}: give local, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(f"--cluster {address}: nobody answers there ({error.strerror or error})") from None


def resolve(path: str) -> str:
    """An interpreter's path as seen from any folder; one that is not here stays as it is."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def first_line(error: Exception) -> str:
    """What an exception says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def last_words(error: Exception) -> str:
    """The end of what an exception says: Ray puts the traceback of its server before it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(dict.fromkeys((lines[0], lines[-1])))
