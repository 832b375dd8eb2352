"""Where crossrank says that its requests' time went: the stage histograms of /metrics."""

import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from loadtests.bench.names import CROSSRANK
from loadtests.bench.servers import Server


@dataclass(frozen=True, slots=True)
class Stages:
    """Seconds summed over so many requests; total: from the first byte in to the last byte out."""

    requests: float
    tokenize: float
    queue: float
    inference: float
    total: float

    @property
    def rest(self) -> float:
        """Reading and checking the request, ordering and writing the answer."""
        return self.total - self.tokenize - self.queue - self.inference

    def since(self, before: "Stages") -> "Stages":
        """What was added after an earlier scrape."""
        return Stages(
            requests=self.requests - before.requests,
            tokenize=self.tokenize - before.tokenize,
            queue=self.queue - before.queue,
            inference=self.inference - before.inference,
            total=self.total - before.total,
        )

    def milliseconds(self) -> dict[str, float]:
        """The mean request's."""
        stages = {name: getattr(self, name) for name in ("tokenize", "queue", "inference", "rest")}
        return {name: round(1000 * s / self.requests, 2) for name, s in stages.items()}


def stages(server: Server) -> Stages | None:
    """All that the server has done so far; None for servers that do not say."""
    if server.name != CROSSRANK:
        return None
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    values: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            if sample.name == "crossrank_stage_seconds_sum":
                values[sample.labels["stage"]] = sample.value
            elif sample.labels.get("route") == server.dialect.path:
                values[sample.name] = sample.value
    return Stages(
        requests=values.get("crossrank_request_seconds_count", 0.0),
        tokenize=values.get("tokenize", 0.0),
        queue=values.get("queue", 0.0),
        inference=values.get("inference", 0.0),
        total=values.get("crossrank_request_seconds_sum", 0.0),
    )
