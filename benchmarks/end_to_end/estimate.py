"""How long the trials will take: what is to be read and written, by the LM's speed measured in a few seconds."""

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from toolken.benchmarks.end_to_end.trials import BATCH, Trial
from toolken.training.features.background import without_lead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat

#: Texts and tokens of the measurement, steps of its batch.
TEXTS, TOKENS, STEPS = 8, 60, 8


@dataclass(frozen=True)
class Speeds:
    """Tokens a second: read in batches, read one text at a time, and written in several texts at once."""

    batched: float
    read: float
    written: float

    @classmethod
    def of(cls, lm: FrozenLM, at_once: int = BATCH) -> "Speeds":
        """Measure an LM; the fewer texts are written at once, the more a token costs."""
        ids = (lm.encode("The museum of the town has a tower and a garden. ").ids * TOKENS)[:TOKENS]
        texts = [ids] * TEXTS
        list(lm.hidden_states(texts[:1], [[TOKENS - 1]]))  # the first run loads what later ones have
        begun = time.perf_counter()
        # Texts that begin differently, so that nothing is shared.
        list(lm.hidden_states([[at, *ids] for at in range(TEXTS)], [[TOKENS]] * TEXTS))
        batched = TEXTS * TOKENS / (time.perf_counter() - begun)
        begun = time.perf_counter()
        sessions = [lm.start() for _ in range(at_once)]
        for session in sessions:
            session.feed(ids)
        read = at_once * TOKENS / (time.perf_counter() - begun)
        batch = lm.start_batch()
        batch.feed([(session, ids[:1]) for session in sessions])
        begun = time.perf_counter()
        for _ in range(STEPS):
            batch.feed([(session, ids[:1]) for session in sessions])
        return cls(batched, read, at_once * STEPS / (time.perf_counter() - begun))

    def seconds(
        self, trials: Iterable[tuple[Trial, int]], unread: Callable[[PromptFormat], int] = lambda _: 0
    ) -> float:
        """Return about how long trials take.

        Parameters
        ----------
        trials
            Each with the number of attempts that are left.
        unread
            Tells how many tokens of a format's background are still to be read.
        """
        spent = 0.0
        shared: dict[Hashable, int] = {}
        for trial, left in trials:
            if left:
                key = (trial.test.benchmark, trial.fit_key) if trial.fit_key is not None else id(trial)
                shared[key] = max(shared.get(key, 0), trial.fit_tokens)
                if trial.prompt is not None:
                    form = without_lead(trial.prompt)
                    if ("background", form.fingerprint) not in shared:
                        shared["background", form.fingerprint] = unread(form)
                spent += left * (trial.read_tokens / self.read + trial.written_tokens / self.written)
                spent += trial.train_tokens / self.batched
        return spent + sum(shared.values()) / self.batched


def duration(seconds: float) -> str:
    """Say how long something takes."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(round(seconds), 1)} seconds"
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
