"""Calibration of scores: the temperature with the lowest log loss, and the expected calibration error."""

import torch

from toolken.errors import HeadError

#: Bounds of a temperature: the lower one is returned where the scores are always right, the upper one where they carry
#: no information.
TEMPERATURE_BOUNDS = (1e-3, 1e4)
#: Relative precision of a temperature; a smaller step changes no digit of the log loss that matters.
TEMPERATURE_PRECISION = 1e-6


def calibrate(scores: torch.Tensor, labels: torch.Tensor, start: float = 1.0) -> float:
    """Return the temperature t at which `softmax(scores / t)` has the lowest log loss.

    The loss is convex in 1/t, so its minimum is the only root of its derivative, which Newton's method finds inside a
    bracket. Temperature scaling keeps the order of the tools. Source: Guo et al. 2017, "On Calibration of Modern Neural
    Networks" (arXiv 1706.04599), section 4.2.

    Parameters
    ----------
    scores
        Scores `(n, T)` of states on which the scorer was not fitted.
    labels
        Index of each state's tool, `(n,) int64`.
    start
        Initial temperature; it affects only the time.

    Returns
    -------
    float
        The temperature, within `TEMPERATURE_BOUNDS`: the lower bound if every score ranks its tool first, the upper one
        if the scores are no better than chance.

    Raises
    ------
    HeadError
        If there are no scores, or one is not finite.
    """
    z = scores.double()
    if not len(z) or not bool(torch.isfinite(z).all()):
        raise HeadError("Scores cannot be calibrated: give at least one state, and finite scores only.")
    z = z - z.gather(1, labels[:, None])
    if bool((z <= 0).all()):
        return TEMPERATURE_BOUNDS[0]
    if float(z.mean()) >= 0:
        return TEMPERATURE_BOUNDS[1]
    low, high = 1 / TEMPERATURE_BOUNDS[1], 1 / TEMPERATURE_BOUNDS[0]
    inverse = following = min(max(1 / start, low), high)
    for _ in range(100):
        probabilities = torch.softmax(inverse * z, dim=1)
        means = (probabilities * z).sum(1)
        slope = float(means.mean())
        curvature = float(((probabilities * z.square()).sum(1) - means.square()).mean())
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        newton = inverse - slope / curvature if curvature > 0 else 0.0
        following = newton if low < newton < high else (low * high) ** 0.5
        if abs(following - inverse) <= TEMPERATURE_PRECISION * inverse:
            break
        inverse = following
    return 1 / following


def expected_calibration_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    """Return the expected calibration error: the mean difference between confidence and accuracy over bins.

    `sum_b n_b / n |accuracy_b - confidence_b|` over bins of equal width of the largest probability. Source: Guo et al.
    2017 (arXiv 1706.04599), equation 3, with their 15 bins.

    Parameters
    ----------
    probabilities
        Probabilities of the tools, `(n, T)`.
    labels
        Index of the right tool, `(n,) int64`.
    bins
        Number of bins.

    Raises
    ------
    HeadError
        If there are no predictions.
    """
    if not len(labels):
        raise HeadError("The calibration error needs predictions: give at least one.")
    confidence, predicted = probabilities.max(1)
    return float(calibration_error(confidence, predicted == labels, bins))


def calibration_error(confidence: torch.Tensor, hits: torch.Tensor, bins: int = 15) -> torch.Tensor:
    """Return the expected calibration error of confidences and hits `(..., n)`, `(...) float64`."""
    exact = confidence.double()
    # A bin includes its upper edge and excludes its lower one, as in the paper.
    index = (torch.ceil(exact * bins).long() - 1).clamp(0, bins - 1)
    sums = torch.zeros(*exact.shape[:-1], bins, dtype=torch.float64).scatter_add_(-1, index, hits.double() - exact)
    return sums.abs().sum(-1) / exact.shape[-1]
