"""The worker process: answers one symbolic request a line until its input ends, under limits the system enforces."""

import contextlib
import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from toolken.tools.calculator.answer import Answer
from toolken.tools.calculator.equations import solve
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.symbolic import differentiate, evaluate, integrate, simplify
from toolken.tools.calculator.units import convert_units

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

OPERATIONS: dict[str, Callable[..., Answer]] = {
    "evaluate": evaluate,
    "solve": solve,
    "differentiate": differentiate,
    "integrate": integrate,
    "simplify": simplify,
    "convert_units": convert_units,
}
_CACHES = 256 * 2**20
"""Bytes of resident memory a worker may gain between requests: sympy's caches grow, and a new process starts small."""
_STACK = 64 * 2**20  # more than a stack ever takes


def main(seconds: float, memory: int) -> None:
    """Serve requests from standard input to standard output.

    A request is the JSON line `{"operation": ..., "arguments": {...}}`, a reply `{"answer": {...}}` or
    `{"error": "..."}`, with `"retired": true` where the process ends after it. The first line sent is `{}`, once
    everything is imported and the parser is built.

    Parameters
    ----------
    seconds
        The time after which a request ends the process, if the process that sent the request no longer exists.
    memory
        Bytes of address space that a request may take beyond what the process has when it begins; more is a
        `MemoryError`.
    """
    replies = _own_standard_output()
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then closes our input
    with contextlib.suppress(OSError):  # should the machine itself run out, this is the process to end, not the program
        Path("/proc/self/oom_score_adj").write_text("1000")
    warnings.simplefilter("ignore")
    evaluate("2 + 2")
    first = _resident()
    _send(replies, {})
    for line in sys.stdin:
        _set_alarm(seconds)
        reply = answer(json.loads(line), memory)
        _set_alarm(0)
        retire = _resident() - first > _CACHES
        _send(replies, {**reply, "retired": retire})
        if retire:
            return


def answer(request: dict[str, Any], memory: int) -> dict[str, Any]:
    """Return the reply to one request; never raises."""
    try:
        return {"answer": _within(memory, OPERATIONS[request["operation"]], request["arguments"]).model_dump()}
    except CalculationError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "The calculation needs too much memory: ask for a smaller one."}
    except RecursionError:
        return {"error": "The expression is nested too deeply: ask for a smaller one."}
    except (
        Exception
    ):  # whatever sympy raises where it has no method: NotImplementedError, TypeError, PolynomialError, …
        return {
            "error": f"No method was found to {request['operation'].replace('_', ' ')} this: ask for a simpler one."
        }


def _within(memory: int, operation: Callable[..., Answer], arguments: dict[str, Any]) -> Answer:
    """Run an operation while the memory the process may map is limited to what it has now and `memory` more."""
    limits = _limits(memory)
    try:
        for kind, bounds, _ in limits:
            resource.setrlimit(kind, bounds)
        return operation(**arguments)
    finally:
        # Lifted by calls that need next to no memory, and before an error is answered, which needs some: until then
        # the error's traceback keeps all that was computed.
        for kind, _, before in limits:
            resource.setrlimit(kind, before)


def _limits(memory: int) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
    """Return each limit with its bounds, soft and hard, during a calculation and after it."""
    limits = []
    taken = _taken()
    # The first alone, address space of any kind, would also keep the stack from growing, which ends the process: the
    # second, writable memory other than the stack, is reached before it. Kernels older than 4.7 know the first alone.
    for name, field, spare in (("RLIMIT_AS", "VmSize", _STACK), ("RLIMIT_DATA", "VmData", 0)):
        if resource is not None and field in taken:
            soft, hard = before = resource.getrlimit(getattr(resource, name))
            bound = taken[field] + memory + spare
            bound = min([bound, *(limit for limit in before if limit != resource.RLIM_INFINITY)])
            limits.append((getattr(resource, name), (bound, hard), (soft, hard)))
    return limits


def _own_standard_output() -> TextIO:
    # Whatever a library prints must not be taken for a reply.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _send(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _set_alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)  # left to its default, the signal ends the process


def _resident() -> int:
    """Return the bytes of memory in use now, or at their peak on systems that do not tell."""
    taken = _taken()
    if "VmRSS" in taken:
        # Not the peak of `getrusage`, which on Linux begins with that of the program that started this process.
        return taken["VmRSS"]
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _taken() -> dict[str, int]:
    """Return the bytes of memory of each kind this process has, by the names of Linux; nothing on other systems."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^(Vm\w+):\s*(\d+) kB$", status, re.M)}


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
