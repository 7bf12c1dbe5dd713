"""The choice of a refinement: it is used only if it beats the closed form on held-out examples."""

from collections.abc import Callable, Sequence

import torch

from toolken.errors import HeadError
from toolken.training.estimation.calibration import calibrate
from toolken.training.estimation.folds import stratified_folds
from toolken.training.estimation.refinement import (
    Anchor,
    Refinement,
    WhitenedScores,
    check_decisions,
    optimum,
    refine,
)

#: Settings that are tried by default.
PENALTIES, SCALES = (1.0, 5.0, 20.0, 60.0), (0.05, 0.15, 0.3)


def choose_refinement(
    hidden: torch.Tensor,
    labels: torch.Tensor,
    anchor: Callable[[torch.Tensor], Anchor],
    *,
    penalties: Sequence[float] = PENALTIES,
    scales: Sequence[float] = SCALES,
    examples: torch.Tensor | None = None,
    least: float = 0.0,
    folds: int = 3,
    seed: int = 0,
) -> Refinement | None:
    """Return the refinement with the lowest log loss in cross-validation, or None if the closed form is as good.

    For each stratified fold, the closed form is fitted without the fold and refined at every setting, and both are
    scored on the fold. The setting with the lowest log loss is returned if it beats the closed form by more than one
    standard error in log loss *and* in accuracy (the one-standard-error rule of Breiman et al. 1984, with the closed
    form as the simpler model). The closed form gets the temperature that is best on the held-out examples themselves,
    so that a refinement has to do more than calibrate.

    Parameters
    ----------
    hidden, labels
        States at which tools were called `(n, d)`, and the index of each one's tool, `(n,) int64`.
    anchor
        Fits the closed form to the examples of a mask `(n,) bool`.
    penalties, scales
        The settings to try, each penalty with each scale.
    examples
        Index of each state's example, `(n,) int64`; states of one example stay in one fold. By default each state is an
        example.
    least
        Smallest gain in accuracy.
    folds
        Number of folds, at least 2.
    seed
        Seed of the assignment of examples to folds.

    Raises
    ------
    HeadError
        As `refine`, or if there are fewer than two folds or no settings.
    """
    if folds < 2 or not penalties or not scales:
        raise HeadError(
            f"A refinement cannot be chosen from {folds} folds, {len(penalties)} penalties and {len(scales)} scales: "
            "give at least two folds and one of each."
        )
    groups = torch.arange(len(labels)) if examples is None else torch.unique(examples, return_inverse=True)[1]
    pairs = torch.unique(torch.stack([labels, groups]), dim=1)
    if pairs.shape[1] == 0 or int(torch.bincount(pairs[0]).max()) < 2:
        return None  # with one example per tool, no training fold has an example of a held-out tool
    fold_of = stratified_folds(labels, groups, folds, seed)
    settings = [Refinement(penalty, scale) for scale in scales for penalty in sorted(penalties, reverse=True)]
    losses = torch.zeros(len(settings), len(labels), dtype=torch.float64)
    hits = torch.zeros(len(settings), len(labels), dtype=torch.float64)
    plain: torch.Tensor | None = None
    for fold in range(folds):
        train, test = fold_of != fold, fold_of == fold
        if not bool(train.any() & test.any()):
            continue
        fitted = anchor(train)
        check_decisions(hidden, labels, len(fitted.output_embeddings))
        space = WhitenedScores.of(hidden[train], fitted.covariance)
        held_out, states = space.states(hidden[test]), space.states(hidden[train])
        encoded = space.encode(fitted.output_embeddings, fitted.biases)
        if plain is None:
            plain = torch.empty(len(labels), len(encoded), dtype=torch.float64)
        plain[test] = held_out @ encoded.T
        found = encoded
        for index, setting in enumerate(settings):
            scaled = setting.scale * encoded
            # The optimum of the next larger penalty is a better start than the anchor.
            begin = scaled if index % len(penalties) == 0 else found
            found = optimum(states, labels[train], scaled, setting.penalty, begin)
            scores = held_out @ found.T
            losses[index, test], hits[index, test] = _log_losses(scores, labels[test]), _hits(scores, labels[test])
    assert plain is not None
    best = int(losses.mean(1).argmin())
    gains = _gains(plain, labels, losses[best], hits[best])
    sums = torch.zeros(2, int(groups.max()) + 1, dtype=torch.float64).index_add_(1, groups, gains)
    return settings[best] if _is_clear(sums) and float(gains[1].mean()) >= least else None


def held_out_refinement(
    hidden: torch.Tensor,
    labels: torch.Tensor,
    anchor: Anchor,
    held_out: torch.Tensor,
    held_out_labels: torch.Tensor,
    *,
    scale: float,
    penalties: Sequence[float] = PENALTIES,
) -> Refinement | None:
    """Return the refinement with the lowest log loss on given examples, or None if the closed form is as good.

    The rule is that of `choose_refinement`: more than one standard error better in log loss and in accuracy.

    Parameters
    ----------
    hidden, labels
        States to refine on, `(n, d)` and `(n,) int64`.
    anchor
        The closed form of these states.
    held_out, held_out_labels
        States of other examples, `(m, d)` and `(m,) int64`.
    scale
        Factor on the closed form's scores.
    penalties
        The penalties to try.

    Raises
    ------
    HeadError
        As `refine`.
    """
    states = held_out.double()
    plain = scale * (states @ anchor.output_embeddings.double().T + anchor.biases.double())
    best: tuple[float, Refinement, torch.Tensor] | None = None
    for penalty in penalties:
        embeddings, biases = refine(hidden, labels, *anchor, penalty=penalty, scale=scale)
        scores = states @ embeddings.T + biases
        loss = float(_log_losses(scores, held_out_labels).mean())
        if best is None or loss < best[0]:
            best = loss, Refinement(penalty, scale), scores
    if best is None:
        return None
    _, refinement, scores = best
    gains = _gains(plain, held_out_labels, _log_losses(scores, held_out_labels), _hits(scores, held_out_labels))
    return refinement if _is_clear(gains) else None


def _gains(plain: torch.Tensor, labels: torch.Tensor, losses: torch.Tensor, hits: torch.Tensor) -> torch.Tensor:
    """Return the gains in log loss and in hits, `(2, n)`, over scores `(n, T)` at their best temperature."""
    plain_losses = _log_losses(plain / calibrate(plain, labels), labels)
    return torch.stack([plain_losses - losses, hits - _hits(plain, labels)])


def _is_clear(gains: torch.Tensor) -> bool:
    """Tell whether both gains `(2, n)` are above zero by more than one standard error."""
    error = gains.std(1) / gains.shape[1] ** 0.5
    return bool((gains.mean(1) > error).all())


def _log_losses(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(scores, labels, reduction="none")


def _hits(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (scores.argmax(1) == labels).double()
