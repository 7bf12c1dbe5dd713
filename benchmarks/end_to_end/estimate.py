"""`Speeds`: estimates the time of trials from their tokens and the LM's speed, measured in a few seconds."""

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from toolken.benchmarks.end_to_end.trials import BATCH, Trial
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat

#: Texts and tokens per text of the measurement, and steps of its batch.
TEXTS, TOKENS, STEPS = 8, 60, 8


@dataclass(frozen=True)
class Speeds:
    """Tokens per second: batched feature pass, prefill of one text at a time, and batched decoding."""

    batched: float
    read: float
    written: float

    @classmethod
    def of(cls, lm: FrozenLM, at_once: int = BATCH) -> "Speeds":
        """Measure an LM that decodes `at_once` texts per batch: a token costs more in a smaller batch."""
        ids = (lm.encode("The museum of the town has a tower and a garden. ").ids * TOKENS)[:TOKENS]
        texts = [ids] * TEXTS
        list(lm.hidden_states(texts[:1], [[TOKENS - 1]]))  # warm-up
        began = time.perf_counter()
        # Texts with different first tokens, so that they share no prefix.
        list(lm.hidden_states([[at, *ids] for at in range(TEXTS)], [[TOKENS]] * TEXTS))
        batched = TEXTS * TOKENS / (time.perf_counter() - began)
        began = time.perf_counter()
        sessions = [lm.start() for _ in range(at_once)]
        for session in sessions:
            session.feed(ids)
        read = at_once * TOKENS / (time.perf_counter() - began)
        batch = lm.start_batch()
        batch.feed([(session, ids[:1]) for session in sessions])
        began = time.perf_counter()
        for _ in range(STEPS):
            batch.feed([(session, ids[:1]) for session in sessions])
        return cls(batched, read, at_once * STEPS / (time.perf_counter() - began))

    def seconds(
        self, trials: Iterable[tuple[Trial, int]], unread: Callable[[PromptFormat], int] = lambda _: 0
    ) -> float:
        """Return the estimated time of trials in seconds.

        Parameters
        ----------
        trials
            Each trial with its number of missing attempts.
        unread
            Returns the number of background tokens of a format that still have to be prefilled.
        """
        spent = 0.0
        shared: dict[Hashable, int] = {}
        for trial, left in trials:
            if left:
                key = (trial.test.benchmark, trial.fit_key) if trial.fit_key is not None else id(trial)
                shared[key] = max(shared.get(key, 0), trial.fit_tokens)
                if trial.prompt is not None:
                    form = trial.prompt.background_form()
                    if ("background", form.fingerprint) not in shared:
                        shared["background", form.fingerprint] = unread(form)
                spent += left * (trial.read_tokens / self.read + trial.written_tokens / self.written)
                spent += trial.train_tokens / self.batched
        return spent + sum(shared.values()) / self.batched


def duration(seconds: float) -> str:
    """Format a duration."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(round(seconds), 1)} seconds"
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
