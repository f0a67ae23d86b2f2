"""Times calls as a network makes them: many in a row, each on memory of its own, on a GPU from a CUDA graph.

A call that is repeated on the same memory finds it in a cache, and below 100 microseconds a pair of events around one
launch also times the gap before the next. Contenders take turns within a round, as everywhere here.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import torch

from benchmarks.common import ROUND_SECONDS, Call

GRAPH_SECONDS = 1e-3  # a graph holds as many calls as last so long
MOST_SETS = 64


def sets_of_memory(nbytes: int, device: str) -> int:
    """How many inputs of so many bytes leave none of them in the caches until their turn comes again."""
    cache = torch.cuda.get_device_properties(device).L2_cache_size if device != "cpu" else 32 * 2**20
    return max(2, min(MOST_SETS, -(-4 * cache // max(nbytes, 1))))


class Turns:
    """These calls, one after the other; `run` makes all of them, `calls` of them in all."""

    def __init__(self, calls: Sequence[Call], device: str, stream: "torch.cuda.Stream | None" = None) -> None:
        if device == "cpu":
            self.run, self.calls = lambda: [call() for call in calls], len(calls)
            return
        stream = stream or torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for call in calls:  # the allocator and the device's limits are asked before the capture
                call()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for call in calls:
                call()
            end.record()
            end.synchronize()
        repeats = max(1, round(GRAPH_SECONDS * 1e3 / max(begin.elapsed_time(end), 1e-3)))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self._results = [call() for _ in range(repeats) for call in calls]  # each in memory of its own
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = graph
        self.run, self.calls = graph.replay, repeats * len(calls)


def alternate_turns(
    contenders: Mapping[str, Turns],
    rounds: int,
    device: str,
    before: Callable[[str], None] = lambda name: None,
) -> dict[str, list[float]]:
    """Seconds per call of each round; on the CPU `before(name)` is called, untimed, before each contender's turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    if device == "cpu":
        repeats = {}
        for name, turns in contenders.items():
            before(name)
            turns.run()
            start = time.perf_counter()
            turns.run()
            repeats[name] = max(1, int(ROUND_SECONDS / (time.perf_counter() - start)))
        for _ in range(rounds):
            for name, turns in contenders.items():
                before(name)
                start = time.perf_counter()
                for _ in range(repeats[name]):
                    turns.run()
                seconds[name].append((time.perf_counter() - start) / (repeats[name] * turns.calls))
        return seconds
    events = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, turns in contenders.items():
            pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            pair[0].record()
            turns.run()
            pair[1].record()
            events[name].append(pair)
    torch.cuda.synchronize()
    return {
        name: [begin.elapsed_time(end) / 1e3 / contenders[name].calls for begin, end in pairs]
        for name, pairs in events.items()
    }


def clone_of(moved_bytes: float, device: str) -> Turns:
    """Copies into fresh memory that read and write as many bytes together."""
    half = max(1, int(moved_bytes / 2))
    tensors = [
        torch.zeros(half, dtype=torch.int8, device=device) for _ in range(sets_of_memory(half, device))
    ]
    return Turns([tensor.clone for tensor in tensors], device)
