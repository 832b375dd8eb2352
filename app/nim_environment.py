"""What NIM 1.x, 2.0 and 2.3 call our settings: the table of names, newest generation first.

Knows names and values, never the environment itself: app/settings.py reads that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Fields = Mapping[str, str]

_LEVELS = {"trace": "debug", "warn": "warning", "critical": "error", "off": "error"}
_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Given:
    """A setting's value, and the name it was given under."""

    value: str
    name: str


def _as(field: str) -> Callable[[str], Fields]:
    return lambda value: {field: value}


def _address(value: str) -> Fields:
    host, _, port = value.rpartition(":")
    return {"host": host.strip("[]") or value, "port": port} if host else {"port": port}


def _names(value: str) -> Fields:
    first, _, others = value.partition(",")
    return {"model_name": first.strip(), "model_aliases": others}


def _folder(value: str) -> Fields:
    """The folder of a model; one that holds none yet is where downloads are kept."""
    has_model = (Path(value) / "config.json").is_file()
    return {"checkpoint": value} if has_model else {"cache_dir": value}


def _format(value: str) -> Fields:
    return {"log_format": "json" if value.lower() == "json" else "text"}


def _jsonl(value: str) -> Fields:
    return {"log_format": "json" if value.lower() in _TRUE else "text"}


def _level(value: str) -> Fields:
    """RUST_LOG also holds levels for single modules, as in `info,tower=warn`."""
    whole = [part.strip().lower() for part in value.split(",") if "=" not in part]
    return {"log_level": _LEVELS.get(whole[0], whole[0])} if whole else {}


# Newest generation first: the first name that is given decides.
TABLE: tuple[tuple[tuple[str, ...], Callable[[str], Fields]], ...] = (
    (("NIM_SERVER_BIND_ADDR", "NIM_BIND_ADDR"), _address),
    (("NIM_SERVER_PORT", "NIM_HTTP_API_PORT"), _as("port")),
    (("NIM_SERVER_SERVED_MODEL_NAME", "NIM_SERVED_MODEL_NAME"), _names),
    (("NIM_ENGINE_MODEL_PATH", "NIM_MODEL_PATH"), _folder),
    (("NIM_ENGINE_MODEL_NAME",), _as("checkpoint")),
    (("NIM_CACHE_PATH",), _as("cache_dir")),
    (("NIM_ENGINE_MODEL_DOWNLOAD_ONLY", "NIM_MODEL_DOWNLOAD_ONLY"), _as("download_only")),
    (("NIM_SERVER_MAX_QUEUE_SIZE", "NIM_MAX_QUEUE_SIZE"), _as("max_queue_requests")),
    (("NIM_SERVER_REQUEST_TIMEOUT_S", "NIM_REQUEST_TIMEOUT_S"), _as("request_timeout_seconds")),
    (("NIM_SERVER_HTTP_BODY_LIMIT_BYTES", "NIM_HTTP_BODY_LIMIT_BYTES"), _as("max_body_bytes")),
    (("NIM_TLS_CERT_PATH",), _as("tls_cert")),
    (("NIM_TLS_KEY_PATH",), _as("tls_key")),
    (("NIM_TRITON_MAX_SEQ_LENGTH",), _as("max_pair_tokens")),
    (("NIM_NUM_TOKENIZERS",), _as("tokenizer_threads")),
    (("LOG_FORMAT",), _format),
    (("NIM_JSONL_LOGGING", "NIM_LOGGING_JSONL"), _jsonl),
    (("RUST_LOG", "NIM_LOG_LEVEL"), _level),
    (("SHOW_CONFIG",), _as("show_config")),
)
# OpenTelemetry's SDK reads its own names; these are NIM's for them.
OTEL = {
    "NIM_OTEL_SERVICE_NAME": "OTEL_SERVICE_NAME",
    "NIM_OTEL_TRACES_EXPORTER": "OTEL_TRACES_EXPORTER",
    "NIM_OTEL_METRICS_EXPORTER": "OTEL_METRICS_EXPORTER",
    "NIM_OTEL_EXPORTER_OTLP_ENDPOINT": "OTEL_EXPORTER_OTLP_ENDPOINT",
}
_OURS = ("NIM_", "NGC_")


def fields(environment: Mapping[str, str]) -> dict[str, Given]:
    """The settings that NIM's names give, by field, each with the name that decided."""
    found: dict[str, Given] = {}
    for names, read in TABLE:
        name = next((name for name in names if environment.get(name)), None)
        for field, value in read(environment[name]).items() if name else ():
            if value:
                found.setdefault(field, Given(value, str(name)))
    return found


def otel(environment: Mapping[str, str]) -> dict[str, str]:
    """OpenTelemetry's own names for what NIM's names ask for."""
    found = {ours: environment[name] for name, ours in OTEL.items() if environment.get(name)}
    if environment.get("NIM_ENABLE_OTEL", "1").lower() not in _TRUE:
        found["OTEL_SDK_DISABLED"] = "true"
    return found


def ignored(environment: Mapping[str, str]) -> list[str]:
    """NIM's and NGC's names that are set and mean nothing here."""
    known = {name for names, _ in TABLE for name in names} | set(OTEL) | {"NIM_ENABLE_OTEL"}
    return sorted(name for name in environment if name.startswith(_OURS) and name not in known)
