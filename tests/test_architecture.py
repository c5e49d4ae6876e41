"""Who may import whom, read from the source: stages meet in files."""

import ast
import subprocess
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
    "backends/engine_files", "backends/engine_profiles", "backends/inspector", "backends/torch_trt_graph",
    "serving", "batcher", "arrivals", "server_schema",
]  # fmt: skip
# started under the interpreter of the TensorRT environment; torch is there
BUILDER_MODULES = {
    "engine_builder": (), "tensorrt_builder": (), "torch_trt_builder": ("torch",), "engine_timer": ("numpy",),
}  # fmt: skip
INSIDE_HARNESS = {
    "schema": (), "clocks": (), "measure": ("clocks", "schema"), "parity": ("schema",),
    "machine": ("cgroups", "nvml"), "cgroups": (),
    "artifacts": ("schema",),
    "config": ("backends", "schema"), "plan": ("config", "schema"),
    "store": ("schema", "whole_files"), "whole_files": (),
    "resume": ("artifacts", "commands", "config", "schema", "store"),
    "audit": ("nvml",), "memory": (), "reference": ("parity", "schema"), "time_sheet": (), "launch": (),
    "worker": ("backends", "clocks", "measure", "memory", "parity", "reference", "schema", "serving"),
    "builds": ("backends", "config", "interrupt", "launch", "plan", "schema"),
    "interrupt": ("launch",), "arrivals": (), "batcher": (), "server_schema": ("schema",), "server_config": (),
    "serving": ("arrivals", "backends", "batcher", "parity", "reference", "server_schema"),
    "cluster_board": ("plan", "schema"), "cluster_files": ("artifacts",),
    "cluster_device": (
        "artifacts", "audit", "ceilings", "cluster_files", "config", "environments", "machine", "plan", "schema",
        "store", "sweep", "telemetry",
    ),
    "cluster": ("audit", "ceilings", "cluster_device", "cluster_slots", "config", "launch", "machine"),
    "cluster_slots": (),
    "nvml": (), "gpm": ("nvml",), "gpu_samples": ("nvml",), "telemetry": ("gpm", "gpu_samples", "nvml"),
    "calibrate": (), "ceilings": ("launch", "store"), "traces": ("plan", "schema"),
    "environments": ("backends", "config", "launch"), "limits": (),
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


@pytest.mark.parametrize("module", BUILDER_MODULES)
def test_builder_modules_need_nothing_of_the_main_environment(module):
    """They run in TensorRT's environment, in Python 3.10, and import nothing else of ours."""
    path = ROOT / "export" / f"{module}.py"
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
    for name in imports_of(path):
        top = name.split(".")[0]
        assert top in BUILDER_MODULES[module] or top in sys.stdlib_module_names, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "harness/backends").glob("*.py")), ids=lambda path: path.stem)
def test_backends_are_written_in_the_syntax_of_python_3_10(path):
    """Any of them may be given another interpreter."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


@pytest.mark.slow
def test_what_workers_call_exists_in_python_3_10(tmp_path):
    """Mypy's typeshed knows which names of the standard library are newer, such as hashlib.file_digest."""
    workers = [ROOT / "harness" / f"{module}.py" for module in WORKER_MODULES]
    files = [*workers, *(ROOT / "harness/backends").glob("*.py"), *(ROOT / f"export/{m}.py" for m in BUILDER_MODULES)]
    flags = ["--python-version", "3.10", "--follow-imports=skip", "--ignore-missing-imports", "--config-file="]
    command = [sys.executable, "-m", "mypy", *flags, "--cache-dir", str(tmp_path), *sorted({str(f) for f in files})]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_every_package_has_an_empty_init():
    """Importing a stage must cost nothing and hide nothing; backends/ holds the table."""
    for package in PACKAGES:
        assert (ROOT / package / "__init__.py").read_text() == ""
