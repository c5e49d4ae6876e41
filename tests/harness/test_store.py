"""A run's folder where the disk is full, or a start was cut short. A limit on the size of files stands for the disk."""

import resource
import signal

import pytest

from harness.ceilings import try_ceilings
from harness.schema import Job, Row
from harness.store import RunFolder, StoreError

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
    folder, write = RunFolder(tmp_path / "r"), RunFolder._write_whole

    def fail(self, name, text):
        if name == cut:
            raise OSError(28, "No space left on device")
        write(self, name, text)

    monkeypatch.setattr(RunFolder, "_write_whole", fail)
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
