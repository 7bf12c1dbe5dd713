"""Symbolic calculations in worker processes, killed when they take too long or too much memory."""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, cast

import toolken
from toolken.tools.calculator.answer import Answer
from toolken.tools.calculator.errors import CalculationError

SECONDS = 1.5
"""Time a calculation may take in a worker that is up."""
_COLD_SECONDS = 1.8  # for start and calculation together, where a worker has to start first
_LEAST_SECONDS = 0.7  # that a calculation is given however long the start took
MEMORY = 1 << 30
"""Bytes of address space of a worker, of which the libraries take about a quarter."""
WORKERS = max(2, min(4, os.cpu_count() or 1))
"""Calculations at once; further ones wait their turn."""
_SPARE_SECONDS = 0.3  # into a calculation
_START_SECONDS = 60.0  # for the imports of a worker on a busy machine; about one second on an idle one
_QUEUE_SECONDS = 60.0
_TOO_SLOW = "The calculation takes too long: ask for a smaller or simpler one."


class _Worker:
    """A process that answers one request at a time.

    A plain subprocess that talks JSON, not multiprocessing: nothing is forked from a program with threads, nothing is
    unpickled, and the program's main module is not run a second time.
    """

    def __init__(self) -> None:
        # The program's own way to its modules, but for the current folder, whose files could shadow the library's.
        package = str(Path(next(iter(toolken.__path__))).parent)
        path = os.pathsep.join([package, *(entry for entry in sys.path if entry)])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "toolken.tools.calculator.worker", str(SECONDS + 1), str(MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._requests = cast(BinaryIO, self._process.stdin)
        self._replies = cast(BinaryIO, self._process.stdout)
        self._is_up = False

    def await_start(self) -> float:
        """Wait until the process takes requests, and return the seconds that are left for one.

        Raises
        ------
        CalculationError
            If the process does not start.
        """
        if self._is_up:
            return SECONDS
        began = time.monotonic()
        if not self._read(_START_SECONDS):
            self.close()
            raise CalculationError(
                "The calculator's worker does not start: check that Python may start a process here."
            )
        self._is_up = True
        return min(SECONDS, max(_LEAST_SECONDS, _COLD_SECONDS - (time.monotonic() - began)))

    def ask(self, request: bytes, seconds: float) -> bytes:
        """Return the reply to a request.

        Raises
        ------
        CalculationError
            If the reply takes longer than `seconds`, or the process ends on the way to it; the worker is then closed.
        """
        try:
            self._requests.write(request)
            self._requests.flush()
            reply = self._read(seconds)
        except BrokenPipeError:
            reply = b""
        if not reply:
            self.close()
            raise CalculationError(
                "The calculation ended its worker process, likely for lack of memory: ask for a smaller one."
            )
        return reply

    def _read(self, seconds: float) -> bytes:
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._process.kill()

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        reply = self._replies.readline()
        timer.cancel()
        timer.join()  # a timer that fires just now has killed the worker before it could be used again
        if expired.is_set():
            self.close()
            raise CalculationError(_TOO_SLOW)
        return reply

    def is_alive(self) -> bool:
        """Return whether the process still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._replies):
            with contextlib.suppress(BrokenPipeError):  # a request that no one took is still in the pipe
                pipe.close()


class _Pool:
    """Workers that stay warm between calculations; safe to use from any thread."""

    def __init__(self) -> None:
        self._turns = threading.BoundedSemaphore(WORKERS)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._inherited: list[_Worker] = []

    def ask(self, request: bytes) -> dict[str, Any]:
        if not self._turns.acquire(timeout=_QUEUE_SECONDS):
            raise CalculationError("The calculator is busy with other calculations: ask again later.")
        try:
            worker = self._take()
            seconds = worker.await_start()
            # A calculation that takes this long may well be killed: the next one shall not wait for the imports.
            spare = threading.Timer(_SPARE_SECONDS, self._start_spare)
            spare.daemon = True
            spare.start()
            try:
                reply: dict[str, Any] = json.loads(worker.ask(request, seconds))
            finally:
                spare.cancel()
            if reply["retired"]:
                worker.close()
            else:
                self._give(worker)
        finally:
            self._turns.release()
        return reply

    def _start_spare(self) -> None:
        with self._lock:
            if not self._idle:
                self._idle.append(_Worker())

    def _take(self) -> _Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is not None and worker.is_alive():
            return worker
        if worker is not None:
            worker.close()
        return _Worker()

    def _give(self, worker: _Worker) -> None:
        with self._lock:
            if len(self._idle) < WORKERS:
                self._idle.append(worker)  # last in, first out: the spare that may still be starting stays below
                return
        worker.close()

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def forget(self) -> None:
        """In a forked process: leave the workers, and whatever locks were held, to the parent."""
        self._inherited = self._idle  # kept, since dropping them would close what the parent still uses
        self._turns = threading.BoundedSemaphore(WORKERS)
        self._lock = threading.Lock()
        self._idle = []


_POOL = _Pool()
atexit.register(_POOL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)


def run_isolated(operation: str, **arguments: Any) -> Answer:
    """Run one of the worker's operations.

    The first call starts a worker, which takes just under a second; later ones take milliseconds. A worker whose
    calculation exceeds `SECONDS` is killed; another was started by then.

    Parameters
    ----------
    operation
        A key of `worker.OPERATIONS`.
    **arguments
        Its arguments: JSON values, or fractions and decimals, which are sent as text.

    Raises
    ------
    CalculationError
        If the operation refuses its arguments, or exceeds its time or memory.
    """
    reply = _POOL.ask(json.dumps({"operation": operation, "arguments": arguments}, default=str).encode() + b"\n")
    if "error" in reply:
        raise CalculationError(reply["error"])
    return Answer(**reply["answer"])
