"""The fold: gate, threshold, biases and chain lengths of a head as rows of one output matrix.

In the project the gate decides first whether a tool is called, and its log odds are linear in the state behind an
opening, and other ones behind a result. A checkpoint has one matrix at every step, and its words compete by their
largest logit, which is not linear. What comes nearest is fitted: with `R_j = W_j + b_j k`, where `k'h` is 1 as nearly
as can be,

    tool logit j = s R_j'h + u'h,      answer logit = q'h,

u and q such that the class with the largest logit is what the decoder decides: at an opening and in running text call
or word, behind a result call or end of the chain, and in words and arguments always the word. Given the states this is
a softmax regression over three classes, of which the first has a fixed logit: convex.

Virtual tokens come where their predecessor was read, and nowhere else. Their predecessors' input rows are like no
word's, so that least squares part these states from all others.
"""

import math
from dataclasses import dataclass

import torch

from toolken.training.export.decider import ANSWER, CALL, VIRTUAL, WORD, Decisions, Steps
from toolken.training.export.texts import StepKind

#: How many times the gate's log odds count in the anchor; penalty on the distance from it, in steps at one standard
#: deviation; and factors of the selection rows. The smaller they are, the nearer is their maximum to a linear function;
#: number formats of few digits round small differences between tools away.
GAINS, PENALTIES, SCALES = (1.0, 2.0, 3.0), (10.0, 30.0), (0.05, 0.1, 0.2)
SCALES_OF_FEW_DIGITS = (0.2, 0.5, 1.0)
#: Nats by which the right class shall win: where it is decided, and where no tool may win. A tool inside the arguments
#: breaks the call, while one too many at an opening is a call more: the second margin is the wider one.
MARGIN, HELD_BACK = 1.0, 10.0
#: Log odds beyond which a decision is sure; how far below the words the anchor puts tools where none may win; and the
#: ridge of the moment, as a share of it.
SURE, BELOW, RIDGE = 6.0, 15.0, 1e-4
#: By how much virtual tokens are to win where they come, and to lose elsewhere; and how much all steps of one together
#: count beside all others.
VIRTUAL_WINS, VIRTUAL_LOSES, VIRTUAL_SHARE = 20.0, 28.0, 0.5
#: Share of the texts that the settings are chosen on.
HELD_OUT = 0.25


@dataclass(frozen=True)
class FoldSettings:
    """What is chosen on held-out texts: see `GAINS`, `PENALTIES`, `SCALES`."""

    gain: float
    penalty: float
    scale: float


@dataclass(frozen=True)
class Fold:
    """Rows for an output matrix.

    Attributes
    ----------
    rows
        One for each tool, `(T, d)` in the number format of the LM.
    answer
        That of the token that ends a chain of calls, `(d,)`; None where there is none.
    virtual
        One for each virtual token, `(C, d)`.
    settings
        What was chosen.
    """

    rows: torch.Tensor
    answer: torch.Tensor | None
    virtual: torch.Tensor
    settings: FoldSettings

    def decide(self, steps: Steps) -> Decisions:
        """Return what a checkpoint with these rows does at each step; the logits are in its number format."""
        states = steps.hidden.to(self.rows.dtype)
        logits = [(part @ self.rows.T).float().max(dim=1) for part in states.split(256)]
        tools, which = torch.cat([one.values for one in logits]), torch.cat([one.indices for one in logits])
        answers = torch.full_like(tools, -torch.inf) if self.answer is None else (states @ self.answer).float()
        virtual = (states @ self.virtual.T).float().max(dim=1)
        classes = torch.stack([steps.best, tools, answers, virtual.values], dim=1).argmax(1)
        which = torch.where(classes == VIRTUAL, virtual.indices, which)
        return Decisions(classes, which, (tools - torch.maximum(steps.best, answers)).double())


def agreement(decided: Decisions, wanted: Decisions) -> torch.Tensor:
    """Return at which steps the next token is the same, `(n,) bool`."""
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
    """Fit the fold; what it depends on is chosen by the agreement on a quarter of the texts.

    Parameters
    ----------
    steps
        Steps of texts that the checkpoint may read and write.
    wanted
        What the decoder does there.
    rows, biases
        Selection rows W, `(T, d)`, and biases b, `(T,)`.
    dtype
        Number format of the rows.
    chains
        Whether there is a token that ends a chain of calls.
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
    """Return the agreement, every kind of step counting alike."""
    same = agreement(fold.decide(steps), wanted)
    return float(torch.stack([same[steps.kinds == kind].double().mean() for kind in steps.kinds.unique()]).mean())


def _where(decisions: Decisions, mask: torch.Tensor) -> Decisions:
    return Decisions(decisions.classes[mask], decisions.tools[mask], decisions.odds[mask])


class _Fitting:
    """The regression, with what does not depend on its settings computed once."""

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
        # Where virtual tokens come no tool may win, as behind a word.
        self._classes = torch.where(wanted.classes == VIRTUAL, WORD, wanted.classes)
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
        """Return the fold that has these settings."""
        start = self._anchor(settings)
        found = self._descend(start, settings)
        common = self._back(found[0])
        rows = (settings.scale * self._rows + common).to(dtype)
        answer = self._back(found[1]).to(dtype) if self._chains else None
        return Fold(rows, answer, self._virtual.to(dtype), settings)

    def _regress_virtual(self, count: int) -> torch.Tensor:
        """Return the rows of the virtual tokens, `(count, d) float64`.

        They are the least squares for how far each is from the words, the steps where it comes weighing `VIRTUAL_SHARE`
        together.
        """
        steps, white = self._steps, self._white
        best, gram = steps.best.double(), white.T @ white / len(white)
        gram += RIDGE * torch.eye(len(gram), dtype=gram.dtype)
        low = best - VIRTUAL_LOSES
        crossing = white.T @ low / len(white)
        rows = torch.zeros(count, white.shape[1], dtype=torch.float64)
        for at in range(count):
            mine = steps.virtual == at
            # One that comes nowhere in the texts is to lose everywhere, which a row of zeros would not.
            own, share = white[mine], VIRTUAL_SHARE / max(int(mine.sum()), 1)
            target = crossing + own.T @ (share * (best[mine] + VIRTUAL_WINS) - low[mine] / len(white))
            matrix = gram + (share - 1 / len(white)) * (own.T @ own)
            rows[at] = self._back(torch.linalg.solve(matrix, target))
        return rows

    def _anchor(self, settings: FoldSettings) -> torch.Tensor:
        """Return u and q, `(2, d)` in whitened coordinates, from least squares on the gate's own log odds."""
        steps, odds = self._steps, settings.gain * self._wanted.odds.clamp(-SURE, SURE)
        best, selection = steps.best.double(), settings.scale * self._selection
        ahead = steps.of(StepKind.LED, StepKind.FOLLOWING) & self._decided
        # Behind what is taken back words never win: tools and the end of the chain share what lies above them.
        level = best + 2 * MARGIN
        target = torch.where(self._decided, best + odds, best - BELOW)
        target = torch.where(ahead, level + odds.clamp(min=0), target) - selection
        common = self._regress(target)
        if not bool(ahead.any()):
            return torch.stack([common, torch.zeros_like(common)])
        return torch.stack([common, self._regress(torch.where(ahead, level + (-odds).clamp(min=0), best - BELOW))])

    def _descend(self, start: torch.Tensor, settings: FoldSettings) -> torch.Tensor:
        steps, classes = self._steps, self._classes
        size = len(classes)
        never = ~self._decided
        margins = torch.where(never, HELD_BACK, MARGIN)[:, None].expand(size, 3).clone().double()
        margins[torch.arange(size), classes] = 0
        weights = self._weights()
        fixed = torch.zeros(size, 3, dtype=torch.float64)
        fixed[:, WORD] = steps.best.double()
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
        """Return the weight of each step: decisions count fully, and so do all the steps of a kind together that are
        more than these."""
        kinds = self._steps.kinds
        weights = torch.ones(len(kinds), dtype=torch.float64)
        decided = max(int(self._decided.sum()), 1)
        for kind in (StepKind.WORDS, StepKind.ARGUMENTS, StepKind.VIRTUAL):
            mine = kinds == int(kind)
            weights[mine] = min(1.0, 2 * decided / max(int(mine.sum()), 1))
        return weights

    def _regress(self, target: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the least-squares vector, in whitened coordinates, of a target `(n,)` at all or some steps."""
        weights = self._weights() if mask is None else mask.double()
        weighted = self._white * weights[:, None]
        ridge = max(1.0, 1e-3 * float(weights.sum())) * torch.eye(self._white.shape[1], dtype=torch.float64)
        solved: torch.Tensor = torch.linalg.solve(weighted.T @ self._white + ridge, weighted.T @ target)
        return solved

    def _back(self, vector: torch.Tensor) -> torch.Tensor:
        """Return a vector `(d,)` of whitened coordinates in those of the states."""
        whole: torch.Tensor = torch.linalg.solve_triangular(self._factor.T, vector[:, None], upper=True)[:, 0]
        if not math.isfinite(float(whole.sum())):
            raise ArithmeticError("the fold is not finite")
        return whole
