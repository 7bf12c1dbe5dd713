"""The worker process: answers one symbolic request a line until its input ends, under limits the system enforces."""

import contextlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO

from toolken.tools.calculator.answer import Answer
from toolken.tools.calculator.equations import solve
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.symbolic import differentiate, evaluate, integrate, simplify
from toolken.tools.calculator.units import convert_units

OPERATIONS: dict[str, Callable[..., Answer]] = {
    "evaluate": evaluate,
    "solve": solve,
    "differentiate": differentiate,
    "integrate": integrate,
    "simplify": simplify,
    "convert_units": convert_units,
}
_RETIRE_AT_BYTES = 400 * 2**20  # of resident memory: sympy's caches grow, and a new process starts small


def main(seconds: float, memory: int) -> None:
    """Serve requests from standard input to standard output.

    A request is the JSON line `{"operation": ..., "arguments": {...}}`, a reply `{"answer": {...}}` or
    `{"error": "..."}`, with `"retired": true` where the process ends after it. The first line sent is `{}`, once
    everything is imported.

    Parameters
    ----------
    seconds
        The time after which a request ends the process, should whoever asked no longer be there to end it.
    memory
        Bytes of address space beyond which an allocation fails.
    """
    replies = _own_standard_output()
    _limit_memory(memory)
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then closes our input
    warnings.simplefilter("ignore")
    _send(replies, {})
    for line in sys.stdin:
        _set_alarm(seconds)
        reply = answer(json.loads(line))
        _set_alarm(0)
        retire = _resident_peak() > _RETIRE_AT_BYTES
        _send(replies, {**reply, "retired": retire})
        if retire:
            return


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to one request; never raises."""
    try:
        return {"answer": OPERATIONS[request["operation"]](**request["arguments"]).model_dump()}
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


def _own_standard_output() -> TextIO:
    # Whatever a library prints must not be taken for a reply.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _send(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _limit_memory(memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    with contextlib.suppress(ValueError, OSError):  # systems that know no such limit, as macOS; the time limit remains
        resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


def _set_alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)  # left to its default, the signal ends the process


def _resident_peak() -> int:
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
