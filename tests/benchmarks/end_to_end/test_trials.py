"""Trials choose settings on dev questions, reuse attempts, survive kills and reject bad input before they start."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolken import FrozenLM
from toolken.benchmarks.end_to_end.estimate import Speeds
from toolken.benchmarks.end_to_end.figures import p_value, rows, tables
from toolken.benchmarks.end_to_end.plots import draw_end_to_end
from toolken.benchmarks.end_to_end.report import page
from toolken.benchmarks.end_to_end.run import BENCHMARKS, Options, run
from toolken.benchmarks.end_to_end.traces import Attempt, read_traces
from toolken.benchmarks.end_to_end.trials import Answerer, Question, Test, Trial, TrialSettings, check, done, run_trial
from toolken.errors import DataFormatError, PromptTooLongError
from toolken.training.prompts.prompt_format import PromptFormat


def make_test(count: int, split: str = "test") -> Test:
    questions = [Question(at, f"What is {at} plus {at}?", str(2 * at), 2 * at) for at in range(count)]

    def score(question: Question, attempt: Attempt) -> dict[str, float]:
        return {"answer": float(attempt.answer == str(question.reference))}

    return Test("sums", split, 1, questions, score, ("answer",))


class Adder:
    """An answerer that adds `offset` to sums, records its questions, and fails after a number of batches."""

    def __init__(self, breaks_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.built: list[int] = []
        self.batches = 0
        self.breaks_after = breaks_after

    def build(self, settings: TrialSettings) -> Answerer:
        self.built.append(int(settings["offset"]))

        def answer(questions: Sequence[Question]) -> list[Attempt]:
            self.batches += 1
            if self.breaks_after is not None and self.batches > self.breaks_after:
                raise KeyboardInterrupt
            self.asked += [question.text for question in questions]
            return [Attempt(answer=str(question.reference + int(settings["offset"]))) for question in questions]

        return answer


def make_trial(adder: Adder, count: int = 10, method: str = "toolken") -> Trial:
    offsets = tuple({"offset": one} for one in (2, 0, 1))
    return Trial(make_test(count), method, adder.build, offsets, make_test(4, "dev"), batch=4)


def test_settings_are_chosen_on_the_dev_questions(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    outcome = run_trial(tiny_lm, make_trial(Adder()), tmp_path)
    assert outcome.settings == {"offset": 0}
    assert [len(traces) for _, traces in outcome.dev] == [4, 4, 4]
    assert [trace.scores["answer"] for trace in outcome.traces] == [1.0] * 10


def test_settings_may_be_chosen_without_answers(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    chosen: list[int] = []

    def choose() -> TrialSettings:
        chosen.append(1)
        return {"offset": 1}

    adder = Adder(breaks_after=1)
    trial = replace(make_trial(adder), dev=None, choose=choose)
    assert done(tiny_lm, trial, tmp_path) == (0, 10)
    with pytest.raises(KeyboardInterrupt):
        run_trial(tiny_lm, trial, tmp_path)
    again = Adder()
    outcome = run_trial(tiny_lm, replace(trial, build=again.build), tmp_path)
    assert (outcome.settings, outcome.dev, again.built) == ({"offset": 1}, [], [1])
    assert len(again.asked) == 6
    assert chosen == [1]  # a resumed trial keeps the settings of its traces
    assert done(tiny_lm, trial, tmp_path) == (10, 10)


def test_nothing_is_done_twice(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    first = run_trial(tiny_lm, make_trial(Adder()), tmp_path)
    adder = Adder()
    assert done(tiny_lm, make_trial(adder), tmp_path) == (22, 22)
    again = run_trial(tiny_lm, make_trial(adder), tmp_path)
    assert again.traces == first.traces
    assert not adder.built


def test_an_interrupted_trial_goes_on_where_it_stopped(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_trial(tiny_lm, make_trial(Adder(breaks_after=5)), tmp_path)
    adder = Adder()
    outcome = run_trial(tiny_lm, make_trial(adder), tmp_path)
    assert len(adder.asked) == 2  # three dev batches and two test batches had been answered
    assert len(outcome.traces) == 10


def test_other_questions_settings_or_lms_are_not_taken_for_these(
    tiny_lm: FrozenLM, build_lm: object, tmp_path: Path
) -> None:
    trial = replace(make_trial(Adder()), candidates=({"offset": 0},))
    run_trial(tiny_lm, trial, tmp_path)
    other = build_lm(seed=1)  # type: ignore[operator]
    assert done(tiny_lm, trial, tmp_path) == (10, 10)
    assert done(other, trial, tmp_path) == (0, 10)
    assert done(tiny_lm, replace(trial, candidates=({"offset": 3},)), tmp_path) == (0, 10)
    assert done(tiny_lm, replace(trial, identity={"train": "other"}), tmp_path) == (0, 10)
    assert done(tiny_lm, replace(trial, test=make_test(12)), tmp_path) == (10, 12)


SLOW = """
import sys, time
from pathlib import Path
from toolken.benchmarks.end_to_end.traces import Attempt, Trace, TraceFile
file = TraceFile(Path(sys.argv[1]))
for number in range(1000):
    file.add(Trace(key=f"key{number}", benchmark="b", split="s", method="m", number=number, question="q" * 5000,
                   expected="", attempt=Attempt(), scores={}, settings={}, seconds=0.0))
    time.sleep(0.005)
"""


def test_a_kill_leaves_every_finished_line(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SLOW), str(path)])
    while process.poll() is None and not (path.is_file() and path.stat().st_size > 20_000):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    found = read_traces(path)
    assert len(found) >= 3
    assert [one.number for one in found] == list(range(len(found)))


def test_a_test_without_questions_is_refused(tiny_lm: FrozenLM) -> None:
    with pytest.raises(DataFormatError, match="no usable question in sums, test"):
        check(tiny_lm, [make_trial(Adder(), count=0)])


def test_a_prompt_that_does_not_fit_is_refused(tiny_lm: FrozenLM) -> None:
    trial = replace(make_trial(Adder()), prompt_tokens=tiny_lm.max_length + 1)
    with pytest.raises(PromptTooLongError, match=f"toolken needs {tiny_lm.max_length + 1} tokens"):
        check(tiny_lm, [trial])


def test_rows_have_intervals_and_paired_tests(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    ours = run_trial(tiny_lm, make_trial(Adder()), tmp_path)
    wrong = replace(make_trial(Adder(), method="other"), candidates=({"offset": 1},))
    found = rows([ours, run_trial(tiny_lm, wrong, tmp_path)])
    mine = next(row for row in found if row.method == "toolken" and row.split == "test")
    other = next(row for row in found if row.method == "other")
    assert (mine.value, mine.low, mine.high, mine.n) == (1.0, 1.0, 1.0, 10)
    assert (other.value, other.beside) == (0.0, "toolken")
    assert other.p_value == pytest.approx(2 / 2**10)
    assert {row.split for row in found} == {"test", "dev: test"}
    assert len(tables(found)) == 1


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert p_value([1, 1, 1, 0, 0], [1, 1, 1, 0, 0]) == 1.0
    assert p_value([1, 1, 1, 1, 0], [0, 0, 0, 0, 0]) == pytest.approx(2 / 16)
    assert p_value([1, 1, 1, 1, None], [0, 0, 0, 0, 1]) == pytest.approx(2 / 16)


def test_shares_are_compared_by_exchanging_them() -> None:
    assert p_value([1, 0.5, 1, 0.5], [1, 0.5, 1, 0.5]) == 1.0
    # All ten differences have the same sign: two of 2^10 permutations are as extreme.
    assert p_value([0.5] * 10, [0] * 10) == pytest.approx(2 / 2**10, rel=0.5)


def test_one_question_is_no_evidence() -> None:
    assert p_value([0.25], [120.0]) == 1.0
    assert p_value([], []) == 1.0


def test_seeds_are_averaged_in_the_paired_test_and_keep_their_settings(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    """One seed is always right and one always wrong: the mean is 0.5 for every question, and p is significant."""
    ours = run_trial(tiny_lm, make_trial(Adder()), tmp_path)
    other = make_trial(Adder(), method="other")
    trials = [replace(other, candidates=({"offset": offset},), seed=seed) for seed, offset in enumerate((0, 1))]
    seeds = [run_trial(tiny_lm, trial, tmp_path) for trial in trials]
    (row,) = [one for one in rows([ours, *seeds]) if one.method == "other"]
    assert row.value == 0.5
    assert row.settings == {"offset": [0, 1]}
    assert row.p_value is not None
    assert row.p_value < 0.01


def test_a_mended_answer_counts_for_attempts_that_are_there(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    trial = replace(make_trial(Adder()), candidates=({"offset": 0},))
    run_trial(tiny_lm, trial, tmp_path)
    mended = [replace(one, expected="none", reference=-1) for one in trial.test.questions]
    adder = Adder()
    again = run_trial(tiny_lm, replace(trial, test=replace(trial.test, questions=mended), build=adder.build), tmp_path)
    assert not adder.asked
    assert [trace.scores["answer"] for trace in again.traces] == [0.0] * 10
    kept = read_traces(tmp_path / "sums-test-toolken.jsonl")
    assert [(one.expected, one.scores["answer"]) for one in kept] == [("none", 0.0)] * 10


def test_losses_are_those_with_the_most_examples(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    (row,) = [one for one in rows([run_trial(tiny_lm, make_trial(Adder()), tmp_path)]) if one.split == "test"]
    stages = [
        row.model_copy(update={"benchmark": "kamel", "metric": name, "examples_per_tool": k, "value": value})
        for k, value in ((40, 0.75), (0, 0.25))
        for name in ("call", "execution")
    ]
    assert "call 0.250, execution 0.000." in page(stages, "toolken bench report")


def test_what_several_trials_read_is_counted_once() -> None:
    speeds = Speeds(batched=100.0, read=50.0, written=10.0)
    one = replace(make_trial(Adder()), read_tokens=0, written_tokens=1, fit_tokens=1000)
    small, large = replace(one, fit_key="head"), replace(one, fit_key="head", fit_tokens=2000)
    assert speeds.seconds([(one, 10), (replace(one), 10)]) == pytest.approx(2 * (10 + 1))
    assert speeds.seconds([(small, 10), (large, 10)]) == pytest.approx(20 + 2 * 1)
    assert speeds.seconds([(small, 10), (large, 0)]) == pytest.approx(10 + 1)
    assert speeds.seconds([(large, 0)]) == 0


def test_a_background_is_counted_once_and_training_for_each_trial() -> None:
    speeds = Speeds(batched=100.0, read=50.0, written=10.0)
    one = replace(make_trial(Adder()), read_tokens=0, written_tokens=1, prompt=PromptFormat(), train_tokens=300)
    led = replace(one, prompt=PromptFormat(lead="number"))
    other = replace(one, prompt=PromptFormat(preamble="Answer the question.\n"), train_tokens=0)
    assert speeds.seconds([(one, 10), (led, 10), (other, 10), (other, 0)], lambda _: 500) == pytest.approx(
        3 * 1 + 2 * 3 + 2 * 5
    )


def test_the_four_benchmarks_run_at_once(build_lm: Any, data_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    folders = {name: data_folder / name for name in BENCHMARKS}
    options = Options(methods=("zero-shot", "reference"), limit=1)
    *_, outcomes = run(build_lm(context=2048), folders, options, traces=tmp_path, say=said.append)
    assert {one.trial.test.benchmark for one in outcomes} == set(BENCHMARKS)
    assert len(said) == 1
    assert len(tables(rows(outcomes))) == len(
        {(one.trial.test.benchmark, one.trial.test.split, one.trial.test.tools) for one in outcomes}
    )


def test_each_benchmark_with_anything_to_draw_has_pictures_of_its_own(tiny_lm: FrozenLM, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (row,) = [one for one in rows([run_trial(tiny_lm, make_trial(Adder()), tmp_path)]) if one.split == "test"]
    stages = [row.model_copy(update={"benchmark": "one", "metric": name}) for name in ("call", "answer")]
    bare = [row.model_copy(update={"benchmark": "two", "method": "zero-shot"})]
    files = draw_end_to_end([*stages, *bare], tmp_path / "all.png")
    assert [file.name for file in files] == ["all-one.png", "all-one.svg"]
    with pytest.raises(DataFormatError, match="no figures to draw"):
        draw_end_to_end([*bare, bare[0].model_copy(update={"benchmark": "three"})], tmp_path / "none.png")
