"""The README says what the code does: its commands parse, its files exist, its numbers are in the committed report."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stage_process import run_stage

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip() for line in README.splitlines() if line.startswith("    ")]


def show_help(stage, folder):
    """Of a process of its own, but for training, whose imports take seconds."""
    if stage[0] == "training":
        return run_stage(*stage, "--help", cwd=folder)
    command = [sys.executable, "-m", *stage, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_commands_of_python_stages_are_accepted(tmp_path):
    """Every flag shown exists: the stage's help names it."""
    stages = {}
    for command in COMMANDS:
        words = shlex.split(command)
        if words[:2] != ["python", "-m"]:
            continue
        stage = tuple(words[2:4]) if words[2] in ("training", "analysis") else (words[2],)
        if stage not in stages:
            done = show_help(stage, tmp_path)
            assert done.returncode == 0, done.stderr
            stages[stage] = done.stdout
        for word in words[3:]:
            if word.startswith("--"):
                assert word in stages[stage], f"{command}: {word}"
    assert len(stages) >= 5


def test_make_targets_exist():
    """Every `make TARGET` shown is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [shlex.split(command)[1] for command in COMMANDS if command.startswith("make ")]
    assert {"bench", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), target


def test_links_lead_to_files():
    """Links and pictures within the repository."""
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert any(target.endswith(".png") for target in targets)
    for target in targets:
        assert (ROOT / target).exists(), target


def test_numbers_of_the_result_come_from_the_committed_report():
    """Each row of the README's result tables stands, word for word, in a report it links to."""
    reports = re.findall(r"\((docs/results/[^)]+/report\.en\.md)\)", README)
    assert len(reports) == 2, "the README links to the reports its results come from"
    text = "\n".join((ROOT / report).read_text(encoding="utf-8") for report in reports)
    start = README.index("## A real result")
    table = [line for line in README[start : README.index("\n## ", start + 5)].splitlines() if line.startswith("| ")]
    assert len(table) >= 4
    for line in table:
        assert line in text, line


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md"])
def test_project_files_are_there(name):
    """What a visitor looks for."""
    assert (ROOT / name).stat().st_size > 100
