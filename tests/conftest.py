"""Fixtures shared by several folders, and what is skipped where there is no GPU."""

import shutil
import subprocess

import pytest

from tests.export_fixtures import (  # noqa: F401 - fixtures are found by name
    bare,
    exported,
    exported_once,
    manifest_of_fixture,
    network,
)


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` are skipped, by name, on a machine whose NVIDIA driver does not answer."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


def has_gpu():
    program = shutil.which("nvidia-smi")
    return program is not None and subprocess.run([program, "-L"], capture_output=True, check=False).returncode == 0
