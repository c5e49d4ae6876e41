"""Who may import whom, read from the source: stages meet in files."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("training", "export", "harness", "analysis")
ALLOWED = {
    "training": (),
    "harness": (),
    "export": ("training.network", "training.checkpoint"),
    "analysis": ("harness.schema",),
}
# imported by workers, possibly under Python 3.10 with one runtime library and NumPy
WORKER_MODULES = [
    "worker", "measure", "memory", "reference", "clocks", "schema", "parity", "backends/__init__", "backends/base",
    "serving", "batcher", "arrivals", "server_schema",
]  # fmt: skip
INSIDE_HARNESS = {
    "schema": (), "clocks": (), "measure": ("clocks",), "parity": ("schema",), "machine": ("nvml",), "artifacts": (),
    "config": ("backends", "schema"), "store": ("schema",), "plan": ("config", "schema"),
    "audit": ("nvml",), "memory": (), "reference": ("parity", "schema"), "time_sheet": (), "launch": (),
    "worker": ("backends", "clocks", "measure", "memory", "parity", "reference", "schema", "serving"),
    "interrupt": ("launch",), "arrivals": (), "batcher": (), "server_schema": ("schema",), "server_config": (),
    "serving": ("arrivals", "backends", "batcher", "parity", "reference", "server_schema"),
    "cluster_board": ("plan", "schema"), "cluster_files": ("artifacts",),
    "cluster_device": (
        "artifacts", "audit", "ceilings", "cluster_files", "config", "machine", "plan", "schema", "store", "sweep",
        "telemetry",
    ),
    "cluster": ("ceilings", "cluster_device", "config", "launch", "machine"),
    "nvml": (), "gpm": ("nvml",), "gpu_samples": ("nvml",), "telemetry": ("gpm", "gpu_samples", "nvml"),
    "calibrate": (), "ceilings": ("launch", "store"),
}  # fmt: skip


def imports_of(path):
    """Names of modules a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_stages_import_only_what_the_design_allows(package):
    """Export -> training.network, training.checkpoint; analysis -> harness.schema; nothing else across."""
    for path in files_of(package):
        for name in imports_of(path):
            if name.split(".")[0] in PACKAGES and name.split(".")[0] != package:
                allowed = any(
                    name == a or a.startswith(name + ".") or name.startswith(a + ".") for a in ALLOWED[package]
                )
                assert allowed, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("module", INSIDE_HARNESS)
def test_harness_modules_depend_in_one_direction(module):
    """Lower modules know nothing of upper ones."""
    for name in imports_of(ROOT / "harness" / f"{module}.py"):
        if name.startswith("harness."):
            assert name.split(".")[1] in INSIDE_HARNESS[module], f"harness/{module}.py imports {name}"


@pytest.mark.parametrize("module", WORKER_MODULES)
def test_worker_modules_need_only_the_standard_library_and_numpy(module):
    """They run in other interpreters; their syntax is that of Python 3.10."""
    path = ROOT / "harness" / f"{module}.py"
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
    for name in imports_of(path):
        top = name.split(".")[0]
        assert top in ("numpy", "harness") or top in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_every_package_has_an_empty_init():
    """Importing a stage must cost nothing and hide nothing; backends/ holds the table."""
    for package in PACKAGES:
        assert (ROOT / package / "__init__.py").read_text() == ""
