"""Messages that corpora lack: in the middle of a conversation on something else, and polite orders."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from toolken.training.pretraining.learning_set import LearningSet
from toolken.training.prior.request_reader import Exchange
from toolken.training.tool_spec import name_words

#: Messages of each kind that are put into a conversation.
MESSAGES = 600
#: What makes an order a polite question.
OPENINGS = ("Could you", "Can you", "Would you", "Could you please", "can you", "could u")


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


def polite(data: LearningSet, seed: int) -> list[Sequence[Exchange]]:
    """Return orders of the train domains as polite questions: "Could you set ...?" asks as much as "Set ...".

    Corpora have "could you" mostly in questions about what is possible. An order begins with a verb, as which the first
    words of the tools' names serve.
    """
    verbs = {name_words(spec.name).split()[0] for spec in data.tools if name_words(spec.name)}
    found = []
    for at in data.of_split("train"):
        request = data.requests[at]
        text = request.conversation[-1][0].strip()
        if request.kind == "call" and len(request.conversation) == 1 and text.split(" ")[0].lower() in verbs:
            found.append(text[0].lower() + text[1:].rstrip(".!"))
    rng = random.Random(seed)
    chosen = rng.sample(found, min(MESSAGES, len(found)))
    return [[(f"{rng.choice(OPENINGS)} {text}?", "")] for text in chosen]
