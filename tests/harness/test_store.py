"""A run's folder where the disk is full, or a start was cut short. A limit on the size of files stands for the disk."""

import gzip
import os
import resource
import signal
import subprocess

import pytest

from harness.ceilings import try_ceilings
from harness.schema import Job, Row
from harness.store import RunFolder, StoreError
from harness.whole_files import write_whole

RUN = ("--backends", "[faulty/missing]", "--run_id", "r")


def limit_files(size):
    """For `preexec_fn`: no file may grow over `size` bytes."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    return limit


@pytest.mark.parametrize("size", [0, 100])
def test_a_disk_that_is_full_at_the_start_is_one_line_and_spoils_no_run_id(run_harness, tmp_path, size):
    """Of the lock (0 bytes) or of the run's first file: with space, the same command goes through."""
    code, _, err = run_harness(*RUN, preexec_fn=limit_files(size))
    assert (code, err.count("\n")) == (2, 1), err
    assert "results: cannot write there (" in err
    code, _, err = run_harness(*RUN, "--continue_or_replace", "true")
    assert (code, err) == (0, "")
    assert len(RunFolder(tmp_path / "results/r").read_rows()) == 2
    assert [path.name for path in (tmp_path / "results").glob("r*")] == ["r"]


@pytest.mark.parametrize("arguments", [(), ("--continue_or_replace", "true")])
def test_a_folder_without_config_and_rows_is_no_run(run_harness, tmp_path, arguments):
    """What a kill leaves right after the folder was made."""
    (tmp_path / "results/r").mkdir(parents=True)
    code, _, err = run_harness(*RUN, *arguments)
    assert (code, err) == (0, "")
    assert {"config.yaml", "machine.json", "rows.jsonl"} <= {path.name for path in (tmp_path / "results/r").iterdir()}


def test_a_folder_that_holds_no_run_cannot_be_resumed(refuse, tmp_path):
    (tmp_path / "results/r").mkdir(parents=True)
    assert "--resume r: no such run in" in refuse("--resume", "r")


@pytest.mark.parametrize("cut", ["machine.json", "config.yaml"])
def test_a_start_that_is_cut_short_leaves_no_run(tmp_path, monkeypatch, cut):
    """The config is written last: a folder that has one is whole."""
    folder = RunFolder(tmp_path / "r")

    def fail(path, text):
        if path.name == cut:
            raise OSError(28, "No space left on device")
        write_whole(path, text)

    monkeypatch.setattr("harness.store.write_whole", fail)
    with pytest.raises(StoreError, match="cannot write there"):
        folder.create({}, {})
    assert not folder.begun
    monkeypatch.undo()
    folder.create({}, {})
    assert folder.begun
    with pytest.raises(StoreError, match="r exists: continue it with --resume r"):
        folder.create({}, {})


def test_rows_without_a_config_are_not_written_over(tmp_path):
    folder = RunFolder(tmp_path / "r")
    folder.path.mkdir()
    folder.rows_path.write_text("{}\n")
    with pytest.raises(StoreError, match="r exists"):
        folder.create({}, {})
    assert folder.rows_path.read_text() == "{}\n"


@pytest.mark.parametrize("name", ["models.json", "logs"])
def test_what_cannot_be_written_at_the_start_of_the_measurement_is_one_line(refuse, tmp_path, name):
    """Something else of that name is in the way."""
    path = tmp_path / "results/r" / name
    if name == "logs":
        path.parent.mkdir(parents=True)
        path.write_text("")
    else:
        path.mkdir(parents=True)
    err = refuse(*RUN)
    assert f"results/r/{name}: cannot write (" in err
    assert "--resume r" in err


def test_what_cannot_be_written_leaves_the_old_file_and_no_part_of_a_new_one(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.write_json("audit.json", {"a": 1})
    before = (tmp_path / "audit.json").read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        with pytest.raises(StoreError, match=r"audit\.json: cannot write \(File too large\); all"):
            folder.write_json("audit.json", {"a": "b" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "audit.json").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


USES = {
    "read": RunFolder.read_rows,
    "cut": RunFolder.drop_half_line,
    "append": lambda folder: folder.append(make_row()),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_rows_that_cannot_be_opened_are_one_line(tmp_path, use):
    folder = RunFolder(tmp_path)
    folder.rows_path.mkdir()
    with pytest.raises(StoreError, match=r"rows\.jsonl: cannot (write|be read) \(Is a directory\)"):
        use(folder)


def make_row():
    job = Job("faulty", "missing", "fp32", 8, 1)
    return Row("r", "2026-01-01T00:00:00Z", job, "a CPU", "cpu", "unavailable", "not here")


def test_ceilings_whose_log_cannot_be_written_are_done_without(tmp_path):
    (tmp_path / "logs").write_text("")
    found = try_ceilings("/nonesuch", {"kind": "cpu"}, 1, tmp_path / "logs/calibrate.log")
    assert found == {"failed": f"cannot write {tmp_path}/logs (File exists)"}


@pytest.fixture
def packed(run_harness, tmp_path):
    """A run of two rows whose file was packed as docs/decisions/scale.md says."""
    assert run_harness(*RUN)[0] == 0
    subprocess.run(["gzip", tmp_path / "results/r/rows.jsonl"], check=True)
    return tmp_path / "results/r/rows.jsonl.gz"


@pytest.mark.parametrize("arguments", [("--resume", "r"), (*RUN, "--continue_or_replace", "true")])
def test_a_packed_run_is_known_to_be_done(run_harness, packed, arguments):
    code, out, err = run_harness(*arguments)
    assert (code, err) == (0, "")
    assert "0 jobs to measure, 2 done" in out
    assert not packed.with_suffix("").exists()


def test_nothing_is_added_beside_packed_rows(refuse, packed):
    """A new rows.jsonl would hide them from analysis; the line names the mend."""
    packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes()).splitlines(keepends=True)[0]))
    err = refuse("--resume", "r")
    assert "r/rows.jsonl.gz: rows cannot be added to a packed file; run `gunzip` on it first" in err
    assert not packed.with_suffix("").exists()


def test_packed_rows_that_are_cut_are_one_line(refuse, packed):
    packed.write_bytes(packed.read_bytes()[:-20])
    assert "r/rows.jsonl.gz: cannot be read (" in refuse("--resume", "r")


def test_a_packed_run_with_another_config_is_set_aside(run_harness, tmp_path, packed):
    content = packed.read_bytes()
    other = ("--backends", "[faulty/unsupported]", "--run_id", "r", "--continue_or_replace", "true")
    code, out, err = run_harness(*other)
    assert (code, err, "the old run is kept as" in out) == (0, "", True)
    (kept,) = (tmp_path / "results").glob("r.*/rows.jsonl.gz")
    assert kept.read_bytes() == content
    assert {row.job.variant for row in RunFolder(tmp_path / "results/r").read_rows()} == {"unsupported"}


def test_a_run_without_a_file_of_rows_is_set_aside_too(tmp_path):
    folder = RunFolder(tmp_path / "r")
    folder.create({}, {})
    folder.rows_path.unlink()
    kept = folder.set_aside()
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
    folder.create({}, {})
    folder.rows_path.unlink()
    os.utime(folder.path, (kept.stat().st_mtime,) * 2)
    with pytest.raises(StoreError, match=r"r: cannot be renamed to .*/r\.20"):
        folder.set_aside()
