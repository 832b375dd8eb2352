"""What is promised, checked on one run: clients' books, server's log and metrics must agree."""

import re
from collections import Counter

from loadtests.run import Run, counted

_ACCESS = re.compile(r"POST \S+ (\d+) ")
_HUNG_UP = 499  # how the server counts a client that left before there was an answer
_GAUGES = ("crossrank_queue_tokens", "crossrank_queue_pairs", "crossrank_admitted_tokens")


def problems(run: Run) -> list[str]:
    """Every broken promise, in words; none is the only good result."""
    return [
        *_wrong_answers(run),
        *_lost(run),
        *_log(run),
        *([] if run.scenario.terminate else _metrics(run)),
        *_not_seen(run),
        *([] if run.exit_status == 0 else [f"the server exited with {run.exit_status}"]),
    ]


def lost(run: Run) -> int:
    """Requests without an answer whose client did not give up.

    After SIGTERM, one that the server never took is no loss: its client knows, and asks another.
    """
    taken = {entry["request_id"] for entry in run.entries if _ACCESS.match(entry["message"])}
    return run.unfinished + sum(
        outcome.code == 0
        and not outcome.gave_up
        and not (run.scenario.terminate and outcome.request_id not in taken)
        for outcome in run.outcomes
    )


def not_taken(run: Run) -> int:
    """Requests whose connection was refused or closed unread by a stopping server."""
    nothing = sum(o.code == 0 and not o.gave_up for o in run.outcomes)
    return nothing + run.unfinished - lost(run)


def _wrong_answers(run: Run) -> list[str]:
    found = Counter(f"{o.kind}: {o.problem}" for o in run.outcomes if o.problem)
    return [f"{count} times {problem}" for problem, count in found.items()]


def _lost(run: Run) -> list[str]:
    count = lost(run)
    if not count:
        return []
    reasons = Counter(o.trouble for o in run.outcomes if o.code == 0 and not o.gave_up)
    return [f"{count} lost: {dict(reasons)}"]


def _log(run: Run) -> list[str]:
    """The server's log has every request once, with the code that its client saw."""
    codes: dict[str, list[int]] = {}
    for entry in run.entries:
        if access := _ACCESS.match(entry["message"]):
            codes.setdefault(entry["request_id"], []).append(int(access[1]))
    found = Counter[str]()
    for outcome in run.outcomes:
        logged = codes.pop(outcome.request_id, [])
        if len(logged) > 1:
            found["requests logged more than once"] += 1
        elif outcome.code and logged != [outcome.code]:
            found[f"requests logged as {logged}, seen as {outcome.code}"] += 1
    if codes:
        found["requests logged that nobody sent"] = len(codes)
    return [f"{count} {what}" for what, count in found.items()]


def _metrics(run: Run) -> list[str]:
    final, sent = run.final, len(run.outcomes)
    seen = Counter(outcome.code for outcome in run.outcomes)
    gave_up = sum(outcome.gave_up for outcome in run.outcomes)
    hung_up = counted(final, _HUNG_UP)
    wrong = [f"{name} is {final[name]} at the end" for name in _GAUGES if final[name]]
    if counted(final) != sent:
        wrong.append(f"{sent} sent, {counted(final)} counted by the server")
    for code in seen.keys() - {0}:  # an answer may have been on its way to one who gave up
        if not 0 <= counted(final, code) - seen[code] <= gave_up:
            wrong.append(f"{code}: {seen[code]} seen, {counted(final, code)} counted")
    cancelled = round(final["crossrank_cancelled_requests_total"])
    if not cancelled <= hung_up <= gave_up:
        wrong.append(f"{gave_up} gave up, {hung_up} counted as {_HUNG_UP}, {cancelled} cancelled")
    for name, code in (("shed", 503), ("expired", 504)):
        if (count := round(final[f"crossrank_{name}_requests_total"])) != counted(final, code):
            wrong.append(f"{count} {name}, {counted(final, code)} answered with {code}")
    return wrong


def _not_seen(run: Run) -> list[str]:
    """A scenario in which nothing happened proves nothing."""
    seen = {outcome.code for outcome in run.outcomes if outcome.code or outcome.gave_up}
    missing = [f"nobody saw {code}" for code in sorted(run.scenario.seen - seen)]
    if 0 in run.scenario.seen and not run.final["crossrank_cancelled_requests_total"]:
        missing.append("nobody hung up while the device had work for them")
    if run.scenario.terminate:
        after = [o for o in run.outcomes if o.sent + o.seconds > (run.terminated or 0)]
        if not any(outcome.code == 200 for outcome in after):
            missing.append("nothing was answered after SIGTERM")
    if run.scenario.passages and sum(
        o.passages for o in run.outcomes if o.code == 200
    ) < run.scenario.passages:  # fmt: skip
        missing.append(f"fewer than {run.scenario.passages} passages were ranked in time")
    return missing
