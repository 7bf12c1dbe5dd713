"""Symbolic calculations in worker processes with limits on time and memory."""

import atexit
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import toolken
from toolken.tools.calculator.answer import Answer
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.number_notation import MAX_DIGITS
from toolken.tools.quotation import quoted

SECONDS = 1.5
"""Seconds a calculation may take in a running worker."""
_COLD_SECONDS = 1.8  # start and calculation together, where no worker is running
_LEAST_SECONDS = 0.7  # for the calculation, however long the start took
MEMORY = 512 * 2**20
"""Bytes a calculation may allocate in addition to its worker's own memory; enforced on Linux."""
WORKERS = max(2, min(4, os.cpu_count() or 1))
"""Concurrent calculations; further ones wait in a first-in, first-out queue."""
MAX_TEXT = 10_000
"""Characters of an argument; longer ones are refused before they are sent."""
_SPARE_SECONDS = 0.3  # into a calculation
_START_SECONDS = 120.0  # for the imports of a worker on a busy machine; about one second on an idle one
_QUEUE_SECONDS = 120.0
_ATTEMPTS = 3  # to start a worker, should the system end one
_COMMAND = [sys.executable, "-P", "-m", "toolken.tools.calculator.worker", str(SECONDS + 1), str(MEMORY)]
# One arithmetic and one order of sets on every machine: GMP, where it is installed, ends the process when memory is
# short, and sympy's choice among equal forms follows the hash seed.
_ENVIRONMENT = {"SYMPY_GROUND_TYPES": "python", "MPMATH_NOGMPY": "1", "PYTHONHASHSEED": "0"}


class _Worker:
    """A process that answers one request at a time.

    A plain subprocess that talks JSON, not multiprocessing: nothing is forked from a program with threads, nothing is
    unpickled, and the program's main module is not run a second time.

    Raises
    ------
    CalculationError
        If the system starts no process.
    """

    def __init__(self) -> None:
        # The program's module path without the current folder, whose files could shadow the library's.
        package = str(Path(next(iter(toolken.__path__))).parent)
        path = os.pathsep.join([package, *(entry for entry in sys.path if entry)])
        try:
            self._process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C is for the program
            )
        except OSError as error:
            raise CalculationError(
                f"The calculator cannot start a process ({error.strerror}): let Python start one here, or end others."
            ) from error
        self._requests = cast(BinaryIO, self._process.stdin)
        self._replies = cast(BinaryIO, self._process.stdout)
        self._is_up = False
        self._is_expired = False

    def await_start(self) -> float:
        """Wait until the process takes requests, and return the seconds that are left for one.

        Raises
        ------
        CalculationError
            If the process ends instead, or takes `_START_SECONDS`; it is then closed.
        """
        if self._is_up:
            return SECONDS
        began = time.monotonic()
        if self._reply(_START_SECONDS) is None:
            self.close()
            raise CalculationError(
                f"The calculator's worker process does not start: run {shlex.join(_COMMAND)} to see why."
            )
        self._is_up = True
        return min(SECONDS, max(_LEAST_SECONDS, _COLD_SECONDS - (time.monotonic() - began)))

    def ask(self, request: bytes, seconds: float) -> dict[str, Any]:
        """Return the reply to a request.

        Raises
        ------
        CalculationError
            If the reply takes longer than `seconds`, or the process ends on the way to it.
        """
        reply = self._reply(seconds, request)
        if reply is not None:
            return reply
        if self._is_expired or self._ended_by_its_alarm():
            raise CalculationError(
                f"The calculation takes too long, more than {seconds:.2g} s: ask for a smaller or simpler one."
            )
        raise CalculationError(
            "The calculation ended its worker process, likely for lack of memory: ask for a smaller one."
        )

    def _reply(self, seconds: float, request: bytes = b"") -> dict[str, Any] | None:
        """Send a request and return what the process answers, or None if it ends; after `seconds` it is ended."""
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            self._requests.write(request)
            self._requests.flush()
            line = self._replies.readline()
        except OSError:  # a pipe that no one reads any more
            return None
        finally:
            timer.cancel()
            timer.join()  # so that a timer firing now kills the process before the next request
        reply: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
        return reply

    def _ended_by_its_alarm(self) -> bool:
        # The process has one too, which comes first where this program is kept from running.
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(1) == -getattr(signal, "SIGALRM", 0)
        return False

    def _expire(self) -> None:
        self._is_expired = True
        self._process.kill()

    def is_usable(self) -> bool:
        """Return whether the process still runs and may be asked again."""
        return not self._is_expired and self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a process in uninterruptible sleep ends later
            self._process.wait(5)
        for pipe in (self._requests, self._replies):
            with contextlib.suppress(OSError):  # a request that no one took is still in the pipe
                pipe.close()


class _Pool:
    """Workers that stay warm between calculations; safe to use from any thread.

    Each calculation runs in a thread of the pool's executor, whose queue is first in, first out. Neither an interrupt
    of the program nor the end of a worker ends these threads.
    """

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._inherited: list[_Worker] = []
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._turns = ThreadPoolExecutor(WORKERS, thread_name_prefix="calculator")

    def ask(self, request: bytes) -> dict[str, Any]:
        """Return the reply to a request, in its turn.

        Raises
        ------
        CalculationError
            If the turn does not come, no worker starts, or the calculation ends without a reply.
        """
        try:
            turn = self._turns.submit(self._answer, request)
        except RuntimeError as error:
            raise CalculationError(f"The calculator cannot start a thread ({error}): ask again later.") from error
        try:
            return turn.result(_QUEUE_SECONDS)
        except TimeoutError:
            if not turn.cancel():
                return turn.result()  # it has just begun, or is about to end
            raise CalculationError("The calculator is busy with other calculations: ask again later.") from None
        finally:
            turn.cancel()  # where the wait was interrupted

    def warm_up(self) -> None:
        """Have a worker start in the background unless there is one."""
        with contextlib.suppress(RuntimeError):  # no thread can be started, or the program is ending
            threading.Thread(target=self._start_spare, name="calculator-start", daemon=True).start()

    def _answer(self, request: bytes) -> dict[str, Any]:
        worker, seconds = self._ready()
        try:
            # A calculation that takes this long may well be killed: the next one shall not wait for the imports.
            spare = threading.Timer(_SPARE_SECONDS, self._start_spare)
            spare.daemon = True
            spare.start()
            try:
                reply = worker.ask(request, seconds)
            finally:
                spare.cancel()
        except BaseException:
            worker.close()
            raise
        self._give(worker, not reply["retired"])
        return reply

    def _ready(self, attempts: int = _ATTEMPTS) -> tuple[_Worker, float]:
        """Return a worker that is up, and the seconds it has for a calculation."""
        worker = self._take()
        try:
            return worker, worker.await_start()
        except CalculationError:
            if attempts == 1:
                raise
        return self._ready(attempts - 1)

    def _start_spare(self) -> None:
        with self._lock, contextlib.suppress(CalculationError):  # the call that needs the worker raises the error
            if not self._idle and not self._is_closed:
                self._idle.append(_Worker())

    def _take(self) -> _Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is not None and worker.is_usable():
            return worker
        if worker is not None:
            worker.close()
        return _Worker()

    def _give(self, worker: _Worker, may_stay: bool) -> None:
        with self._lock:
            if may_stay and worker.is_usable() and len(self._idle) < WORKERS and not self._is_closed:
                self._idle.append(worker)  # last in, first out: the spare that may still be starting stays below
                return
        worker.close()

    def close(self) -> None:
        """End every idle worker; a busy one is ended by the thread that waits for it."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()

    def forget(self) -> None:
        """In a forked process: leave the workers, and whatever locks were held, to the parent."""
        self._inherited += self._idle  # kept, since dropping them would close what the parent still uses
        self._idle = []
        self._begin()


_POOL = _Pool()
atexit.register(_POOL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)


def _request(operation: str, arguments: dict[str, Any]) -> bytes:
    for value in arguments.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and len(text) > MAX_TEXT:
                raise CalculationError(f"{quoted(text)} is too long for a calculation: give a shorter text.")
    try:
        # ASCII without line ends, whatever the texts hold.
        return json.dumps({"operation": operation, "arguments": arguments}, default=str).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:  # integers of more than 4,300 digits, lists within lists
        given, most = ", ".join(map(quoted, arguments.values())), f"{MAX_DIGITS:,} digits"
        raise CalculationError(f"{operation} cannot use {given}: give numbers of at most {most}, or texts.") from error


def warm_up() -> None:
    """Start a worker in the background, so that the first calculation need not wait for its imports."""
    _POOL.warm_up()


def run_isolated(operation: str, **arguments: Any) -> Answer:
    """Run one of the worker's operations.

    Where no worker is up the call starts one, which takes about a second; others take milliseconds. A worker whose
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
        If the arguments are too long to send, or the operation refuses them or exceeds its time or memory.
    """
    reply = _POOL.ask(_request(operation, arguments))
    if "error" in reply:
        raise CalculationError(reply["error"])
    return Answer(**reply["answer"])
