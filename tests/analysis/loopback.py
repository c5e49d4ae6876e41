"""The simulated queue against a real one: the smallest dynamic batcher on 127.0.0.1, with Poisson requests.

    python -m tests.analysis.loopback --model resnet18 --seconds 15

A server process measures the time of a call per batch size, alone, then answers requests of one image. The client
sends at random moments whether or not earlier answers came. The simulation gets the measured table and the very
moments at which requests were sent; nothing is fitted. A second simulation has the table's times multiplied by how much
longer calls took in service, which tells the queue's error from the table's. The table that is printed is that of
docs/decisions/queueing.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import struct
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from analysis.decision.queueing import Batcher, ServiceTable, poisson_arrivals, simulate

REQUEST = struct.Struct("!I")
SIZES = (1, 2, 4, 8)
CALLS = 40  # of each batch size, to make the table
PERCENTILES = (50, 90, 99)
SIMULATIONS = 20  # draws of service times for the same arrivals


def make_model(name):
    """A call of n images, as a function of n. `stand_in`: 6 ms and 2 ms an image of sleep. `resnet18`: 112 px, fp32."""
    if name == "stand_in":
        return lambda count: time.sleep((6.0 + 2.0 * count) / 1000)
    import torch
    from torchvision.models import resnet18

    torch.set_num_threads(1)
    network = resnet18(num_classes=10).eval()
    images = torch.rand(max(SIZES), 3, 112, 112)

    def run(count):
        with torch.inference_mode():
            network(images[:count])

    return run


def serve(pipe: Connection, name: str) -> None:
    """The server process: sends (port, times of a call in ms by batch size); told to stop, (batch, ms) of each call."""
    model, pool = make_model(name), ThreadPoolExecutor(1)

    def call(count):
        start = time.perf_counter()
        model(count)
        return 1000 * (time.perf_counter() - start)

    def measure():
        return {size: [call(size) for _ in range(CALLS + 5)][5:] for size in SIZES}

    asyncio.run(_serve(pipe, pool.submit(measure).result(), lambda count: pool.submit(call, count)))


async def _serve(pipe, table, start_call):
    batcher = Batcher(*pipe.recv())
    waiting, served, news, loop = deque(), [], asyncio.Event(), asyncio.get_running_loop()

    async def read(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readexactly(REQUEST.size)
                waiting.append((loop.time(), request, writer))
                news.set()

    async def work():
        while True:
            while not waiting:
                news.clear()
                await news.wait()
            deadline = waiting[0][0] + batcher.delay_ms / 1000
            while len(waiting) < batcher.max_batch and loop.time() < deadline:
                news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), deadline - loop.time())
            batch = [waiting.popleft() for _ in range(min(batcher.max_batch, len(waiting)))]
            served.append((len(batch), await asyncio.wrap_future(start_call(len(batch)))))
            for _, request, writer in batch:
                writer.write(request)

    server = await asyncio.start_server(read, "127.0.0.1", 0)
    worker = asyncio.create_task(work())
    pipe.send((server.sockets[0].getsockname()[1], table))
    await loop.run_in_executor(None, pipe.recv)  # until the parent says stop, or is gone (EOFError)
    pipe.send(served)
    worker.cancel()
    server.close()


async def send(port, moments_ms):
    """Send a request at each moment, whatever is answered; (moments sent, latencies), both in ms, shape (n,)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent, answered = np.zeros(len(moments_ms)), np.zeros(len(moments_ms))

    async def collect():
        for _ in moments_ms:
            (number,) = REQUEST.unpack(await reader.readexactly(REQUEST.size))
            answered[number] = time.perf_counter()

    collecting = asyncio.create_task(collect())
    start = time.perf_counter()
    for number, moment in enumerate(moments_ms):
        await asyncio.sleep(max(0.0, start + moment / 1000 - time.perf_counter()))
        sent[number] = time.perf_counter()
        writer.write(REQUEST.pack(number))
    await asyncio.wait_for(collecting, 60)
    writer.close()
    return 1000 * (sent - sent[0]), 1000 * (answered - sent)


@dataclass(frozen=True)
class Outcome:
    """Percentiles of latency in ms: `real`, `simulated` from the table, and `adjusted` by `slowdown` of the calls."""

    per_second: float
    slowdown: float
    real: np.ndarray
    simulated: np.ndarray
    adjusted: np.ndarray


def run_once(name, batcher, load, seconds, seed=1):
    """One server and one stream of requests at `load` of the peak rate."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, name), daemon=True)
    process.start()
    theirs.close()
    try:
        mine.send((batcher.max_batch, batcher.delay_ms))
        port, samples = mine.recv()
        table = ServiceTable({size: np.array(times) for size, times in samples.items()})
        rate = load * table.peak_per_second(batcher.max_batch)
        rng = np.random.default_rng(seed)
        moments, latency = asyncio.run(send(port, poisson_arrivals(rate, int(rate * seconds), rng)))
        mine.send("stop")
        served = mine.recv()
    finally:
        process.join(10)
        process.kill()
    slowdown = sum(ms for _, ms in served) / sum(table.mean_ms(size) for size, _ in served)
    slower = ServiceTable({size: slowdown * times for size, times in table.samples.items()})
    tables = [simulate_percentiles(moments, each, batcher, rng) for each in (table, slower)]
    return Outcome(rate, slowdown, np.percentile(latency, PERCENTILES), *tables)


def simulate_percentiles(moments, table, batcher, rng):
    """Mean over draws of service times of each percentile of latency, in ms."""
    drawn = [simulate(moments, table, batcher, rng).latency_ms for _ in range(SIMULATIONS)]
    return np.mean([np.percentile(latency, PERCENTILES) for latency in drawn], axis=0)


def main():
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("stand_in", "resnet18"), default="stand_in")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each stream of requests, in s")
    arguments = parser.parse_args()
    print("| model | load | requests/s | delay, ms | p50, ms | p90, ms | p99, ms | calls took |")
    print("|:---|---:|---:|---:|---:|---:|---:|---:|")
    for delay_ms in (0.0, 20.0):
        for load in (0.3, 0.6, 0.8):
            found = run_once(arguments.model, Batcher(8, delay_ms), load, arguments.seconds)
            triples = zip(found.real, found.simulated, found.adjusted, strict=True)
            cells = " | ".join(" / ".join(f"{value:.1f}" for value in triple) for triple in triples)
            start = f"| {arguments.model} | {load:.0%} | {found.per_second:.0f} | {delay_ms:.0f} |"
            print(f"{start} {cells} | {found.slowdown:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
