"""The fold: gate, threshold, biases and chain lengths of a head as output embeddings of one matrix.

In the library the gate decides first whether a tool is called. Its log odds are linear in the hidden state, with
different vectors after an opening and after a result. A checkpoint has one matrix for every step, in which the
vocabulary competes with its largest logit, which is not linear. The closest approximation is fitted: with `R_j = W_j +
b_j k`, where `k'h` is 1 by least squares,

    tool logit j = s R_j'h + u'h,      answer logit = q'h,

u and q are such that the class with the largest logit is the decision of the decoder: a call or text at an opening and
in running text, a call or the end of the chain after a result, and always text inside text and arguments. Given the
states, this is a softmax regression over three classes, one of which has a fixed logit, and convex.

A virtual token comes only after its predecessor. The input embeddings of the predecessors differ from all others, so
least squares separate their states.
"""

import math
from dataclasses import dataclass

import torch

from toolken.errors import ExportError
from toolken.training.export.decider import ANSWER, CALL, TEXT, VIRTUAL, Decisions, Steps
from toolken.training.export.step_texts import StepKind

#: Factors on the gate's log odds in the anchor; penalties on the distance from it, in steps at one standard deviation;
#: and factors on the output embeddings. Smaller factors bring their maximum closer to a linear function, but
#: low-precision dtypes lose small differences between tools.
GAINS, PENALTIES, SCALES = (1.0, 2.0, 3.0), (10.0, 30.0), (0.05, 0.1, 0.2)
SCALES_OF_FEW_DIGITS = (0.2, 0.5, 1.0)
#: Margins in nats of the right class: at decisions, and where no tool may win. The second is wider, since a tool inside
#: arguments breaks the call.
MARGIN, SAFETY_MARGIN = 1.0, 10.0
#: Bound on the log odds; offset of the tools below the vocabulary where none may win; relative ridge of the second
#: moment.
MAX_LOG_ODDS, NO_CALL_OFFSET, RIDGE = 6.0, 15.0, 1e-4
#: Target margins of virtual tokens where they come and elsewhere, and the total weight of the steps of one of them.
VIRTUAL_WINS, VIRTUAL_LOSES, VIRTUAL_SHARE = 20.0, 28.0, 0.5
#: Fraction of the texts on which the settings are chosen.
HELD_OUT = 0.25


@dataclass(frozen=True)
class FoldSettings:
    """Settings chosen on held-out texts: see `GAINS`, `PENALTIES`, `SCALES`."""

    gain: float
    penalty: float
    scale: float


@dataclass(frozen=True)
class Fold:
    """Output embeddings of the added tokens.

    Attributes
    ----------
    rows
        Output embeddings of the tools, `(T, d)` in the dtype of the LM.
    answer
        Output embedding of the token that ends a chain of calls, `(d,)`; None if there is none.
    virtual
        Output embeddings of the virtual tokens, `(C, d)`.
    settings
        The chosen settings.
    """

    rows: torch.Tensor
    answer: torch.Tensor | None
    virtual: torch.Tensor
    settings: FoldSettings

    def decide(self, steps: Steps) -> Decisions:
        """Return the decision of a checkpoint with these embeddings at each step, in its dtype."""
        states = steps.hidden.to(self.rows.dtype)
        logits = [(part @ self.rows.T).float().max(dim=1) for part in states.split(256)]
        tools, which = torch.cat([one.values for one in logits]), torch.cat([one.indices for one in logits])
        answers = torch.full_like(tools, -torch.inf) if self.answer is None else (states @ self.answer).float()
        virtual = (states @ self.virtual.T).float().max(dim=1)
        classes = torch.stack([steps.best, tools, answers, virtual.values], dim=1).argmax(1)
        which = torch.where(classes == VIRTUAL, virtual.indices, which)
        return Decisions(classes, which, (tools - torch.maximum(steps.best, answers)).double())


def agreement(decided: Decisions, wanted: Decisions) -> torch.Tensor:
    """Return the steps at which the next token agrees, `(n,) bool`."""
    same_tool = (decided.tools == wanted.tools) | ~torch.isin(wanted.classes, torch.tensor([CALL, VIRTUAL]))
    return (decided.classes == wanted.classes) & same_tool


def fit_fold(
    steps: Steps,
    wanted: Decisions,
    rows: torch.Tensor,
    biases: torch.Tensor,
    *,
    dtype: torch.dtype,
    chains: bool,
    virtual: int,
) -> Fold:
    """Fit the fold; its settings are chosen by the agreement on a quarter of the texts.

    Parameters
    ----------
    steps
        Steps of texts of the checkpoint.
    wanted
        The decisions of the decoder there.
    rows, biases
        Output embeddings W, `(T, d)`, and biases b, `(T,)`.
    dtype
        Dtype of the result.
    chains
        Whether a token ends chains of calls.
    virtual
        Number of virtual tokens.
    """
    texts = steps.texts.unique()
    order = texts[torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))]
    held_out = torch.isin(steps.texts, order[: int(len(order) * HELD_OUT)])
    fitting = _Fitting(steps.where(~held_out), _where(wanted, ~held_out), rows, biases, chains, virtual)
    judged, truth = steps.where(held_out), _where(wanted, held_out)
    best, settings = -1.0, FoldSettings(GAINS[0], PENALTIES[0], SCALES[0])
    for scale in SCALES if dtype == torch.float32 else SCALES_OF_FEW_DIGITS:
        for gain in GAINS:
            for penalty in PENALTIES:
                tried = FoldSettings(gain, penalty, scale)
                found = _balanced(fitting.fold(tried, dtype), judged, truth)
                if found > best:
                    best, settings = found, tried
    return _Fitting(steps, wanted, rows, biases, chains, virtual).fold(settings, dtype)


def _balanced(fold: Fold, steps: Steps, wanted: Decisions) -> float:
    """Return the mean agreement over the kinds of steps."""
    same = agreement(fold.decide(steps), wanted)
    return float(torch.stack([same[steps.kinds == kind].double().mean() for kind in steps.kinds.unique()]).mean())


def _where(decisions: Decisions, mask: torch.Tensor) -> Decisions:
    return Decisions(decisions.classes[mask], decisions.tools[mask], decisions.odds[mask])


class _Fitting:
    """The regression; everything that is independent of its settings is computed once."""

    def __init__(
        self,
        steps: Steps,
        wanted: Decisions,
        rows: torch.Tensor,
        biases: torch.Tensor,
        chains: bool,
        virtual: int,
    ) -> None:
        self._steps, self._wanted, self._chains = steps, wanted, chains
        # Where virtual tokens come, no tool may win.
        self._classes = torch.where(wanted.classes == VIRTUAL, TEXT, wanted.classes)
        hidden = steps.hidden.double()
        moment = hidden.T @ hidden / len(hidden)
        moment += RIDGE * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)
        self._factor = torch.linalg.cholesky(moment)
        self._white = torch.linalg.solve_triangular(self._factor, hidden.T, upper=False).T.contiguous()
        self._decided = torch.isfinite(wanted.odds)
        constant = self._regress(torch.ones(len(hidden), dtype=torch.float64), self._decided)
        self._rows = rows.double() + biases.double()[:, None] * self._back(constant)
        largest = [(part @ self._rows.T).max(dim=1).values for part in hidden.split(1024)]
        self._selection = torch.cat(largest)
        self._virtual = self._regress_virtual(virtual)

    def fold(self, settings: FoldSettings, dtype: torch.dtype) -> Fold:
        """Return the fold for these settings."""
        start = self._anchor(settings)
        found = self._descend(start, settings)
        common = self._back(found[0])
        rows = (settings.scale * self._rows + common).to(dtype)
        answer = self._back(found[1]).to(dtype) if self._chains else None
        return Fold(rows, answer, self._virtual.to(dtype), settings)

    def _regress_virtual(self, count: int) -> torch.Tensor:
        """Return the output embeddings of the virtual tokens, `(count, d) float64`.

        They are fitted by least squares to a margin over the vocabulary; the steps at which a token comes have the
        total weight `VIRTUAL_SHARE`.
        """
        steps, white = self._steps, self._white
        best, gram = steps.best.double(), white.T @ white / len(white)
        gram += RIDGE * torch.eye(len(gram), dtype=gram.dtype)
        low = best - VIRTUAL_LOSES
        crossing = white.T @ low / len(white)
        rows = torch.zeros(count, white.shape[1], dtype=torch.float64)
        for at in range(count):
            mine = steps.virtual == at
            # A token that occurs in no text must lose everywhere, which an embedding of zeros would not.
            own, share = white[mine], VIRTUAL_SHARE / max(int(mine.sum()), 1)
            target = crossing + own.T @ (share * (best[mine] + VIRTUAL_WINS) - low[mine] / len(white))
            matrix = gram + (share - 1 / len(white)) * (own.T @ own)
            rows[at] = self._back(torch.linalg.solve(matrix, target))
        return rows

    def _anchor(self, settings: FoldSettings) -> torch.Tensor:
        """Return u and q, `(2, d)` in whitened coordinates, from least squares on the log odds of the gate."""
        steps, odds = self._steps, settings.gain * self._wanted.odds.clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
        best, selection = steps.best.double(), settings.scale * self._selection
        ahead = steps.of(StepKind.AFTER_LEAD, StepKind.AFTER_RESULT) & self._decided
        # After text that is removed, the vocabulary never wins: tools and the end of the chain lie above it.
        level = best + 2 * MARGIN
        target = torch.where(self._decided, best + odds, best - NO_CALL_OFFSET)
        target = torch.where(ahead, level + odds.clamp(min=0), target) - selection
        common = self._regress(target)
        if not bool(ahead.any()):
            return torch.stack([common, torch.zeros_like(common)])
        return torch.stack(
            [common, self._regress(torch.where(ahead, level + (-odds).clamp(min=0), best - NO_CALL_OFFSET))]
        )

    def _descend(self, start: torch.Tensor, settings: FoldSettings) -> torch.Tensor:
        steps, classes = self._steps, self._classes
        size = len(classes)
        never = ~self._decided
        margins = torch.where(never, SAFETY_MARGIN, MARGIN)[:, None].expand(size, 3).clone().double()
        margins[torch.arange(size), classes] = 0
        weights = self._weights()
        fixed = torch.zeros(size, 3, dtype=torch.float64)
        fixed[:, TEXT] = steps.best.double()
        fixed[:, CALL] = settings.scale * self._selection
        fixed[:, ANSWER] = 0 if self._chains else -1e9
        fixed = fixed + margins
        vectors = start.clone().requires_grad_(True)
        optimiser = torch.optim.LBFGS([vectors], max_iter=80, tolerance_grad=1e-5, line_search_fn="strong_wolfe")
        nothing = torch.zeros(size, 1, dtype=torch.float64)

        def closure() -> float:
            optimiser.zero_grad()
            logits = fixed + torch.cat([nothing, self._white @ vectors.T], dim=1)
            losses = torch.nn.functional.cross_entropy(logits, classes, reduction="none")
            objective = weights @ losses + 0.5 * settings.penalty * (vectors - start).square().sum()
            objective.backward()
            return float(objective.detach())

        optimiser.step(closure)
        return vectors.detach()

    def _weights(self) -> torch.Tensor:
        """Return the weights of the steps: 1 for decisions; other kinds have at most twice their total weight."""
        kinds = self._steps.kinds
        weights = torch.ones(len(kinds), dtype=torch.float64)
        decided = max(int(self._decided.sum()), 1)
        for kind in (StepKind.TEXT, StepKind.ARGUMENTS, StepKind.VIRTUAL):
            mine = kinds == int(kind)
            weights[mine] = min(1.0, 2 * decided / max(int(mine.sum()), 1))
        return weights

    def _regress(self, target: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the least-squares vector, in whitened coordinates, for a target `(n,)` at all or some steps."""
        weights = self._weights() if mask is None else mask.double()
        weighted = self._white * weights[:, None]
        ridge = max(1.0, 1e-3 * float(weights.sum())) * torch.eye(self._white.shape[1], dtype=torch.float64)
        solved: torch.Tensor = torch.linalg.solve(weighted.T @ self._white + ridge, weighted.T @ target)
        return solved

    def _back(self, vector: torch.Tensor) -> torch.Tensor:
        """Transform a vector `(d,)` from whitened coordinates to those of the states."""
        transformed: torch.Tensor = torch.linalg.solve_triangular(self._factor.T, vector[:, None], upper=True)[:, 0]
        if not math.isfinite(float(transformed.sum())):
            raise ExportError(
                "The output embeddings of the export are not finite: check the head and the LM's weights for NaN."
            )
        return transformed
