"""Folds of examples for cross-validation: stratified by class, and never splitting an example."""

import torch


def stratified_folds(labels: torch.Tensor, examples: torch.Tensor, folds: int, seed: int = 0) -> torch.Tensor:
    """Return the fold of each state, `(n,) int64`; the examples of each class are spread evenly over the folds.

    Parameters
    ----------
    labels
        Class of each state, `(n,) int64`; an example belongs to the class of its first state.
    examples
        Index of each state's example, `(n,) int64`, from 0 without gaps. All states of an example get one fold.
    folds
        Number of folds.
    seed
        Seed of the order in which examples are dealt.
    """
    count = int(examples.max()) + 1
    first = torch.full((count,), len(labels)).scatter_reduce_(0, examples, torch.arange(len(labels)), "amin")
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    dealt = shuffled[torch.argsort(labels[first[shuffled]], stable=True)]
    fold_of = torch.empty(count, dtype=torch.long)
    fold_of[dealt] = torch.arange(count) % folds
    return fold_of[examples]
