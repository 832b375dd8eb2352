"""NIM's names for our settings: each means what it says, newest generation first, ours above."""

import os
from pathlib import Path

import pytest

from app import nim_environment, settings
from engine.errors import StartError

MEANING = [
    ({"NIM_SERVER_BIND_ADDR": "127.0.0.1:9000"}, {"host": "127.0.0.1", "port": 9000}),
    ({"NIM_BIND_ADDR": "[::1]:9000"}, {"host": "::1", "port": 9000}),
    ({"NIM_HTTP_API_PORT": "9000"}, {"port": 9000}),
    ({"NIM_SERVER_PORT": "9000"}, {"port": 9000}),
    ({"NIM_SERVED_MODEL_NAME": "a/b"}, {"model_name": "a/b", "model_aliases": ()}),
    (
        {"NIM_SERVER_SERVED_MODEL_NAME": "a/b, c,d"},
        {"model_name": "a/b", "model_aliases": ("c", "d")},
    ),
    ({"NIM_CACHE_PATH": "/store"}, {"cache_dir": Path("/store")}),
    ({"NIM_ENGINE_MODEL_NAME": "org/model"}, {"checkpoint": "org/model"}),
    ({"NIM_ENGINE_MODEL_PATH": "/empty"}, {"cache_dir": Path("/empty")}),
    ({"NIM_ENGINE_MODEL_DOWNLOAD_ONLY": "1"}, {"download_only": True}),
    ({"NIM_SERVER_MAX_QUEUE_SIZE": "64"}, {"max_queue_requests": 64}),
    ({"NIM_REQUEST_TIMEOUT_S": "30"}, {"request_timeout_seconds": 30.0}),
    ({"NIM_HTTP_BODY_LIMIT_BYTES": "4096"}, {"max_body_bytes": 4096}),
    ({"NIM_TLS_CERT_PATH": "/c"}, {"tls_cert": Path("/c")}),
    ({"NIM_TLS_KEY_PATH": "/k"}, {"tls_key": Path("/k")}),
    ({"NIM_TRITON_MAX_SEQ_LENGTH": "512"}, {"max_pair_tokens": 512}),
    ({"NIM_NUM_TOKENIZERS": "3"}, {"tokenizer_threads": 3}),
    ({"LOG_FORMAT": "Pretty"}, {"log_format": "text"}),
    ({"LOG_FORMAT": "json"}, {"log_format": "json"}),
    ({"NIM_JSONL_LOGGING": "1"}, {"log_format": "json"}),
    ({"NIM_JSONL_LOGGING": "false"}, {"log_format": "text"}),
    ({"NIM_LOG_LEVEL": "CRITICAL"}, {"log_level": "error"}),
    ({"RUST_LOG": "tower=off,warn"}, {"log_level": "warning"}),
    ({"RUST_LOG": "tower=off"}, {"log_level": "info"}),
    ({"SHOW_CONFIG": "true"}, {"show_config": True}),
    # newest generation first
    ({"NIM_SERVER_BIND_ADDR": "0.0.0.0:1", "NIM_BIND_ADDR": "0.0.0.0:2"}, {"port": 1}),
    ({"NIM_BIND_ADDR": "0.0.0.0:2", "NIM_HTTP_API_PORT": "3"}, {"port": 2}),
    ({"RUST_LOG": "error", "NIM_LOG_LEVEL": "DEBUG"}, {"log_level": "error"}),
    ({"LOG_FORMAT": "compact", "NIM_JSONL_LOGGING": "1"}, {"log_format": "text"}),
    # ours above all
    ({"CROSSRANK_PORT": "4", "NIM_SERVER_BIND_ADDR": "h:1"}, {"port": 4, "host": "h"}),
    # a chart's empty value is no value
    ({"NIM_SERVER_BIND_ADDR": "", "NIM_HTTP_API_PORT": "5"}, {"port": 5}),
]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("CROSSRANK_", "NIM_", "NGC_", "RUST_", "LOG_", "OTEL_", "SHOW_")):
            monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> settings.Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return settings.load()


@pytest.mark.parametrize(
    ("environment", "expected"),
    MEANING,
    ids=lambda given: ",".join(f"{k}={v}" for k, v in given.items()),
)
def test_the_name_means_what_it_says(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: dict[str, object]
) -> None:
    loaded = load(monkeypatch, environment)
    assert {name: getattr(loaded, name) for name in expected} == expected


def test_every_name_is_covered_here() -> None:
    covered = {name for environment, _ in MEANING for name in environment}
    newest = {names[0] for names, _ in nim_environment.TABLE}
    assert {name.replace("_SERVER", "").replace("_ENGINE", "") for name in newest} <= {
        name.replace("_SERVER", "").replace("_ENGINE", "") for name in covered
    }


def test_a_model_path_with_a_model_is_served_and_another_is_where_it_is_kept(
    monkeypatch: pytest.MonkeyPatch, bert_folder: Path
) -> None:
    loaded = load(monkeypatch, {"NIM_ENGINE_MODEL_PATH": str(bert_folder)})
    assert (loaded.checkpoint, loaded.cache_dir) == (str(bert_folder), None)


def test_a_bad_value_is_refused_under_the_name_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StartError, match=r"^NIM_HTTP_API_PORT: "):
        load(monkeypatch, {"NIM_HTTP_API_PORT": "http"})


def test_names_without_a_meaning_are_ignored_and_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    meaningless = {"NIM_MODEL_PROFILE": "x", "NGC_API_KEY": "k", "NIM_TRITON_LOG_VERBOSE": "1"}
    load(monkeypatch, meaningless | {"NIM_HTTP_API_PORT": "1"})
    assert settings.ignored() == sorted(meaningless)


def test_opentelemetry_is_told_what_nim_s_names_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    named = {
        "NIM_OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "NIM_OTEL_SERVICE_NAME": "nims",
    }
    assert nim_environment.otel(named) == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_SERVICE_NAME": "nims",
    }
    assert nim_environment.otel({"NIM_ENABLE_OTEL": "0"}) == {"OTEL_SDK_DISABLED": "true"}
