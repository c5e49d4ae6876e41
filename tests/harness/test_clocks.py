"""The CUDA clock on a fake GPU: one stream that runs ahead of nobody, with times known exactly."""

import pytest

from harness.clocks import CudaEventClock
from harness.measure import MIN_COVERAGE


class FakeCuda:
    """A GPU with one stream. The host needs `launch_ms` to enqueue an inference, the device `kernel_ms` to run it.

    Its driver holds `depth` inferences, and lets who brings another one wait.
    """

    def __init__(self, launch_ms, kernel_ms, depth=1000):
        self.host_ms = self.device_ms = 0.0
        self.launch_ms, self.kernel_ms, self.depth = launch_ms, kernel_ms, depth
        self.ends_ms, self.most_ahead = [], 0

    def run(self):
        self.host_ms += self.launch_ms
        if len(self.ends_ms) >= self.depth:
            self.host_ms = max(self.host_ms, self.ends_ms[-self.depth])
        self.device_ms = max(self.device_ms, self.host_ms) + self.kernel_ms
        self.ends_ms = [end for end in self.ends_ms if end > self.host_ms] + [self.device_ms]
        self.most_ahead = max(self.most_ahead, len(self.ends_ms))

    def synchronize(self):
        self.host_ms = max(self.host_ms, self.device_ms)

    def Stream(self):  # noqa: N802 - torch's name
        return self

    def set_stream(self, stream):
        self.current = stream

    def Event(self, enable_timing):  # noqa: N802 - torch's name
        cuda = self

        class Event:
            def record(self):
                self.at_ms = max(cuda.device_ms, cuda.host_ms)

            def synchronize(self):
                cuda.host_ms = max(cuda.host_ms, self.at_ms)

            def elapsed_time(self, end):
                return end.at_ms - self.at_ms

        return Event()


def make_clock(cuda, **options):
    clock = CudaEventClock(cuda, **options)
    clock.now_ms = lambda: cuda.host_ms
    return clock


def test_work_on_another_stream_is_given_away_by_the_wall_clock():
    """Events around a backend that launches elsewhere see nothing; the wall clock does, and their ratio says so."""
    cuda = FakeCuda(0.1, 2.0)
    elsewhere = FakeCuda(0.1, 2.0)

    def run_elsewhere():
        elsewhere.host_ms = cuda.host_ms
        elsewhere.run()
        cuda.host_ms = elsewhere.host_ms

    def synchronize():  # of the whole device, as torch.cuda.synchronize does
        cuda.host_ms = max(cuda.host_ms, cuda.device_ms, elsewhere.device_ms)

    cuda.synchronize = synchronize
    window = make_clock(cuda).window(run_elsewhere, 10)
    assert sum(window.samples_ms) / window.wall_ms < MIN_COVERAGE


def test_device_bound_inferences_are_timed_exactly():
    """Launch 0.1 ms, kernel 2 ms: every sample is 2 ms, the first too, and throughput is that of the device."""
    cuda = FakeCuda(0.1, 2.0)
    window = make_clock(cuda).window(cuda.run, 10)
    assert window.samples_ms == [pytest.approx(2.0)] * 10
    assert window.wall_ms == pytest.approx(20.0, rel=0.01)


def test_launch_bound_inferences_are_timed_with_their_gaps():
    """Launch 1 ms, kernel 0.2 ms: the device waits for the host, and each sample is the launch's 1 ms."""
    cuda = FakeCuda(1.0, 0.2)
    window = make_clock(cuda).window(cuda.run, 10)
    assert window.samples_ms == [pytest.approx(1.0)] * 10


def test_the_host_runs_ahead_by_a_bounded_queue():
    """1,000 enqueued inferences would hold memory and hide a hang."""
    cuda = FakeCuda(0.001, 1.0)
    make_clock(cuda, queue=8).window(cuda.run, 100)
    assert cuda.most_ahead <= 10


def test_a_caller_that_waits_pays_for_launch_and_kernel():
    """host_ms: launch 1 ms and kernel 2 ms are not hidden behind one another."""
    cuda = FakeCuda(1.0, 2.0)
    assert make_clock(cuda).wait_each(cuda.run, 5) == [pytest.approx(3.0)] * 5


def test_a_stream_hides_the_launches_but_the_first():
    """Throughput: 100 kernels of 2 ms and one launch of 0.5 ms that nothing hides, within the bounded queue."""
    cuda = FakeCuda(0.5, 2.0)
    clock = make_clock(cuda, queue=8)
    assert clock.stream(cuda.run, 100) == pytest.approx(200.5)
    assert cuda.most_ahead <= 8


def test_the_host_time_of_an_enqueue_is_read():
    """What launch-bound means: the host needs 1 ms for what the device does in 0.2 ms."""
    cuda = FakeCuda(1.0, 0.2)
    assert make_clock(cuda).window(cuda.run, 10).enqueue_ms == pytest.approx(1.0)


def test_an_enqueue_that_waits_for_a_full_queue_is_not_the_hosts_time():
    """A driver that holds five inferences: in a long window nearly every call lasts as long as the device's 2 ms."""
    cuda = FakeCuda(0.1, 2.0, depth=5)
    assert make_clock(cuda).window(cuda.run, 100).enqueue_ms == pytest.approx(0.1)
    assert cuda.most_ahead == 5


def test_a_cache_flush_is_in_no_sample_and_in_no_wall_clock():
    """Flush 0.5 ms, kernel 2 ms: samples stay 2 ms, and they account for the whole wall clock."""
    cuda = FakeCuda(0.01, 2.0)

    def flush():
        cuda.device_ms = max(cuda.device_ms, cuda.host_ms) + 0.5

    clock = CudaEventClock.__new__(CudaEventClock)
    clock.now_ms = lambda: cuda.host_ms
    clock.__init__(cuda, flush=flush)
    window = clock.window(cuda.run, 50)
    assert clock.flush_ms == pytest.approx(0.5)
    assert window.samples_ms == [pytest.approx(2.0)] * 50
    assert sum(window.samples_ms) / window.wall_ms == pytest.approx(1.0, rel=0.01)
