"""The CPU limit of this process's Linux control group, which `docker --cpus` and Kubernetes set as time per period.

Python and psutil count the CPUs that a process may be scheduled on; this limit leaves all of them and takes time away.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def read_cpu_limit(root: Path = Path("/")) -> int | None:
    """CPUs whose time the process may use, rounded up; None without a limit. `root`: where /proc and /sys are.

    The least of the process's own group and those above it, as far as they are mounted here, in version 2 (`cpu.max`)
    and 1 (`cpu.cfs_quota_us`). What is absent, or not as the kernel writes it, is no limit.
    """
    limits = [limit for group in find_groups(root) if (limit := read_group(group)) is not None]
    return min(limits, default=None)


def find_groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that this process is in, each followed by those above it."""
    own = dict(_read_memberships(root))
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, filesystem = line.partition(" - ")  # man 5 proc_pid_mountinfo
        mounted, described = mount.split(), filesystem.split()
        if len(mounted) < 5 or len(described) < 3 or described[0] not in ("cgroup", "cgroup2"):
            continue
        name = "" if described[0] == "cgroup2" else "cpu"
        if name not in own or (name and name not in described[2].split(",")):
            continue
        top, path = PurePosixPath(mounted[3]), PurePosixPath(own[name])
        # a container may see its own group alone, whatever path the kernel calls it by
        inside = path.relative_to(top) if path.is_relative_to(top) and ".." not in path.parts else PurePosixPath()
        for folder in (inside, *inside.parents):
            yield root / mounted[4].lstrip("/") / folder


def read_group(folder: Path) -> int | None:
    """The limit that one group sets, in CPUs, rounded up."""
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = (_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):  # none: `max`, or -1 in version 1
        return None
    return -(-int(quota) // int(period))


def _read_memberships(root: Path) -> Iterator[tuple[str, str]]:
    """The group's path by controller; that of version 2 has none."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in controllers.split(","):
            yield name, path


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
