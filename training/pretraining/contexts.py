"""`Contexts`: messages in the middle of a conversation on something else."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from toolken.training.pretraining.learning_set import LearningSet
from toolken.training.prior.request_reader import Exchange

#: Messages of each kind that are put into a conversation.
MESSAGES = 600


@dataclass(frozen=True)
class Contexts:
    """Single messages of the train domains, and turns that may stand before them.

    Attributes
    ----------
    asking, quiet
        Messages that ask for a tool, and thanks, small talk and questions that need none.
    earlier
        Answered turns of conversations.
    seed
        Seed of the choice.
    """

    asking: Sequence[Exchange]
    quiet: Sequence[Exchange]
    earlier: Sequence[Exchange]
    seed: int

    @classmethod
    def of(cls, data: LearningSet, seed: int) -> "Contexts":
        """Draw messages, and collect the turns, of the train domains."""
        requests = [data.requests[at] for at in data.of_split("train")]
        alone = [one for one in requests if len(one.conversation) == 1]
        rng = random.Random(seed)

        def drawn(kinds: Sequence[str]) -> list[Exchange]:
            found = [one.conversation[0] for one in alone if one.kind in kinds]
            return rng.sample(found, min(MESSAGES, len(found)))

        asking = drawn(("call",))
        quiet = drawn(("small_talk", "thanks", "knowledge"))
        earlier = [turn for one in requests for turn in one.conversation[:-1] if turn[1]]
        return cls(asking, quiet, list(dict.fromkeys(earlier)), seed)

    def before(self, messages: Sequence[Exchange]) -> list[Sequence[Exchange]]:
        """Return each message after a turn of some conversation; none if there is no turn."""
        rng = random.Random(self.seed)
        return [(rng.choice(self.earlier), message) for message in messages] if self.earlier else []
