"""Locust users: the manners of clients. Each request has an id that its answer must bring back.

By hand, against any server: locust -f loadtests/users.py -H http://127.0.0.1:8000 Steady
"""

import random
import time
import uuid
from itertools import cycle

from locust import User, constant, constant_throughput, task
from locust.exception import StopUser

from loadtests.books import Books, Outcome, problem
from loadtests.texts import POISON, Ask, body, pool
from loadtests.wire import Wire

_SIZES = ((1, 10), (5, 60), (20, 100), (60, 30), (128, 20), (512, 12))
_MIXED = [(count, pool(count, words)) for count, words in _SIZES]
_chance = random.Random(4)  # noqa: S311 - repeatable, not secret


class Caller(User):
    """Sends requests over one connection and keeps the books."""

    abstract = True
    kind = "ordinary"

    def on_start(self) -> None:
        """Take the scenario's books, or keep none."""
        self.wire = Wire(self.host)
        self.books: Books = getattr(self.environment, "books", None) or Books()
        self.allowed: frozenset[int] = getattr(self.environment, "allowed", frozenset())

    def send(self, ask: Ask) -> Outcome:
        """One request; its outcome goes into the books and to Locust's statistics."""
        if self.books.closed:
            raise StopUser
        request_id = uuid.uuid4().hex
        with self.books.sending(request_id):
            sent = time.monotonic()
            answer = self.wire.post(ask, request_id)
            seconds = time.monotonic() - sent
            wrong = problem(ask, answer, request_id, self.allowed)
            outcome = Outcome(
                request_id, self.kind, sent, seconds, answer.code, answer.gave_up, ask.passages,
                wrong, answer.trouble,
            )  # fmt: skip
            self.books.add(outcome)
        self.environment.events.request.fire(
            request_type=self.kind, name="/v1/ranking", response_time=seconds * 1000,
            response_length=len(answer.body), exception=wrong or None, context={},
        )  # fmt: skip
        if "refused" in answer.trouble:
            raise StopUser  # there is no server any more
        return outcome


class Steady(Caller):
    """Five requests a second of 20 passages, like a retrieval pipeline."""

    wait_time = constant_throughput(5)
    bodies = pool(20, 40)
    passages = 20

    @task
    def rank(self) -> None:
        """One request."""
        self.send(Ask(_chance.choice(self.bodies), self.passages))


class Eager(Steady):
    """The next request as soon as the last is answered."""

    wait_time = constant(0)


class Insistent(Steady):
    """Comes back soon, whatever Retry-After says; one request in four is in a hurry."""

    wait_time = constant(0.2)

    @task
    def rank(self) -> None:
        """One request."""
        hurry = {"x-request-timeout-ms": "150"} if _chance.random() < 0.25 else {}
        self.send(Ask(_chance.choice(self.bodies), 20, headers=hurry))


class Burst(Steady):
    """All of them at once, every second."""

    def wait_time(self) -> float:
        """Until the next whole second."""
        return 1 - time.monotonic() % 1


class Mixed(Caller):
    """From one passage to 512, from short to long."""

    wait_time = constant(0)

    @task
    def rank(self) -> None:
        """One request."""
        count, bodies = _chance.choice(_MIXED)
        self.send(Ask(_chance.choice(bodies), count))


class Long(Eager):
    """Always 512 passages: keeps the device full."""

    bodies = pool(512, 12)
    passages = 512


class Brief(Long):
    """512 passages of a word or two: many passages for little computing."""

    bodies = pool(512, 2)


class Slow(Caller):
    """Dribbles the body in over two seconds and sips the answer."""

    kind = "slow"
    wait_time = constant(0)
    dribbled = body(512, 12)

    @task
    def rank(self) -> None:
        """One request."""
        self.send(Ask(self.dribbled, 512, pieces=40, gap=0.05, sip=1024))


class Fickle(Caller):
    """Sends all, waits a little, hangs up."""

    kind = "fickle"
    wait_time = constant(0)
    bodies = pool(512, 12)

    @task
    def rank(self) -> None:
        """One request."""
        patience = _chance.uniform(0.001, 0.3)
        self.send(Ask(_chance.choice(self.bodies), 512, patience=patience))


class Poisoner(Caller):
    """Everything that must be refused, one after the other."""

    kind = "poison"
    wait_time = constant(0)

    def on_start(self) -> None:
        """Begin somewhere else than the others."""
        super().on_start()
        kinds = list(POISON.values())
        start = _chance.randrange(len(kinds))
        self.kinds = cycle(kinds[start:] + kinds[:start])

    @task
    def rank(self) -> None:
        """One request."""
        self.send(next(self.kinds))
