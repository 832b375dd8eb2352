"""Asking a server: every dialect, a full server, a server that answers something else."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app import dialects
from app.__main__ import main
from app.evaluation import EvaluationError
from app.evaluation.remote import Remote, Server, opened
from app.scores import Scored, sigmoid
from loadtests.process import crossrank, url_when_ready
from tests.app import beir_folders

LONG = {"d1": "rain " * 2000}  # over any tiny checkpoint's limit
CUTTING = sorted(dialects.load().keys() - {"llamacpp"})
PROBABILITIES = {"cohere", "jina", "voyage"}  # without a way to ask for logits


@pytest.fixture(scope="module")
def url(bert_folder: Path) -> Iterator[str]:
    """A real server with the fake backend."""
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder), CROSSRANK_BACKEND="fake") as process:
        yield url_when_ready(process)


@pytest.fixture(scope="module")
def expected(
    bert_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[str, float]]]:
    """The scores of the same backend in this process."""
    folder = beir_folders.write(
        tmp_path_factory.mktemp("local") / "data", beir_folders.DOCUMENTS | LONG
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSRANK_BACKEND", "fake")
        output = folder / "out"
        assert main(beir_folders.command(folder, output, "--checkpoint", str(bert_folder))) == 0
    return beir_folders.scores(output)


@pytest.mark.parametrize("dialect", CUTTING)
def test_a_server_gives_the_scores_of_its_engine_in_every_dialect(
    url: str, expected: dict[str, list[tuple[str, float]]], dialect: str, tmp_path: Path
) -> None:
    folder = beir_folders.write(tmp_path / "data", beir_folders.DOCUMENTS | LONG)
    before = answered(url, dialect)
    asked = beir_folders.command(folder, tmp_path / "out", "--url", url, "--dialect", dialect)
    assert main(asked) == 0
    assert answered(url, dialect) - before == len(beir_folders.QUERIES)
    transform = sigmoid if dialect in PROBABILITIES else float
    for query, ranking in beir_folders.scores(tmp_path / "out").items():
        assert [name for name, _ in ranking] == [name for name, _ in expected[query]]
        assert [s for _, s in ranking] == pytest.approx([transform(s) for _, s in expected[query]])


def test_llama_cpp_has_no_way_to_cut_so_its_refusal_is_told(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ("--url", url, "--dialect", "llamacpp")
    folder = beir_folders.write(tmp_path / "short")
    assert main(beir_folders.command(folder, folder / "out", *server)) == 0
    folder = beir_folders.write(tmp_path / "long", beir_folders.DOCUMENTS | LONG)
    assert main(beir_folders.command(folder, folder / "out", *server)) == 2
    assert "/v1/reranking answered 400: " in (told := capsys.readouterr().err)
    assert "input is too large to process" in told


def answered(url: str, dialect: str) -> int:
    """Requests answered with 200 in a dialect so far, by the server's own count."""
    lines = httpx2.get(f"{url}/metrics").text.splitlines()
    mine = [line for line in lines if line.startswith("crossrank_requests_total{")]
    found = [line for line in mine if f'dialect="{dialect}"' in line and 'code="200"' in line]
    return sum(int(float(line.split()[-1])) for line in found)


def test_what_was_scored_by_another_server_or_dialect_is_refused(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = beir_folders.write(tmp_path / "data"), tmp_path / "out"
    assert main(beir_folders.command(folder, output, "--url", url)) == 0
    asked = answered(url, "nim")
    assert main(beir_folders.command(folder, output, "--url", url, "--dialect", "tei")) == 2
    assert "with dialect nim, this run has dialect tei" in capsys.readouterr().err
    assert main(beir_folders.command(folder, output, "--url", f"{url}/")) == 0
    assert answered(url, "nim") == asked


def remote(
    answers: list[httpx2.Response], dialect: str = "nim"
) -> tuple[Remote, list[httpx2.Request], list[float]]:
    """A ranker whose server gives these answers in turn, what it was sent, and its pauses."""
    left, sent, pauses = iter(answers), list[httpx2.Request](), list[float]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return next(left)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    return Remote(client, Server("http://peer", dialect, "m"), pause=pause), sent, pauses


GOOD = httpx2.Response(200, json={"rankings": [{"index": 1, "logit": 2}, {"index": 0, "logit": 1}]})


@pytest.mark.anyio
async def test_a_full_server_is_asked_again_after_the_time_it_gives() -> None:
    full = [
        httpx2.Response(429, headers={"Retry-After": "7"}),
        httpx2.Response(503),
        httpx2.Response(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    ]
    ranker, sent, pauses = remote([*full, GOOD])
    assert await ranker.rank("q", ["a", "b"]) == [Scored(1, 2.0), Scored(0, 1.0)]
    assert pauses == [7.0, 2.0, 4.0]
    assert len({request.content for request in sent}) == 1
    assert json.loads(sent[0].content) == {
        "model": "m",
        "query": {"text": "q"},
        "passages": [{"text": "a"}, {"text": "b"}],
        "truncate": "END",
    }


@pytest.mark.anyio
async def test_a_server_that_stays_full_is_given_up() -> None:
    ranker, sent, pauses = remote([httpx2.Response(503, text="busy\n\x1b[0m")] * 20)
    with pytest.raises(EvaluationError, match=r"was asked 20 times, at last 503: busy \\x1b\[0m"):
        await ranker.rank("q", ["a"])
    assert len(sent) == 20
    assert len(pauses) == 19  # none behind the last
    assert max(pauses) == 30


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("dialect", "answer", "reason"),
    [
        ("nim", httpx2.Response(422, text="too many"), "/v1/ranking answered 422: too many"),
        ("nim", httpx2.Response(200, text="<html>"), "not as nim does: choose another --dialect"),
        ("cohere", httpx2.Response(200, json=[]), "not as cohere does"),
        ("tei", httpx2.Response(200, json={"results": []}), "not as tei does"),
        ("voyage", httpx2.Response(200, json={"data": [{"index": 0}]}), "not as voyage does"),
        ("nim", httpx2.Response(200, json={"rankings": []}), "ranked 0 of 2 documents"),
        (
            "tei",
            httpx2.Response(200, json=[{"index": 0, "score": 1}] * 2),
            "ranked 2 of 2 documents: each must come back once",
        ),
    ],
)
async def test_an_answer_that_is_no_ranking_is_told_at_once(
    dialect: str, answer: httpx2.Response, reason: str
) -> None:
    ranker, sent, _ = remote([answer], dialect)
    with pytest.raises(EvaluationError) as told:
        await ranker.rank("q", ["a", "b"])
    assert reason in str(told.value)
    assert len(sent) == 1


@pytest.mark.anyio
async def test_a_text_that_cannot_be_sent_is_told() -> None:
    ranker, sent, _ = remote([])
    with pytest.raises(EvaluationError, match="a query cannot be asked in nim: "):
        await ranker.rank("q", ["\ud800"])
    assert sent == []


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "localhost:8000", "http://[", "ftp://x"])
async def test_an_address_where_nothing_answers_is_refused_at_once(url: str) -> None:
    with pytest.raises(EvaluationError, match="give the address of one that runs"):
        async with opened(Server(url, "nim"), {}):
            pass


@pytest.mark.anyio
async def test_a_score_server_answers_in_the_request_s_order_and_is_sorted() -> None:
    items = [{"index": i, "score": score} for i, score in enumerate([0.5, 2.0, 0.5])]
    ranker, _, _ = remote([httpx2.Response(200, json={"data": items})], "score")
    assert [item.index for item in await ranker.rank("q", ["a", "b", "c"])] == [1, 0, 2]
