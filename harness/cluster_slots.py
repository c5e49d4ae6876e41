"""Where the devices of a Ray cluster are, from what it says of its nodes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

TYPE = "accelerator_type:"  # how Ray spells that a node has accelerators of this type


class ClusterError(ValueError):
    """The cluster cannot be used, or is gone; one line, with the mend."""


@dataclass(frozen=True)
class Slot:
    """A place for one device: a GPU of a node, or the whole node when its CPU is measured."""

    name: str
    node_id: str
    accelerator: str | None
    cpus: float


def check_accelerator(accelerator: str | None, device: str) -> None:
    """Raises ClusterError for a type of accelerator where the CPU is measured: a node has many cards and one CPU."""
    if accelerator and device == "cpu":
        raise ClusterError(
            f"--accelerator {accelerator}: not with --device cpu, which measures whole nodes; leave one of them out"
        )


def find_slots(nodes: list[dict[str, Any]], accelerator: str | None, device: str) -> list[Slot]:
    """Places on the nodes that are alive: GPUs of one type, or whole nodes where there are none or `device` is cpu.

    Raises ClusterError when several types are there and none is named, or the one named is not, or is no use.
    """
    check_accelerator(accelerator, device)
    alive = [node for node in nodes if node["Alive"]]
    types = {node["NodeID"]: find_type(node["Resources"]) for node in alive}
    known = sorted({kind for kind in types.values() if kind})
    wanted = accelerator or (known[0] if len(known) == 1 and device != "cpu" else None)
    if wanted is None and len(known) > 1 and device != "cpu":
        raise ClusterError(f"--accelerator: the cluster has {', '.join(known)}; name one, or give --device cpu")
    if wanted and wanted not in known:
        raise ClusterError(f"--accelerator {wanted}: not in the cluster (there are: {', '.join(known) or 'none'})")
    slots = []
    for node in alive:
        if wanted and types[node["NodeID"]] != wanted:
            continue
        cards = int(node["Resources"]["GPU"]) if wanted else 1
        host = re.sub(r"[^\w.-]", "_", f"{node['NodeManagerHostname']}-{node['NodeID'][:6]}").lstrip(".")
        for card in range(cards):
            cpus = 1 if wanted else node["Resources"].get("CPU", 1)
            slots.append(Slot(f"{host}.{card}" if cards > 1 else host, node["NodeID"], wanted, cpus))
    return slots


def find_type(resources: dict[str, float]) -> str | None:
    """Accelerator type of a node that has GPUs."""
    named = [name.removeprefix(TYPE) for name in resources if name.startswith(TYPE)]
    return named[0] if named and resources.get("GPU") else None
