"""How far a long preparation is: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
EVERY_S = 10.0


def shown(
    items: Iterable[Item],
    total: int,
    what: str,
    size: Callable[[Item], int] = lambda item: 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Item]:
    """`items` as they are, while progress is shown: `size` of each adds up to `total` images."""
    if sys.stderr.isatty():
        with tqdm(total=total, desc=what, unit="img", leave=False) as bar:
            for item in items:
                yield item
                bar.update(size(item))
        return
    started = said = clock()
    done = 0
    for item in items:
        yield item
        done += size(item)
        now = clock()
        if now - said >= EVERY_S and done < total:
            said = now
            left_s = (now - started) * (total / done - 1)
            print(f"{what}: {done:,} of {total:,}, {now - started:.0f} s passed, {left_s:.0f} s left", flush=True)
