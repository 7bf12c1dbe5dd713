"""The hard limits hold on the real code path: they raise an error, free the memory, and later calculations work.

Nothing here is timed by the clock, which a busy machine would break: what is asked is which limit ended a calculation,
and how much of the processor its worker got before.
"""

import asyncio
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from toolken.tools.calculator import calculator_tools, isolation
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.isolation import SECONDS, WORKERS, run_isolated

TOOLS = {tool.name: tool for tool in calculator_tools()}
MODULE = "toolken.tools.calculator.worker"


def call(name, **arguments):
    return TOOLS[name].invoke({"type": "tool_call", "id": "1", "name": name, "args": arguments})


def workers():
    found = []
    for child in psutil.Process().children():
        try:
            if MODULE in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def kill_workers():
    for worker in workers():
        worker.kill()
        worker.wait()


def seconds_of_limit(sentence):
    """Return the time limit that an error message states."""
    return float(re.search(r"takes too long, more than ([0-9.]+) s", sentence)[1])


@pytest.fixture
def pool_with(monkeypatch):
    """Yield a new pool whose workers are started by another command, and close it afterwards."""
    pools = []

    def build(*command, seconds=SECONDS):
        monkeypatch.setattr(isolation, "_COMMAND", list(command))
        monkeypatch.setattr(isolation, "SECONDS", seconds)
        monkeypatch.setattr(isolation, "_LEAST_SECONDS", seconds)
        pools.append(isolation._Pool())
        return pools[-1]

    yield build
    for pool in pools:
        pool.close()


def patient(memory):
    """Return the command of a worker with this memory limit and no time limit."""
    return *isolation._COMMAND[:-2], "600", str(memory)


def ask(pool, operation, **arguments):
    return pool.ask(json.dumps({"operation": operation, "arguments": arguments}).encode() + b"\n")


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


# Hours of work in little memory, so that the time limit is reached first on any machine.
SLOW = ("simplify", {"expression": "sin(" * 150 + "x" + ")" * 150})


@pytest.mark.parametrize(("name", "arguments"), PATHOLOGICAL)
def test_a_pathological_request_is_an_error_and_takes_no_memory(name, arguments):
    process = psutil.Process()
    before = process.memory_info().rss
    message = call(name, **arguments)
    assert message.status == "error"
    assert len(message.content) < 300
    assert re.search(r"too (long|many|much|large|deep)|more than 1,000 digits|No solution", message.content)
    assert process.memory_info().rss - before < 30 * 2**20
    assert call("evaluate", expression="2 + 2").content == "4"


def test_a_calculation_that_never_ends_is_given_its_seconds_and_its_worker_is_ended():
    kill_workers()
    run_isolated("evaluate", expression="1")
    before = workers()
    started = sum(worker.cpu_times().user + worker.cpu_times().system for worker in before)
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    message = call(SLOW[0], **SLOW[1])
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert seconds_of_limit(message.content) == SECONDS < 2
    assert any(not worker.is_running() for worker in before)
    # The operating system ends a worker one second after its limit, in case this process cannot.
    used = spent.ru_utime + spent.ru_stime - reaped.ru_utime - reaped.ru_stime
    assert used - started < SECONDS + 1.1


def test_a_calculation_that_never_ends_is_given_less_while_no_worker_is_up():
    kill_workers()
    assert 0 < seconds_of_limit(call(SLOW[0], **SLOW[1]).content) <= SECONDS


def test_a_worker_whose_program_cannot_end_it_ends_itself_with_the_same_sentence(pool_with):
    pool = pool_with(*isolation._COMMAND[:-2], "0.2", str(2**30), seconds=600)
    with pytest.raises(CalculationError, match="takes too long"):
        ask(pool, SLOW[0], **SLOW[1])


def test_creating_the_tools_starts_a_worker_that_the_program_takes_with_it():
    code = (
        "import psutil, time; from toolken.tools.calculator import calculator_tools\n"
        "calculator_tools('operations'); assert not psutil.Process().children()\n"
        "calculator_tools(); calculator_tools()\n"
        "while not psutil.Process().children(): time.sleep(0.01)\n"
        "time.sleep(0.2); print(*[child.pid for child in psutil.Process().children()])"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (run.stderr, run.returncode) == ("", 0)
    (pid,) = run.stdout.split()
    assert not psutil.pid_exists(int(pid)) or MODULE not in psutil.Process(int(pid)).cmdline()


def test_a_worker_starts_without_langchain():
    code = "import sys, toolken.tools.calculator.worker; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sympy" in run.stdout.split()
    assert "langchain_core" not in run.stdout.split()


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit on memory")


@linux
@pytest.mark.parametrize("megabytes", [0, 16])
def test_a_worker_out_of_memory_says_so_and_goes_on(pool_with, megabytes):
    pool = pool_with(*patient(megabytes * 2**20), seconds=600)
    for _ in range(2):
        first = ask(pool, "simplify", expression="(a + b + c + x + y + z)^90", form="expanded")
        assert "too much memory" in first["error"]
        assert not first["retired"]
        assert ask(pool, "evaluate", expression="2 + 2")["answer"]["text"] == "4"


@linux
@pytest.mark.parametrize("kilobytes", [64, 96, 1024])
def test_a_worker_out_of_memory_deep_in_its_stack_goes_on(pool_with, kilobytes):
    pool = pool_with(*patient(kilobytes * 2**10), seconds=600)
    deep = "sin(" * 190 + "x" + ")" * 190
    assert "ask for a smaller one" in ask(pool, "differentiate", expression=deep, order=10)["error"]
    assert ask(pool, "evaluate", expression="2 + 2")["answer"]["text"] == "4"


@linux
def test_a_worker_of_a_large_program_stays():
    code = (
        f"import sys; large = b'x' * {600 * 2**20}; from toolken.tools.calculator import isolation\n"
        "isolation.run_isolated('evaluate', expression='1')\n"
        "first = isolation._POOL._idle[-1]\n"
        "isolation.run_isolated('evaluate', expression='2')\n"
        "print(isolation._POOL._idle[-1] is first)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout == "True\n"


def test_a_worker_that_dies_is_replaced():
    kill_workers()
    assert run_isolated("evaluate", expression="2 + 2").text == "4"


def test_a_worker_that_does_not_start_is_one_sentence(pool_with):
    with pytest.raises(CalculationError, match="does not start: run "):
        ask(pool_with(sys.executable, "-c", "raise SystemExit(1)"), "evaluate", expression="1")
    with pytest.raises(CalculationError, match="cannot start a process"):
        ask(pool_with("/nowhere/python"), "evaluate", expression="1")


def test_thirty_two_threads_get_their_own_answers():
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda n: run_isolated("evaluate", expression=f"{n}*{n}").text, range(200)))
    assert answers == [str(n * n) for n in range(200)]


def test_threads_get_answers_or_a_sentence_while_workers_are_killed():
    def kill():
        draw = random.Random(0)
        for _ in range(10):
            for worker in draw.sample(alive := workers(), min(1, len(alive))):
                worker.kill()
            time.sleep(0.1)

    def square(n):
        try:
            return run_isolated("evaluate", expression=f"{n}*{n}").text
        except CalculationError as error:
            return str(error)

    killer = threading.Thread(target=kill)
    killer.start()
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(square, range(300)))
    killer.join()
    for n, answer in enumerate(answers):
        assert answer == str(n * n) or "ended its worker process" in answer or "does not start" in answer
    test_thirty_two_threads_get_their_own_answers()


def test_a_queue_that_does_not_move_is_one_sentence_and_is_left(monkeypatch):
    monkeypatch.setattr(isolation, "_QUEUE_SECONDS", 0.05)
    with ThreadPoolExecutor(WORKERS + 1) as threads:
        messages = list(threads.map(lambda _: call(SLOW[0], **SLOW[1]).content, range(WORKERS + 1)))
    assert ["ask again later" in message for message in messages].count(True) == 1
    monkeypatch.undo()
    test_thirty_two_threads_get_their_own_answers()


def interrupt(thread, noticed):
    # Repeatedly, because Python loses an interrupt that arrives while it runs an internal callback.
    while not noticed.wait(0.2):
        signal.pthread_kill(thread, signal.SIGINT)


@pytest.fixture
def heeded_interrupts():
    # A process that a shell starts in the background ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
def test_an_interrupted_wait_takes_no_worker_away():
    for _ in range(WORKERS + 1):
        noticed = threading.Event()
        presser = threading.Thread(target=interrupt, args=[threading.get_ident(), noticed])
        presser.start()
        was_interrupted = False
        try:
            call(SLOW[0], **SLOW[1])
        except KeyboardInterrupt:
            was_interrupted = True
        finally:
            noticed.set()
            presser.join()
        assert was_interrupted
    test_thirty_two_threads_get_their_own_answers()


def test_slow_requests_do_not_disturb_others():
    messages = []
    threads = [threading.Thread(target=lambda: messages.append(call(SLOW[0], **SLOW[1]))) for _ in range(WORKERS)]
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
        slow = TOOLS["simplify"].ainvoke(SLOW[1])
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
def test_a_forked_process_starts_its_own_workers():
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
