"""The façade over checkpoint, tokenizer and device thread: start, stop, rank, health."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from engine import checkpoint as checkpoints
from engine.backends import Backend, open_backend
from engine.config import EngineConfig
from engine.crew import Crew
from engine.errors import DeadlineError, StartError, UnavailableError
from engine.job import Job
from engine.ledger import Entry, Ledger
from engine.tokenizer import PairTokenizer
from engine.types import BatchReport, Checkpoint, Limits, Query, Ranked, Ranking, Timings, Waiting

# English in a subword vocabulary; only admission uses it, and the count corrects it soon after.
_CHARACTERS_PER_TOKEN = 4
_TEMPLATE_TOKENS = 8

OpenBackend = Callable[[Checkpoint, EngineConfig], Backend]


class Reranker:
    """Ranks passages by relevance to a query. Use from one event loop."""

    def __init__(
        self,
        config: EngineConfig,
        open_backend: OpenBackend = open_backend,
        on_batch: Callable[[BatchReport], None] = lambda report: None,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._open_backend = open_backend
        self._on_batch = on_batch
        self._on_death = on_death
        self._ledger = Ledger(config.max_queue_tokens, config.max_queue_requests)
        self._idle = asyncio.Event()
        self._worker = Crew(self._openers(), self._ran, self._died, config.stuck_after_seconds)
        self._tokenizer: PairTokenizer | None = None
        self.checkpoint: Checkpoint | None = None
        self.ready = False
        self.alive = True

    async def start(self) -> None:
        """Load and verify everything, then warm up. Raises StartError with the reason."""
        await self._worker.start()
        self.ready = True

    async def rank(self, query: Query) -> Ranking:
        """Score every passage and order them. If the caller is cancelled, the pairs are dropped.

        Raises RequestError, UnavailableError, OverloadedError, DeadlineError or ScoringError.
        """
        if not self.ready or self.checkpoint is None:
            raise UnavailableError("the model is not ready: try again shortly")
        try:
            with self._ledger.admitted(estimate(query, self.checkpoint.max_pair_tokens)) as entry:
                async with asyncio.timeout(query.timeout):
                    return await self._rank(query, entry)
        except TimeoutError:
            raise DeadlineError from None
        finally:
            if not self._ledger.requests:
                self._idle.set()

    def drain(self) -> None:
        """Refuse new requests from now on; the accepted ones go on."""
        self.ready = False

    async def stop(self, within_seconds: float | None = None) -> None:
        """Drain, finish the accepted requests, free the device.

        What is not finished within the time is answered with UnavailableError.
        """
        self.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._finish()
        await self._worker.stop(UnavailableError("the service stopped first: send it again"))
        if self._tokenizer is not None:
            self._tokenizer.close()

    @property
    def waiting(self) -> Waiting:
        """What waits for the device, and what is admitted in all."""
        ledger = self._ledger
        queued = self._worker.waiting
        return replace(queued, requests=ledger.requests, admitted_tokens=ledger.tokens)

    async def _finish(self) -> None:
        while self._ledger.requests and self.alive:
            self._idle.clear()
            await self._idle.wait()

    async def _rank(self, query: Query, entry: Entry) -> Ranking:
        arrived = time.monotonic()
        assert self._tokenizer is not None, "it is there once the engine is ready"
        pairs = await self._tokenizer.encode(query)
        self._ledger.correct(entry, sum(pair.tokens for pair in pairs))
        deadline = None if query.timeout is None else arrived + query.timeout
        job = self._worker.backlog.submit(pairs, deadline, query.trace, query.priority)
        try:
            await job.future
        except asyncio.CancelledError:
            self._worker.backlog.abandon(job)
            raise
        return _ranking(job, arrived)

    def _openers(self) -> list[Callable[[], Backend]]:
        """One for each device; the first is opened before the others."""
        configs = [replace(self._config, devices=(number,)) for number in self._config.devices]
        return [partial(self._open, config) for config in configs or [self._config]]

    def _open(self, config: EngineConfig) -> Backend:
        """Runs on the device thread, a daemon: a stopping process does not wait for a download."""
        if self.checkpoint is None:
            self.checkpoint = checkpoints.load(config)
            self._tokenizer = PairTokenizer(self.checkpoint, config.tokenizer_threads)
        backend = self._open_backend(self.checkpoint, config)
        _check_limits(backend.limits, self.checkpoint)
        return backend

    def _ran(self, report: BatchReport) -> None:
        """Runs on the device thread."""
        devices = max(1, len(self._config.devices))  # the others run meanwhile
        self._ledger.ran(report.tokens, report.seconds / devices)
        self._on_batch(report)

    def _died(self) -> None:
        self.ready = self.alive = False
        self._on_death()


def estimate(query: Query, max_pair_tokens: int) -> int:
    """Tokens of a request before it is tokenized: about four characters each."""
    around = len(query.text) // _CHARACTERS_PER_TOKEN + _TEMPLATE_TOKENS
    return sum(
        min(around + len(passage) // _CHARACTERS_PER_TOKEN, max_pair_tokens)
        for passage in query.passages
    )


def _check_limits(limits: Limits, checkpoint: Checkpoint) -> None:
    if limits.max_batch_tokens < checkpoint.max_pair_tokens:
        raise StartError(
            f"a batch holds {limits.max_batch_tokens} tokens, but one pair may have "
            f"{checkpoint.max_pair_tokens}: raise the batch limit or lower the pair limit"
        )


def _ranking(job: Job, arrived: float) -> Ranking:
    order = np.argsort(-job.logits, kind="stable").tolist()
    logits = job.logits.tolist()
    assert job.started is not None
    assert job.finished is not None
    return Ranking(
        results=[Ranked(index, logits[index]) for index in order],
        tokens=sum(pair.tokens for pair in job.pairs),
        truncated=frozenset(i for i, pair in enumerate(job.pairs) if pair.truncated),
        timings=Timings(arrived, job.submitted, job.started, job.finished),
    )
