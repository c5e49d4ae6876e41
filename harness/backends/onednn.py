"""Which oneDNN kernels an inference used: read from the library's own trace, on CPUs."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

LAYERS = ("convolution", "inner_product", "matmul")


def trace_kernels(run: Callable[[], None]) -> dict[str, Any]:
    """Run once with oneDNN's verbose mode on; count kernels and input types of its convolutions and matrix products.

    The trace goes to the C library's stdout, so file descriptor 1 is redirected meanwhile. Format of a line:
    https://uxlfoundation.github.io/oneDNN/dev_guide_verbose.html
    """
    sys.stdout.flush()
    stdout = os.dup(1)
    with tempfile.TemporaryFile() as trace:
        os.dup2(trace.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                run()
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        trace.seek(0)
        return count_kernels(trace.read().decode(errors="replace"))


def count_kernels(trace: str) -> dict[str, Any]:
    """Counts from a oneDNN trace: `kernels` by implementation, `compute_dtypes` by source type (f32, bf16, s8, u8)."""
    kernels: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    for line in trace.splitlines():
        fields = line.split(",")
        if len(fields) > 8 and fields[2:4] == ["primitive", "exec"] and fields[5] in LAYERS:
            kernels[f"{fields[5]} {fields[6]}"] += 1
            dtypes[fields[8].partition("src:")[2].partition(":")[0]] += 1
    return {"kernels": dict(sorted(kernels.items())), "compute_dtypes": dict(sorted(dtypes.items()))}
