"""`python -m STAGE` in a process forked from one that has torch and Lightning imported: it saves seconds a call."""

import importlib
import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

REPOSITORY = Path(__file__).parents[1]
# for children that start in another folder; what the machine itself needs on the path stays there
SEARCH_PATH = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["training.__main__"])


def run_stage(stage, *args, cwd, timeout_s=200):
    """Run the command line with `cwd` as its folder; answers exit status, stdout and stderr, as subprocess.run does."""
    words = [str(word) for word in args]
    outputs = [Path(cwd) / f".std{name}" for name in ("out", "err")]
    os.environ["OMP_NUM_THREADS"] = "1"  # tiny images; read when the server starts
    process = CONTEXT.Process(target=call_main, args=(stage, words, str(cwd), [str(path) for path in outputs]))
    process.start()
    process.join(timeout_s)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"python -m {stage} {words} ran for {timeout_s} s")
    texts = [path.read_text(encoding="utf-8") for path in outputs]
    for path in outputs:
        path.unlink()
    return CompletedProcess(words, process.exitcode, *texts)


run_training = partial(run_stage, "training")


def call_main(stage, words, cwd, outputs):
    """The child: its own folder, outputs and arguments."""
    os.chdir(cwd)
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = [stage, *words]
    status = importlib.import_module(f"{stage}.__main__").main()
    sys.stdout.flush()
    sys.exit(status)
