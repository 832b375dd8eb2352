"""Settings come from the environment once, and mistakes in it are named."""

import pytest

from app import settings
from engine.errors import StartError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (settings.variable(field) for field in settings.Settings.model_fields):
        monkeypatch.delenv(name, raising=False)


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> settings.Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return settings.load()


def test_defaults_serve_the_shipped_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch)
    assert loaded.port == 8000
    assert loaded.engine().checkpoint == str(settings.SHIPPED_CHECKPOINT)


def test_every_setting_reaches_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(
        monkeypatch,
        CROSSRANK_PORT="9000",
        CROSSRANK_MODEL_ALIASES="a/b, c/d,",
        CROSSRANK_CACHE_DIR="/cache",
        CROSSRANK_MAX_PAIR_TOKENS="256",
        CROSSRANK_DEVICES="0, 1",
        CROSSRANK_PLAN="/plans/mine",
        CROSSRANK_DTYPE="fp16",
        HF_TOKEN="hf_secret",
        HF_HUB_OFFLINE="1",
    )
    assert loaded.port == 9000
    assert loaded.model_aliases == ("a/b", "c/d")
    engine = loaded.engine()
    assert (str(engine.cache_dir), engine.max_pair_tokens) == ("/cache", 256)
    assert (engine.devices, str(engine.plan), engine.dtype) == ((0, 1), "/plans/mine", "fp16")
    assert (engine.hub_token, engine.offline) == ("hf_secret", True)


def test_our_name_wins_over_hugging_face_s(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(monkeypatch, CROSSRANK_HF_TOKEN="ours", HF_TOKEN="theirs")
    assert loaded.engine().hub_token == "ours"


def test_the_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hf_secret" not in repr(load(monkeypatch, HF_TOKEN="hf_secret"))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("CROSSRANK_PROT", "CROSSRANK_PORT"),
        ("CROSSRANK_BATCH_TOKENS", "CROSSRANK_MAX_BATCH_TOKENS"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, wrong: str, right: str
) -> None:
    with pytest.raises(StartError, match=f"{wrong} is not a setting: did you mean {right}"):
        load(monkeypatch, **{wrong: "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("CROSSRANK_PORT", "http"), ("CROSSRANK_PORT", "70000"), ("CROSSRANK_LOG_LEVEL", "loud")],
)
def test_a_bad_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with pytest.raises(StartError, match=name):
        load(monkeypatch, **{name: value})
