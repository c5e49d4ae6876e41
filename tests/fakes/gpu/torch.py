"""A torch with a GPU, as far as the builder of engines asks: its name, memory, streams, graphs and events.

Memory is NumPy's. What runs, runs at once; a graph does nothing when it is replayed but let `FAKE_MS` of the
environment pass, which the fake TensorRT sets.
"""

import contextlib
import os

import numpy as np

__version__ = "2.2.2+fake"
float16, float32 = np.float16, np.float32


class Tensor:
    def __init__(self, array):
        self.array = array

    def to(self, device):
        return Tensor(self.array.copy())

    def cpu(self):
        return self

    def numpy(self):
        return self.array

    def data_ptr(self):
        return self.array.ctypes.data


def from_numpy(array):
    return Tensor(array)


def empty(shape, dtype, device):
    return Tensor(np.empty(shape, dtype))


class cuda:  # noqa: N801 - torch's name
    now_ms = 0.0

    class Stream:
        cuda_stream = 7

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at_ms = cuda.now_ms

        def elapsed_time(self, later):
            return later.at_ms - self.at_ms

    class CUDAGraph:
        def replay(self):
            cuda.now_ms += self.ms

    @staticmethod
    @contextlib.contextmanager
    def graph(graph, stream):
        yield
        graph.ms = float(os.environ.get("FAKE_MS", "1"))

    @staticmethod
    def stream(stream):
        return contextlib.nullcontext()

    @staticmethod
    def synchronize():
        pass

    @staticmethod
    def empty_cache():
        pass

    @staticmethod
    def is_available():
        return True

    @staticmethod
    def get_device_name(index):
        return "NVIDIA FAKE 100"
