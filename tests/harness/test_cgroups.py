"""How many cores a container allows: control groups as kernel and Docker lay them out, in folders of our own."""

import psutil
import pytest

from harness import machine
from harness.cgroups import read_cpu_limit
from harness.machine import count_usable_cores

V1_MOUNTS = (
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd",
    "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct",
    "33 31 0:30 {top} /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset",
)
V2_MOUNT = "31 23 0:28 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
OTHERS = ("23 1 8:1 / / rw - ext4 /dev/sda1 rw", "24 23 0:5 / /proc rw - proc proc rw", "no mount at all", "")


@pytest.fixture
def system(tmp_path):
    """Write what the kernel says of this process's groups, and files below /sys/fs/cgroup by path; answers the root."""

    def build(memberships, mounts, top="/", **files):
        proc = tmp_path / "proc/self"
        proc.mkdir(parents=True)
        (proc / "cgroup").write_text("".join(f"{line}\n" for line in memberships))
        (proc / "mountinfo").write_text("".join(f"{line.format(top=top)}\n" for line in (*OTHERS, *mounts)))
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return build


def v1(quota, period="100000", folder="cpu,cpuacct"):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("400000 100000\n", 4), ("250000 100000\n", 3), ("50000 100000\n", 1), ("60000 20000\n", 3),
        ("max 100000\n", None), ("", None), ("0 100000\n", None), ("400000 0\n", None), ("garbage\n", None),
        ("4e5 1e5\n", None), ("400000\n", None),
    ],
)  # fmt: skip
def test_the_limit_of_version_2_is_rounded_up(system, text, limit):
    """`docker --cpus=4` and fractions, in a container that sees its group as the top one; what is not read is none."""
    assert read_cpu_limit(system(["0::/"], [V2_MOUNT], **{"cpu.max": text})) == limit


@pytest.mark.parametrize(("quota", "limit"), [("400000", 4), ("150000", 2), ("-1", None), ("", None), ("x", None)])
def test_the_limit_of_version_1_is_rounded_up(system, quota, limit):
    """Where the path is the host's, and the container sees its own group alone; others' controllers set none."""
    memberships = ["3:cpuset:/docker/0fba", "2:cpu,cpuacct:/docker/0fba", "1:name=systemd:/", "0::/"]
    root = system(memberships, V1_MOUNTS, "/docker/0fba", **v1(quota), **v1("100000", folder="cpuset"))
    assert read_cpu_limit(root) == limit


@pytest.mark.parametrize(
    ("own", "above", "limit"), [("max 100000", "300000 100000", 3), ("200000 100000", "300000 100000", 2),
                                ("600000 100000", "300000 100000", 3), ("max 100000", "max 100000", None)],
)  # fmt: skip
def test_the_least_of_the_group_and_those_above_it_counts(system, own, above, limit):
    """On a host: a service inside a slice. A group beside them has nothing to say, and the top one has no file."""
    files = {"a.slice/b.service/cpu.max": own, "a.slice/cpu.max": above, "a.slice/c.service/cpu.max": "100000 100000"}
    assert read_cpu_limit(system(["0::/a.slice/b.service"], [V2_MOUNT], **files)) == limit


@pytest.mark.parametrize(("path", "top"), [("/../../other", "/"), ("/kubepods/pod1", "/docker/0fba")])
def test_a_group_that_is_not_under_the_mount_is_read_at_its_top(system, path, top):
    """Namespaces hide where it is: the mount shows what the container is held to."""
    assert read_cpu_limit(system([f"0::{path}"], [V2_MOUNT], top, **{"cpu.max": "200000 100000"})) == 2


def test_both_versions_at_once(system):
    """A hybrid host: version 2 is mounted beside, without the CPU controller."""
    mounts = (*V1_MOUNTS, "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw")
    assert read_cpu_limit(system(["2:cpu,cpuacct:/", "0::/"], mounts, **v1("500000"))) == 5


def test_without_control_groups_there_is_no_limit(tmp_path):
    """Another system than Linux, or one that hides /proc."""
    assert read_cpu_limit(tmp_path) is None
    assert (read_cpu_limit() or 1) >= 1


@pytest.mark.parametrize(("limit", "cores"), [(4, 4), (None, 64), (100, 64)])
def test_a_container_with_4_cpus_on_a_host_of_64_cores_has_4(monkeypatch, limit, cores):
    """Each core runs two threads, of which the affinity counts both; the limit is never more than there is."""
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(128)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 128 if logical else 64)
    monkeypatch.setattr(machine, "read_cpu_limit", lambda: limit)
    assert count_usable_cores() == cores
