"""The chunks of a sweep on the workers of a Dask cluster: the same batches through the same fold.

The market goes to every worker once. Signals of the workspace go as their source, under its hash, and are loaded there
as they are here. A worker whose code is another is refused; the chunk of a worker that dies is folded by another one.
Dask is imported here alone, and only where a cluster is asked for.
"""

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from flea_lab.backtest.batch import Batch
from flea_lab.backtest.cells import fold_batch
from flea_lab.backtest.market import Market
from flea_lab.backtest.plan import Plan
from flea_lab.compiled import source_hash
from flea_lab.errors import ConfigError, FleaError
from flea_lab.model.instrument import Instrument
from flea_lab.settings import load_settings
from flea_lab.signal.kernel import Floats, Kernel
from flea_lab.signal.registry import builtin_kernels, content_hash, load_kernel
from flea_lab.workspace import workspace

TRIES = 4
LOOPBACK = "127.0.0.1"
HEARD_HERE = {"dashboard_address": f"{LOOPBACK}:0", "worker_dashboard_address": f"{LOOPBACK}:0"}
"""Where Dask's own pages are served: they are there even where no address is given, and then to the whole network."""
MISSING = "a cluster needs Dask: pip install 'flea-lab[cluster]'"

Packed = dict[str, Any]


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of the cluster whose scheduler has this address; `ConfigError` where none answers."""
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(MISSING) from None
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cluster {address}: no scheduler answers ({error})") from None
    with client:
        yield client


@contextmanager
def local_cluster(workers: int = 2) -> Iterator[Any]:
    """A client of worker processes on this machine, heard by nobody else."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ConfigError(MISSING) from None
    with (
        LocalCluster(workers, threads_per_worker=1, host=LOOPBACK, **HEARD_HERE) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def fold_on_cluster(
    client: Any,
    cells: Plan,
    market: Market,
    start: int,
    spans: dict[int, tuple[int, int]],
    cancelled: Callable[[], bool],
) -> Iterator[tuple[int, Floats]]:
    """Numbers and metrics of chunks as they end, at most two a thread of the cluster under way.

    `ConfigError` for a worker of other code, and for a grid that changes the signals themselves.
    """
    from distributed import wait

    if cells.mixed:
        raise ConfigError("a grid over the signals themselves cannot go to a cluster: sweep their parameters, or here")
    client.wait_for_workers(1, timeout=60)
    for address, found in client.run(code).items():
        _same_code(address, found)
    signals = {kernel.name: _source(kernel) for kernel in cells.alphas.kernels if kernel.name not in builtin_kernels()}
    shared = client.scatter(packed_market(market), broadcast=True, hash=False)
    todo, tries = list(reversed(spans)), dict.fromkeys(spans, 0)
    waiting: dict[Any, int] = {}
    try:
        while (todo or waiting) and not cancelled():
            while todo and len(waiting) < 2 * max(1, sum(client.nthreads().values())):
                number = todo.pop()
                packed = packed_batch(cells.batch(*spans[number]))
                job = client.submit(fold_packed, code(), shared, signals, packed, start, pure=False, retries=TRIES)
                waiting[job] = number
            try:
                with client.as_current():
                    done = wait(list(waiting), timeout=0.2, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                continue
            for job in done:
                number = waiting.pop(job)
                landed = _result(job)
                if landed is not None:
                    yield number, landed
                    continue
                tries[number] += 1
                if tries[number] == TRIES:
                    raise ConfigError(f"cluster: {TRIES} workers died over chunk {number}; have they enough memory?")
                shared = client.scatter(packed_market(market), broadcast=True, hash=False)
                todo.append(number)
    finally:
        client.cancel(list(waiting))


def _result(job: Any) -> Floats | None:
    """The metrics of a chunk that ended; None where its worker, or all that had the market, died."""
    if job.status == "finished":
        address, digest, found = job.result()
        _same_code(address, digest)
        return found
    error = job.exception() if job.status == "error" else None
    if error is not None and not type(error).__module__.startswith("distributed"):
        raise error
    return None


def _same_code(address: str, found: str) -> None:
    if found != code():
        raise ConfigError(
            f"worker {address} has other code or packages ({found[:12]}, here {code()[:12]}): install the same on both"
        )


@functools.cache
def code() -> str:
    """The digest of the code that decides, as it is in this process."""
    return source_hash()


def fold_packed(
    asked: str, market: Packed, signals: dict[str, tuple[str, str]], batch: Packed, start: int
) -> tuple[str, str, Floats | None]:
    """On a worker: its address, the digest of its code and, where that is the one asked for, the metrics of a batch."""
    from distributed import get_worker

    address = str(get_worker().address)
    if code() != asked:
        return address, code(), None
    kernels = tuple(_kernel(name, signals.get(name)) for name in batch["kernels"])
    params = tuple(
        tuple(kernel.load(values, "a chunk") for values in listed)
        for kernel, listed in zip(kernels, batch["params"], strict=True)
    )
    arrays = {name: batch[name] for name in ("rules", "weights", "which", "vpins", "vpin_which", "book")}
    return address, code(), fold_batch(Batch(kernels=kernels, params=params, **arrays), unpacked_market(market), start)


def packed_batch(batch: Batch) -> Packed:
    """A batch as plain values and arrays."""
    listed = [[msgspec.to_builtins(one) for one in params] for params in batch.params]
    return {**batch._asdict(), "kernels": [kernel.name for kernel in batch.kernels], "params": listed}


def packed_market(market: Market) -> Packed:
    """A market as plain values and arrays."""
    found = {field.name: getattr(market, field.name) for field in fields(market)}
    return {**found, "grids": [msgspec.to_builtins(grid) for grid in market.grids]}


def unpacked_market(packed: Packed) -> Market:
    """The market again."""
    arrays = {name: _aligned(value) for name, value in packed.items() if isinstance(value, np.ndarray)}
    grids = tuple(load_settings(grid, Instrument, "a market") for grid in packed["grids"])
    return Market(**{**packed, **arrays, "grids": grids})


def _aligned(array: Any) -> Any:
    """`array` as compiled code expects one: what came over a wire may be aligned to bytes only."""
    found = np.require(array, requirements=["C", "A"])
    found.flags.writeable = False
    return found


def _source(kernel: Kernel) -> tuple[str, str]:
    """Source and content hash of a signal of the workspace."""
    path = workspace().signals / f"{kernel.name}.py"
    if content_hash(path) != kernel.source:
        raise ConfigError(f"signal {path.name} was edited while the sweep began: begin again")
    return path.read_text(encoding="utf-8"), kernel.source


def _kernel(name: str, sent: tuple[str, str] | None) -> Kernel:
    return builtin_kernels()[name] if sent is None else _sent_kernel(name, *sent)


@functools.cache
def _sent_kernel(name: str, text: str, digest: str) -> Kernel:
    """A signal that came as source, loaded as one of the workspace is."""
    folder = Path(tempfile.mkdtemp(prefix="flea-signals-"))
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    if content_hash(path) != digest:
        raise FleaError(f"signal {name}: what came is not what was sent")
    return load_kernel(path)
