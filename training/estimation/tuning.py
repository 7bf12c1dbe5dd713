"""`tuned`: choose an estimate's settings, temperature and refinement on its examples or on held-out ones."""

from dataclasses import replace

import torch

from toolken.training.estimation.closed_form import ClosedForm, closed_form
from toolken.training.estimation.estimate import Estimate
from toolken.training.estimation.leave_one_out import choose_settings
from toolken.training.estimation.refinement import Anchor, Correction, Refinement, refine
from toolken.training.estimation.refinement_choice import PENALTIES, choose_refinement, held_out_refinement
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.features.decision_states import DecisionStates

#: Examples per tool from which a refinement is tried; with fewer, none helped on KAMEL's dev split.
ENOUGH_TO_REFINE = 10
#: Gain in held-out accuracy from which a refinement is used by default. Examples that follow a pattern show a small
#: gain in cross-validation that requests do not have: .003 on KAMEL's synthetic training sentences. For tools that are
#: called in many situations the gain is large: .087 on VirtualHome's training plans.
CLEAR_GAIN = 0.05
#: Penalties that are tried by default: large ones, which were best on VirtualHome's training plans.
CAUTIOUS = (60.0, 20.0)


def tuned(
    estimate: Estimate,
    calls: DecisionStates,
    held_out: DecisionStates,
    *,
    fixed: bool = False,
    refined: bool | None = None,
) -> tuple[Estimate, dict[str, float]]:
    """Choose an estimate's settings, temperature and refinement.

    Parameters
    ----------
    estimate
        The estimate.
    calls
        Some or all of the calls that the estimate's statistics sum up.
    held_out
        Calls of other examples to choose by; if there are none, leave-one-out chooses.
    fixed
        Whether to keep the settings of the closed form.
    refined
        Whether to refine. By default, if it improves `held_out` or, without any, improves cross-validation on `calls`
        by `CLEAR_GAIN`. True: if it improves cross-validation at all. False: never.

    Returns
    -------
    estimate, metrics
        The tuned estimate, and accuracy and log loss of its closed form on left-out or held-out examples; no metrics
        if it is refined.
    """
    choice = choose_settings(
        estimate.geometry, estimate.forms, estimate.statistics, calls, estimate.settings, held_out, fixed=fixed
    )
    found = replace(estimate, settings=choice.settings, temperature=max(choice.temperature, 1.0))
    metrics = {"selection.accuracy": choice.accuracy, "selection.log_loss": choice.log_loss}
    by_folds = refined is True or not len(held_out.labels)
    enough = len(calls.labels) >= ENOUGH_TO_REFINE * len(estimate.statistics.names)
    # If the closed form is nearly always right, no gain can reach `CLEAR_GAIN`.
    hopeless = refined is None and choice.accuracy > 1 - CLEAR_GAIN
    if refined is False or (by_folds and (not enough or hopeless)):
        return found, metrics
    scale = 1 / found.temperature
    chosen = (
        _chosen_by_folds(found, calls, scale, refined)
        if by_folds
        else _chosen_by_held_out(found, calls, held_out, scale)
    )
    if chosen is None:
        return found, metrics
    whole = _form(found, found.statistics)
    embeddings, biases = refine(
        calls.hidden,
        calls.labels,
        whole.output_embeddings,
        whole.biases,
        whole.covariance,
        penalty=chosen.penalty,
        scale=scale,
    )
    moved = embeddings - scale * whole.output_embeddings, biases - scale * whole.biases
    return replace(found, correction=Correction(tuple(found.statistics.names), *moved)), {}


def _chosen_by_folds(found: Estimate, calls: DecisionStates, scale: float, refined: bool | None) -> Refinement | None:
    statistics = found.statistics

    def anchor(mask: torch.Tensor) -> Anchor:
        split = ToolStatistics.empty(statistics.names, statistics.hidden_size)
        split.add(calls.hidden[mask], calls.labels[mask])
        return _anchor(_form(found, split))

    return choose_refinement(
        calls.hidden,
        calls.labels,
        anchor,
        penalties=CAUTIOUS if refined is None else PENALTIES,
        scales=[scale],
        examples=calls.examples,
        least=CLEAR_GAIN if refined is None else 0.0,
    )


def _chosen_by_held_out(
    found: Estimate, calls: DecisionStates, held_out: DecisionStates, scale: float
) -> Refinement | None:
    anchor = _anchor(_form(found, found.statistics))
    return held_out_refinement(calls.hidden, calls.labels, anchor, held_out.hidden, held_out.labels, scale=scale)


def _form(estimate: Estimate, statistics: ToolStatistics) -> ClosedForm:
    return closed_form(estimate.geometry, estimate.forms, statistics, estimate.settings)


def _anchor(form: ClosedForm) -> Anchor:
    return Anchor(form.output_embeddings, form.biases, form.covariance)
