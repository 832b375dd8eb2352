"""The playground at `/`, as a browser shows it; skipped where there is no Chromium."""

import json
import re
import shlex
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app import dialects
from app.main import create_app
from loadtests.process import crossrank, post, url_when_ready
from tests.app.serving import Client, serving, settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
AWKWARD = ['it\'s "quoted" \\ and $HOME', "brød & <b>bread</b>", "plain"]


@pytest.fixture
async def client(bert_folder: Path) -> AsyncIterator[Client]:
    config = settings(bert_folder, backend="fake", api_keys="secret")
    async with serving(create_app(config)) as client:
        yield client


@pytest.mark.anyio
async def test_the_page_is_served_without_a_key_and_may_ask_nobody_else(client: Client) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"(https?:)?//[a-z]", page.text)
    assert (await client.get("/v1/models")).status_code == 401


@pytest.fixture(scope="module")
def url(bert_folder: Path) -> Iterator[str]:
    with crossrank(CROSSRANK_CHECKPOINT=str(bert_folder), CROSSRANK_BACKEND="fake") as process:
        yield url_when_ready(process)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(browser: Any, url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, loaded; it may ask for nothing that is not here, nor fail in its script."""
    page = browser.new_page(color_scheme=request.param)
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(f"{url}/")
    page.wait_for_selector("#curl:not(:empty)")
    yield page
    page.close()
    assert {address for address in asked if not address.startswith((url, "data:"))} == set()
    assert failed == []


def logits(page: Any) -> list[float]:
    shown = page.eval_on_selector_all("#results .score", "all => all.map(e => e.firstChild.data)")
    return [float(text.replace("−", "-")) for text in shown]


def test_a_ranking_appears_with_bars_tokens_and_time(page: Any, url: str) -> None:
    page.click("#rank")
    page.wait_for_selector("#results li")
    texts = page.input_value("#passages").split("\n")
    body = {
        "query": {"text": page.input_value("#query")},
        "passages": [{"text": text} for text in texts],
    }
    answer: Any = post(f"{url}/v1/ranking", body)
    assert page.locator("#results .text").all_inner_texts() == [
        texts[item["index"]] for item in answer["rankings"]
    ]
    assert logits(page) == [round(item["logit"], 3) for item in answer["rankings"]]
    widths = page.eval_on_selector_all("#results .bar", "all => all.map(e => e.offsetWidth)")
    assert all(width >= 3 for width in widths)
    tokens = answer["usage"]["total_tokens"]
    assert re.fullmatch(rf"{tokens} tokens · \d+ ms · \d+ ms in the server", facts(page))


def facts(page: Any) -> str:
    text: str = page.inner_text("#facts")
    return text


def test_the_keyboard_is_enough(page: Any) -> None:
    page.keyboard.press("Tab")  # the link
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("why rain")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("rain falls\nstone")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#results li")
    assert page.locator("#results li").count() == 2
    focus = []
    for _ in range(6):
        page.keyboard.press("Tab")
        focus.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert focus == ["cut", "SUMMARY", "rank", "dialect", "copy", "curl"]


@pytest.mark.parametrize(
    ("passages", "reason"),
    [
        ("", "passages: must hold at least one item"),
        ('["a", 5]', "Passage 2 of the JSON array is neither a string"),
        ("x " * 5000, "exceeds maximum allowed token size"),
    ],
)
def test_bad_input_is_answered_with_a_reason(page: Any, passages: str, reason: str) -> None:
    page.click("#rank")
    page.wait_for_selector("#results li")
    page.fill("#passages", passages)
    page.uncheck("#cut")
    page.click("#rank")
    page.wait_for_selector("#error:visible")
    assert reason in page.inner_text("[role=alert]")
    assert page.locator("#results li").count() == 0
    page.fill("#passages", '["a", {"text": "b"}]')
    page.click("#rank")
    page.wait_for_selector("#results li")
    assert page.is_hidden("#error")


def test_the_curl_of_every_dialect_is_one_that_works(page: Any) -> None:
    page.fill("#passages", json.dumps(AWKWARD))
    labels = page.locator("#dialect option").all_inner_texts()
    assert {tag for module in dialects.load().values() for tag in module.router.tags} == {
        label.partition(" — ")[0] for label in labels
    }
    for label in labels:
        page.select_option("#dialect", label=label)
        command = shlex.split(page.inner_text("#curl").replace("\\\n", " "))
        assert command[:2] == ["curl", "-s"]
        body = json.loads(command[-1])
        assert command[2].endswith(label.partition("POST ")[2])
        answer = post(command[2], body)
        assert answer, label
        assert AWKWARD[0] in json.dumps(body, ensure_ascii=False).replace('\\"', '"').replace(
            "\\\\", "\\"
        )


def test_everything_has_a_name_and_enough_contrast(page: Any) -> None:
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, textarea, select')]"
        ".filter(e => !e.labels.length && !e.ariaLabel).map(e => e.id)"
    )
    assert unnamed == []
    colours = page.evaluate(
        "(() => { const s = getComputedStyle(document.documentElement); return Object.fromEntries("
        "['card','ink','quiet','accent','on-accent','alarm','alarm-page','code','page']"
        ".map(n => [n, s.getPropertyValue('--' + n).trim()])); })()"
    )
    for front, back in [
        ("ink", "card"), ("quiet", "card"), ("quiet", "page"), ("accent", "page"), ("ink", "code"),
        ("accent", "card"), ("on-accent", "accent"), ("alarm", "alarm-page"),
    ]:  # fmt: skip
        assert contrast(colours[front], colours[back]) >= 4.5, (front, back)


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours, as #rrggbb."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
