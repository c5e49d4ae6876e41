"""Rows and samples of a run as Parquet or CSV files, for other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.frames import make_rows_frame, make_samples_frame
from analysis.load import InputError, Run
from analysis.whole_files import replacing

WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "parquet": lambda frame, path: frame.to_parquet(path, index=False, engine="pyarrow"),
    "csv": lambda frame, path: frame.to_csv(path, index=False, lineterminator="\n"),
}


def write_tables(run: Run, kind: str, folder: Path) -> list[Path]:
    """Write rows.<kind> and samples.<kind> into `folder`, each whole or not at all; answers their paths.

    Raises InputError: an unknown kind, a file that cannot be written.
    """
    if kind not in WRITERS:
        raise InputError(f"--format {kind}: is not one of {', '.join(WRITERS)}")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, make in (("rows", make_rows_frame), ("samples", make_samples_frame)):
        path = folder / f"{name}.{kind}"
        with replacing(path) as part:
            WRITERS[kind](make(run.rows), part)
        paths.append(path)
    return paths
