"""The hard limits hold on the real code path: an error in time, no memory taken, and the calculator goes on."""

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from toolken.tools.calculator import calculator_tools
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.isolation import WORKERS, run_isolated

TOOLS = {tool.name: tool for tool in calculator_tools()}
# Seconds granted to a machine that is busy with other things; without their limit these calculations take hours.
BUSY = 20
WORKER = [sys.executable, "-P", "-m", "toolken.tools.calculator.worker"]


def call(name, **arguments):
    return TOOLS[name].invoke({"type": "tool_call", "id": "1", "name": name, "args": arguments})


def seconds_of_start():
    """How long a worker takes to start on this machine, as busy as it is now."""
    began = time.monotonic()
    subprocess.run([*WORKER, "5", str(2**30)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def kill_workers():
    for child in psutil.Process().children():
        if "toolken.tools.calculator.worker" in child.cmdline():
            child.kill()
            child.wait()


@pytest.fixture(scope="module")
def start():
    return seconds_of_start()


@pytest.fixture(autouse=True)
def _warm():
    run_isolated("evaluate", expression="1")


PATHOLOGICAL = [
    ("evaluate", {"expression": "9**9**9"}),
    ("evaluate", {"expression": "9^9^9"}),
    ("evaluate", {"expression": "factorial(10**8)"}),
    ("evaluate", {"expression": "9" * 10**6}),
    ("evaluate", {"expression": "(2^0.5)^(10^11)"}),
    ("power", {"base": 9, "exponent": 9**9}),
    ("add", {"numbers": ["9" * 10**6, 1]}),
    ("permutate", {"total": 10**8, "arranged": 10**8}),
    ("integrate", {"expression": "sin(x^3 + cos(x)^7)*exp(x^2)*ln(x + 1)/(x^5 + 3)"}),
    ("simplify", {"expression": "(a + b + c + d + x + y + z)^300", "form": "expanded"}),
    ("solve", {"equations": ["x^y = z", "sin(x)*exp(y) = z", "z^x + y = 3"]}),
    ("differentiate", {"expression": "sin(" * 190 + "x" + ")" * 190, "order": 10}),
    ("convert_units", {"number": "9" * 10**6, "from_unit": "km", "to_unit": "m"}),
    ("statistics", {"numbers": [f"1/{10**900 + k}" for k in range(1, 400, 2)]}),
]


@pytest.mark.parametrize(("name", "arguments"), PATHOLOGICAL)
def test_a_pathological_request_is_an_error_in_time_and_takes_no_memory(name, arguments, start):
    process = psutil.Process()
    before, began = process.memory_info().rss, time.monotonic()
    message = call(name, **arguments)
    assert time.monotonic() - began < 2 + start + BUSY
    assert message.status == "error"
    assert len(message.content) < 300
    assert process.memory_info().rss - before < 30 * 2**20
    assert call("evaluate", expression="2 + 2").content == "4"


def test_a_pathological_request_is_an_error_in_time_while_no_worker_is_up():
    kill_workers()
    within = 2 + seconds_of_start() + BUSY
    began = time.monotonic()
    name, arguments = PATHOLOGICAL[9]
    assert call(name, **arguments).status == "error"
    assert time.monotonic() - began < within


def test_a_worker_starts_without_langchain():
    code = "import sys, toolken.tools.calculator.worker; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sympy" in run.stdout.split()
    assert "langchain_core" not in run.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit on memory")
def test_a_worker_out_of_memory_says_so_and_goes_on():
    requests = [
        {"operation": "simplify", "arguments": {"expression": "(a + b + c + x + y + z)^90", "form": "expanded"}},
        {"operation": "evaluate", "arguments": {"expression": "2 + 2"}},
    ]
    command = [*WORKER, "100", str(256 * 2**20)]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    run = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, check=True)
    _, first, second = map(json.loads, run.stdout.splitlines())
    assert "too much memory" in first["error"]
    assert second["answer"]["text"] == "4"


def test_a_worker_that_dies_is_replaced():
    kill_workers()
    assert run_isolated("evaluate", expression="2 + 2").text == "4"


def test_thirty_two_threads_get_their_own_answers():
    def square(n):
        try:
            return run_isolated("evaluate", expression=f"{n}*{n}").text
        except CalculationError:  # on a machine that is busy for a minute the queue says so
            return run_isolated("evaluate", expression=f"{n}*{n}").text

    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(square, range(200)))
    assert answers == [str(n * n) for n in range(200)]


def test_slow_requests_do_not_disturb_others():
    slow = PATHOLOGICAL[9]
    messages = []
    threads = [threading.Thread(target=lambda: messages.append(call(slow[0], **slow[1]))) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    assert [call("evaluate", expression=f"{n} + 1").content for n in range(10)] == [str(n + 1) for n in range(10)]
    for thread in threads:
        thread.join()
    assert [message.status for message in messages] == ["error"] * WORKERS


def test_the_event_loop_runs_on_while_the_calculator_works():
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticker = asyncio.create_task(tick())
        slow = TOOLS["simplify"].ainvoke(PATHOLOGICAL[9][1])
        sums = [TOOLS["add"].ainvoke({"numbers": [n, 1]}) for n in range(20)]
        values = [TOOLS["evaluate"].ainvoke({"expression": f"{n}^2"}) for n in range(20)]
        results = await asyncio.gather(slow, *sums, *values)
        ticker.cancel()
        return ticks, results

    ticks, results = asyncio.run(main())
    assert ticks > 20
    assert results[0].startswith("The calculation takes too long")
    assert results[1:] == [str(n + 1) for n in range(20)] + [str(n * n) for n in range(20)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_workers_of_its_own():
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(run_isolated("evaluate", expression="6*7").text))
    child.start()
    assert run_isolated("evaluate", expression="2 + 2").text == "4"
    assert queue.get() == "42"
    child.join()
    assert run_isolated("evaluate", expression="3 + 3").text == "6"


def test_files_of_the_current_folder_do_not_shadow_the_libraries(tmp_path, monkeypatch):
    (tmp_path / "sympy.py").write_text("raise SystemExit")
    (tmp_path / "json.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    test_a_worker_that_dies_is_replaced()


def test_a_program_without_a_main_guard_can_calculate(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from toolken.tools.calculator import calculator_tools\n"
        "tools = {tool.name: tool for tool in calculator_tools()}\n"
        "print(tools['evaluate'].invoke({'expression': '6*7'}))\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=120)
    assert (run.stdout, run.stderr, run.returncode) == ("42\n", "", 0)
