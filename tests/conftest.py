"""Fixtures shared by several folders."""

from tests.export_fixtures import (  # noqa: F401 - fixtures are found by name
    bare,
    exported,
    exported_once,
    manifest_of_fixture,
    network,
)
