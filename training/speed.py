"""`python -m training.speed`: how fast training is here, by step, by loop and by loader, in images per second."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from training.speed_options import PROG, fill_in, read_options


def show(record: dict[str, Any]) -> str:
    """One line for a reader."""
    least, most = min(record["windows_images_per_s"]), max(record["windows_images_per_s"])
    line = f"{record['measured']}, {record['mode']}" if "mode" in record else record["measured"]
    line += f": {record['images_per_s']:,.1f} img/s ({least:,.1f} to {most:,.1f})"
    if "wait_share" in record:
        line += f", {record['wait_share']:.1%} of the time without data, first step {record['first_step_s']:.1f} s"
    return line


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 2 bad input or too little memory, 130 interrupted."""
    options = read_options(arguments)
    # a cached compilation would make the first step look faster than it is on a new machine
    os.environ.setdefault("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    from torch import OutOfMemoryError  # noqa: PLC0415

    from training.__main__ import quieten  # noqa: PLC0415
    from training.errors import TrainingError  # noqa: PLC0415
    from training.speed_tasks import measure  # noqa: PLC0415

    quieten()
    try:
        settings = fill_in(options)
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.touch()
        for record in measure(settings):
            print(show(record), flush=True)
            if options.output:
                with options.output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
    except TrainingError as error:
        return _stop(2, str(error))
    except OutOfMemoryError:
        return _stop(2, f"--batch_size: {settings.batch_size} images do not fit into the GPU's memory; give fewer")
    except OSError as error:
        return _stop(2, f"--output: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        return _stop(130, "interrupted; what was measured is in --output")
    return 0


def _stop(status: int, line: str) -> int:
    print(f"{PROG}: error: {' '.join(line.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
