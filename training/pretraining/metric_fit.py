"""`fit_metric`: whitening and a ridge regression in closed form, then contrastive learning from there."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import cross_entropy

from toolken.training.prior.request_metric import RequestMetric
from toolken.training.prior.request_reader import ReadTexts

#: Share of the mean variance that is added to each direction before whitening. All settings were chosen on dev domains.
SHRINKAGE = 0.5
#: Tokens as frequent as this get half their weight in the first head's attention at the start.
FREQUENCY = 1e-3
#: Penalty of the ridge regression of tools' mean requests on their descriptions, and what one request adds to it.
PENALTY, PENALTY_OF_NOISE = 1.0, 2.0
#: Ranks of the maps of both sides and of tools alone.
SHARED_RANK, TOOL_RANK = 64, 128
#: Domains per step, the most tools of each, and steps.
DOMAINS, TOOLS_OF_DOMAIN, STEPS = 16, 30, 200
RATE, QUERY_RATE, SCALE_RATE, DECAY = 5e-4, 1e-2, 1e-2, 3.0
#: Share of the words left out by chance, and the scale of similarities at the start.
DROPPED, FIRST_SCALE = 0.2, 15.0


@dataclass(frozen=True)
class MetricData:
    """What a metric is learned from.

    Attributes
    ----------
    requests, tools
        All texts.
    labels
        Index of the tool that each request asks for; -1 for others.
    domains
        The domain of each tool.
    """

    requests: ReadTexts
    tools: ReadTexts
    labels: Sequence[int]
    domains: Sequence[str]


def fit_metric(
    data: MetricData,
    chosen: Sequence[int],
    vocab_size: int,
    *,
    seed: int = 0,
    steps: int = STEPS,
    advance: Callable[[int], None] = lambda _: None,
) -> RequestMetric:
    """Fit a metric on some requests, each of which has a right tool.

    Parameters
    ----------
    data
        All texts.
    chosen
        Indices of the requests to learn from.
    vocab_size
        V.
    seed
        Seed of the batches.
    steps
        Steps of contrastive learning; 0 for the closed form alone.
    advance
        Called after each step.
    """
    labels = torch.tensor([data.labels[at] for at in chosen])
    metric = _closed_form(data, chosen, labels, vocab_size)
    return _contrastive(metric, data, chosen, seed, steps, advance) if steps else metric


def _closed_form(data: MetricData, chosen: Sequence[int], labels: torch.Tensor, vocab_size: int) -> RequestMetric:
    """Return a metric with whitened averages and a ridge regression from descriptions to mean requests."""
    requests, tools = data.requests, data.tools
    size = requests.last.shape[1]
    heads = len(RequestMetric.head_layers)
    views = heads + 1
    counts = torch.bincount(requests.tokens, minlength=vocab_size).double()
    weights = torch.zeros(heads, vocab_size)
    weights[0] = (FREQUENCY / (FREQUENCY + counts / counts.sum().clamp(min=1))).log().float()
    raw = RequestMetric(
        queries=torch.zeros(2, heads, size),
        token_weights=weights,
        means=torch.zeros(2, views, size),
        whitening=torch.eye(size).expand(views, -1, -1),
        shared_down=torch.zeros(views * size, SHARED_RANK),
        shared_up=torch.zeros(SHARED_RANK, views * size),
        tool_down=torch.zeros(views * size, 1),
        tool_up=torch.zeros(1, views * size),
    )
    asked, known = _averages(raw, requests, chosen), _averages(raw, tools, range(len(tools)))
    whitening = torch.stack([_whitening(asked[:, view].double(), labels) for view in range(views)]).float()
    raw = replace(raw, means=torch.stack([asked.mean(0), known.mean(0)]), whitening=whitening)
    left, right = _ridge(_all(raw, requests, "request", chosen), _all(raw, tools, "tool", range(len(tools))), labels)
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(views * size, SHARED_RANK, generator=generator) * 0.01
    return replace(raw, shared_down=small, tool_down=left, tool_up=right)


def _averages(raw: RequestMetric, texts: ReadTexts, rows: Sequence[int]) -> torch.Tensor:
    """Return the views `(n, v, d)` before centring and whitening."""
    places, found = list(rows), []
    for begin in range(0, len(places), 512):
        part = torch.tensor(places[begin : begin + 512])
        lengths = texts.offsets.diff()[part]
        where = torch.cat([torch.arange(int(texts.offsets[at]), int(texts.offsets[at + 1])) for at in part.tolist()])
        row = torch.repeat_interleave(torch.arange(len(part)), lengths)
        own = []
        for head, layer in enumerate(raw.head_layers):
            weights = raw.token_weights[head][texts.tokens[where]].exp()
            sums = torch.zeros(len(part), texts.last.shape[1])
            sums.index_add_(0, row, texts.states[where, layer].float() * weights[:, None])
            total = torch.zeros(len(part)).index_add_(0, row, weights)
            own.append(sums / total.clamp(min=1e-6)[:, None])
        found.append(torch.stack([*own, texts.last[part].float()], dim=1))
    return torch.cat(found)


def _all(metric: RequestMetric, texts: ReadTexts, side: str, rows: Sequence[int]) -> torch.Tensor:
    """Return the whitened views of some texts, `(n, m) float32`, in parts that fit the memory."""
    places = list(rows)
    parts = [places[begin : begin + 512] for begin in range(0, len(places), 512)]
    return torch.cat([metric.views(texts, "tool" if side == "tool" else "request", part) for part in parts])


def _whitening(states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the inverse square root of the covariance within tools, `(d, d) float64`."""
    count = int(labels.max()) + 1
    sums = torch.zeros(count, states.shape[1], dtype=torch.float64).index_add_(0, labels, states)
    counts = torch.bincount(labels, minlength=count).double()
    centred = states - (sums / counts.clamp(min=1)[:, None])[labels]
    covariance = centred.T @ centred / max(len(states) - int((counts > 0).sum()), 1)
    ridge = SHRINKAGE * covariance.diagonal().mean().clamp(min=1e-9)
    values, vectors = torch.linalg.eigh(covariance + ridge * torch.eye(len(covariance), dtype=torch.float64))
    root: torch.Tensor = (vectors * values.clamp(min=1e-12).rsqrt()) @ vectors.T
    return root


def _ridge(requests: torch.Tensor, tools: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ridge regression of tools' mean requests on their descriptions as two factors.

    It is computed in the dual form, and its penalty is larger for tools with few requests, whose mean is noisy.
    """
    seen = labels.unique()
    counts = torch.bincount(labels)[seen].double()
    means = torch.zeros(len(tools), tools.shape[1], dtype=torch.float64).index_add_(0, labels, requests.double())
    known = tools[seen].double()
    penalty = torch.diag(PENALTY * (1 + PENALTY_OF_NOISE / counts))
    left, right = known.T, torch.linalg.solve(known @ known.T + penalty, means[seen] / counts[:, None] - known)
    # The singular values of left @ right, without forming the m x m product.
    outer, upper = torch.linalg.qr(left)
    inner, lower = torch.linalg.qr(right.T)
    u, values, v = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    root, rank = values.sqrt(), TOOL_RANK
    return ((outer @ (u * root))[:, :rank]).float(), ((inner @ (v.T * root))[:, :rank]).T.float()


def _contrastive(
    start: RequestMetric, data: MetricData, chosen: Sequence[int], seed: int, steps: int, advance: Callable[[int], None]
) -> RequestMetric:
    """Return the metric after steps in which each request is to find its tool among the batch and in its domain."""
    rng = random.Random(seed)
    by_tool: dict[int, list[int]] = {}
    for at in chosen:
        by_tool.setdefault(data.labels[at], []).append(at)
    by_domain: dict[str, list[int]] = {}
    for tool in sorted(by_tool):
        by_domain.setdefault(data.domains[tool], []).append(tool)
    names = sorted(by_domain)
    spread = data.requests.states[:: max(1, len(data.requests.states) // 20000)].float().std(0)
    # Queries are learned in units of each dimension's spread, which differs by orders of magnitude.
    units = (spread[list(start.head_layers)] * spread.shape[-1] ** 0.5).clamp(min=1e-6)
    queries = torch.zeros_like(start.queries, requires_grad=True)
    learned = ("shared_down", "shared_up", "tool_down", "tool_up")
    maps = {name: getattr(start, name).clone().requires_grad_() for name in learned}
    scale = torch.tensor(math.log(FIRST_SCALE), requires_grad=True)
    groups = ((QUERY_RATE, 0.0, [queries]), (RATE, DECAY, list(maps.values())), (SCALE_RATE, 0.0, [scale]))
    optimiser = torch.optim.AdamW([{"params": p, "lr": rate, "weight_decay": decay} for rate, decay, p in groups])
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        for step in range(1, steps + 1):
            for group, (rate, _, _) in zip(optimiser.param_groups, groups, strict=True):
                group["lr"] = rate * min(1, step / 10) * (1 - step / (steps + 10))
            tools, domains = [], []
            for number, name in enumerate(rng.sample(names, min(DOMAINS, len(names)))):
                own = by_domain[name]
                own = own if len(own) <= TOOLS_OF_DOMAIN else rng.sample(own, TOOLS_OF_DOMAIN)
                tools += own
                domains += [number] * len(own)
            rows = [rng.choice(by_tool[tool]) for tool in tools]
            metric = replace(start, queries=queries / units, **maps)
            requests = metric.placed(metric.views(data.requests, "request", rows, DROPPED), "request")
            embeddings = metric.placed(metric.views(data.tools, "tool", tools, DROPPED), "tool")
            scores, right, domain = (
                scale.exp() * (requests @ embeddings.T),
                torch.arange(len(tools)),
                torch.tensor(domains),
            )
            inside = scores.masked_fill(domain[:, None] != domain[None], -1e4)
            loss = cross_entropy(scores, right) + cross_entropy(inside, right)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            advance(1)
    finally:
        torch.set_rng_state(state)
    return replace(start, queries=queries.detach() / units, **{name: one.detach() for name, one in maps.items()})
