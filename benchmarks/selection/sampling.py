"""`draw`: a random sample of training examples."""

import random
from collections import defaultdict
from collections.abc import Sequence

from toolken.training.examples import Example


def draw(train: Sequence[Example], k: int | None, seed: int, by_problem: bool) -> list[int]:
    """Return the indices of k examples per tool (of their first call), of k problems, or of all examples."""
    if k is None:
        return list(range(len(train)))
    chosen = random.Random(seed)
    if by_problem:
        return chosen.sample(range(len(train)), min(k, len(train)))
    by_tool: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(train):
        if example.calls:
            by_tool[example.calls[0].tool].append(index)
    return [i for _, indices in sorted(by_tool.items()) for i in chosen.sample(indices, min(k, len(indices)))]
