"""`python -m analysis recommend`: its flags, and the order of what it does."""

from __future__ import annotations

from pathlib import Path

from analysis.decision.needs import Needs, Objective
from analysis.load import InputError, load_run


def recommend(
    *,
    objective: Objective = "fps",
    max_host_ms: float | None = None,
    min_fps: float | None = None,
    min_accuracy: float | None = None,
    max_accuracy_drop: float = 0.01,
    max_gpu_memory_mb: float | None = None,
    max_cpu_memory_mb: float | None = None,
    image_sizes: list[int] | None = None,
    batch_sizes: list[int] | None = None,
    backends: list[str] | None = None,
    precisions: list[str] | None = None,
    requests_per_second: float | None = None,
    p99_ms: float | None = None,
    confirm: str | None = None,
    run_id: str | None = None,
    results_dir: Path = Path("results"),
    weights_dir: Path = Path("weights"),
) -> int:
    """Name the configuration to deploy for given needs, its margin, and what the others miss.

    Writes <results_dir>/<run_id>/report/recommendation.yaml, which measures winner, runner-up and baseline again. Exit
    status 0: there is an answer (and --confirm confirms it); 1: nothing meets the needs, or the rerun says otherwise;
    2: bad input.

    Args:
        objective: What to be best at: fps (most images per second), host_ms (shortest call) or energy (least J per
            image, where the run recorded it).
        max_host_ms: Longest time of one call, from call to synchronised result, in ms.
        min_fps: Fewest images per second.
        min_accuracy: Lowest accuracy, a share: 0.9 is 90%.
        max_accuracy_drop: Most accuracy that a precision may lose against fp32 of the same image size, a share: 0.01
            is one percentage point.
        max_gpu_memory_mb: Most GPU memory of the process, in MB (10**6 bytes).
        max_cpu_memory_mb: Most resident memory of the process, in MB (10**6 bytes).
        image_sizes: Choose among these sizes in px only.
        batch_sizes: Choose among these batch sizes only.
        backends: Choose among these libraries only, e.g. [pytorch,onnx_runtime].
        precisions: Choose among these precisions only, e.g. [fp32,fp16].
        requests_per_second: Requests of one image each, arriving at random at this mean rate (with --p99_ms): says how
            many devices, which batch limit and which queue delay.
        p99_ms: Time within which 99% of requests must be answered, waiting included, in ms (with
            --requests_per_second).
        confirm: A run of recommendation.yaml: does it confirm the answer to the same needs?
        run_id: Folder name of the run under results_dir; the newest run when left out.
        results_dir: Folder of runs.
        weights_dir: Folder with best_<arch>_<size>.json, for accuracy per image size.
    """
    needs = Needs(
        objective=objective,
        max_host_ms=max_host_ms,
        min_fps=min_fps,
        min_accuracy=min_accuracy,
        max_accuracy_drop=max_accuracy_drop,
        max_gpu_memory_mb=max_gpu_memory_mb,
        max_cpu_memory_mb=max_cpu_memory_mb,
        image_sizes=image_sizes or [],
        batch_sizes=batch_sizes or [],
        backends=backends or [],
        precisions=precisions or [],
        requests_per_second=requests_per_second,
        p99_ms=p99_ms,
    )
    if confirm is not None and run_id is None:
        raise InputError("--confirm: name the run that the answer came from with --run_id; the newest may be the rerun")
    run = load_run(results_dir, run_id, weights_dir)
    if not run.rows:
        raise InputError(f"{run.folder}: holds no rows yet; let the benchmark measure at least one job")
    rerun = load_run(results_dir, confirm, weights_dir) if confirm is not None else None
    if rerun is not None and rerun.folder.resolve() == run.folder.resolve():
        raise InputError(f"--confirm {confirm}: is the run of the answer; name a run of its recommendation.yaml")
    from analysis.decision.answer import answer  # noqa: PLC0415 - keeps --help and errors quick

    return answer(run, needs, rerun, weights_dir)
