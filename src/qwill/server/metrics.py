"""Figures for Prometheus. Their names begin with `qwill_`; their labels are models, routes and words of a few."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from qwill.engine.engine import Load
from qwill.server.models import Models, Served
from qwill.server.usage import Tokens
from qwill.server.worker import Job, Stopped

OTHER = "other"  # an address that is no route's, a method that HTTP does not know
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
# Seconds. A token of the largest model may take seconds, one of the smallest a millisecond.
STEPS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
LENGTHS = (0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
TOKENS = {
    "prompt_tokens": "Tokens of prompts; a prompt with several answers counts once",
    "cached_tokens": "Tokens of prompts that the prefix cache had",
    "completion_tokens": "Tokens of answers, reasoning included",
    "reasoning_tokens": "Tokens of reasoning",
    "image_tokens": "Tokens of prompts that stand for images and videos",
}
LOADS = {
    "running": ("qwill_answers_running", "Answers that the engine computes"),
    "waiting": ("qwill_answers_waiting", "Answers that wait for pages or a slot"),
    "pages": ("qwill_pages_used", "Pages of keys and values that requests or snapshots hold"),
    "pages_of_requests": ("qwill_pages_running", "Pages that answers under way hold; others are given up for them"),
    "pages_total": ("qwill_pages", "Pages of keys and values in all"),
    "slots": ("qwill_state_slots_used", "Slots for recurrent states that answers hold"),
    "slots_total": ("qwill_state_slots", "Slots for recurrent states in all"),
    "snapshots": ("qwill_snapshots", "Beginnings of prompts that the prefix cache keeps in memory"),
    "snapshot_bytes": ("qwill_snapshot_bytes", "Bytes that their recurrent states take"),
}


class Metrics:
    """Belongs to the event loop; what engines do on their own threads is only read."""

    def __init__(self) -> None:
        disable_created_metrics()  # times at which counting began would double the page
        registry = self._registry = CollectorRegistry()
        self._routes: Sequence[BaseRoute] = ()
        self._http = Counter(
            "qwill_http_requests", "HTTP requests that were answered", ["route", "method", "status"], registry=registry
        )
        self._http_seconds = Histogram(
            "qwill_http_request_seconds", "From a request's headers to the end of its answer", ["route"],
            registry=registry, buckets=LENGTHS,
        )  # fmt: skip
        self._in_progress = Gauge(
            "qwill_requests_in_progress", "Requests whose answers are not finished", ["model"], registry=registry
        )
        self._answers = Counter(
            "qwill_answers", "Answers by why they ended", ["model", "finish_reason"], registry=registry
        )
        self._first_token = Histogram(
            "qwill_time_to_first_token_seconds", "From a request to the first piece of an answer", ["model"],
            registry=registry, buckets=WAITS,
        )  # fmt: skip
        self._seconds = Histogram(
            "qwill_request_seconds", "From a request to the end of its answers, those cut short left out", ["model"],
            registry=registry, buckets=LENGTHS,
        )  # fmt: skip
        self._between = Intervals(
            "qwill_time_between_tokens_seconds", "From a piece of an answer to the next; drafts bring several tokens",
            STEPS,
        )  # fmt: skip
        registry.register(self._between)
        self._models = ModelFigures()
        registry.register(self._models)
        ProcessCollector("qwill", registry=registry)

    def follow(self, models: Models, routes: Sequence[BaseRoute]) -> None:
        """Tells of these models, from zero on, and of requests by these routes."""
        self._routes = routes
        self._models.followed = models.all
        for served in models.all:
            self._models.tokens.setdefault(served.name, Tokens())
            for metric in (self._in_progress, self._first_token, self._seconds):
                metric.labels(served.name)
            self._between.add(served.name, np.empty(0))

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        """An HTTP request is over."""
        route = self._route(scope)
        method = scope["method"] if scope["method"] in METHODS else OTHER
        self._http.labels(route, method, str(status)).inc()
        self._http_seconds.labels(route).observe(seconds)

    def begun(self, model: str) -> None:
        """A request to a model was queued."""
        self._in_progress.labels(model).inc()

    def ended(self, model: str) -> None:
        """It is over, finished or not."""
        self._in_progress.labels(model).dec()

    def count(self, model: str, job: Job, tokens: Tokens, started: float, seconds: float) -> None:
        """What a request came to, once its engine is done with it. started: by `time.perf_counter`."""
        self._models.tokens[model] = self._models.tokens.get(model, Tokens()) + tokens
        if all(job.completions):
            self._seconds.labels(model).observe(seconds)
        for completion, times in zip(job.completions, job.times, strict=True):
            early = "cancelled" if isinstance(job.error, Stopped) else "failed"
            self._answers.labels(model, completion.finish_reason if completion is not None else early).inc()
            if times:
                self._first_token.labels(model).observe(times[0] - started)
                self._between.add(model, np.diff(np.array(times)))

    def page(self) -> bytes:
        """All figures in Prometheus's text format."""
        return generate_latest(self._registry)

    def _route(self, scope: Scope) -> str:
        """The template of the address, by the routes themselves: what the gate refuses reaches none of them."""
        partial = OTHER
        for route in self._routes:
            template = getattr(route, "path_format", None)
            match = Match.NONE if template is None else route.matches(scope)[0]
            if match is Match.FULL:
                return str(template)
            if match is Match.PARTIAL and partial == OTHER:
                partial = str(template)
        return partial


class Intervals(Collector):
    """A histogram for each model that takes thousands of values at once, when an answer ends."""

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._meaning = meaning
        self._bounds = bounds
        self._counts: dict[str, np.ndarray] = {}
        self._sums: dict[str, float] = {}

    def add(self, model: str, values: np.ndarray) -> None:
        """values [any number] f64."""
        buckets = np.searchsorted(self._bounds, values)  # a value that is a bound belongs below it
        counts = np.bincount(buckets, minlength=len(self._bounds) + 1)
        self._counts[model] = self._counts.get(model, 0) + counts
        self._sums[model] = self._sums.get(model, 0.0) + float(values.sum())

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._meaning, labels=["model"])
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for model, counts in self._counts.items():
            family.add_metric([model], list(zip(names, np.cumsum(counts).tolist(), strict=True)), self._sums[model])
        yield family


class ModelFigures(Collector):
    """What models have done so far, and what those that are loaded do now."""

    def __init__(self) -> None:
        self.followed: Sequence[Served] = ()
        self.tokens: dict[str, Tokens] = {}

    def collect(self) -> Iterable[Metric]:
        for name, meaning in TOKENS.items():
            values = {model: getattr(tokens, name) for model, tokens in self.tokens.items()}
            yield _by_model(CounterMetricFamily(f"qwill_{name}", meaning, labels=["model"]), values)
        hits = {
            model: tokens.cached_tokens / tokens.prompt_tokens
            for model, tokens in self.tokens.items()
            if tokens.prompt_tokens
        }
        yield _gauge("qwill_prefix_cache_hit_ratio", "Share of the prompts' tokens that the prefix cache had", hits)
        loaded = [served for served in self.followed if served.worker is not None]
        meaning = "Whether the model is in memory"
        yield _gauge("qwill_model_loaded", meaning, {served.name: served in loaded for served in self.followed})
        sizes = {served.name: served.bytes for served in loaded}
        yield _gauge("qwill_model_weight_bytes", "Bytes of the weights of a model that is loaded", sizes)
        loads = {served.name: served.worker.llm.engine.load for served in loaded if served.worker is not None}
        for field, (name, meaning) in LOADS.items():
            yield _gauge(name, meaning, {model: getattr(load, field) for model, load in loads.items()})
        yield from _drafts(loads)


def _drafts(loads: Mapping[str, Load]) -> Iterable[Metric]:
    tried = {model: load.drafts for model, load in loads.items()}
    accepted = {model: load.drafts_accepted for model, load in loads.items()}
    for name, meaning, values in (
        ("qwill_drafts", "Drafts that were verified since the model was loaded", tried),
        ("qwill_drafts_accepted", "Drafts that turned out right", accepted),
    ):
        yield _by_model(CounterMetricFamily(name, meaning, labels=["model"]), values)
    ratios = {model: accepted[model] / count for model, count in tried.items() if count}
    yield _gauge("qwill_draft_acceptance_ratio", "Share of the drafts that turned out right", ratios)


def _gauge(name: str, meaning: str, values: Mapping[str, float]) -> Metric:
    return _by_model(GaugeMetricFamily(name, meaning, labels=["model"]), values)


def _by_model(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    for model, value in values.items():
        family.add_metric([model], value)
    return family
