"""Every setting: its name, default, bounds and sentence. The only reader of the environment."""

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app import nim_environment, service_links
from engine.config import EngineConfig
from engine.errors import StartError

PREFIX = "CROSSRANK_"
SHIPPED_CHECKPOINT = Path(__file__).resolve().parent.parent / "models" / "mini"


class Settings(BaseSettings):
    """Read once, at start. Field names in capitals behind CROSSRANK_ are the variables' names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, populate_by_name=True)

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 - a service
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    checkpoint: str = Field(
        str(SHIPPED_CHECKPOINT),
        description="A folder, or a hub id such as `nvidia/llama-nemotron-rerank-1b-v2`.",
    )
    revision: str | None = Field(
        None, description="Commit, tag or branch on the hub. Known models are pinned to a commit."
    )
    model_name: str | None = Field(None, description="Name to serve under, instead of its own.")
    model_aliases: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Further accepted model names, separated by commas."
    )
    cache_dir: Path | None = Field(
        None, description="Where hub downloads are kept; else Hugging Face's own cache."
    )
    offline: bool = Field(
        False,
        validation_alias=AliasChoices(f"{PREFIX}OFFLINE", "HF_HUB_OFFLINE"),
        description="Never use the network. `HF_HUB_OFFLINE` is read too.",
    )
    hf_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices(f"{PREFIX}HF_TOKEN", "HF_TOKEN"),
        description="Token for gated or private models. `HF_TOKEN` is read too.",
    )
    backend: str = Field(
        "auto", description="`auto`, `tensorrt`, `torch`, or `fake` (meaningless scores)."
    )
    max_passages: int = Field(512, ge=1, description="Passages in one request.")
    max_body_bytes: int = Field(
        32 * 2**20, ge=1024, description="Bytes in one request body; more is answered with 413."
    )
    max_characters: int = Field(
        14_598_366, ge=1, description="Characters in one request, query and passages together."
    )
    max_queue_tokens: int = Field(
        1_048_576, ge=1, description="Tokens admitted at a time; a full queue refuses at once."
    )
    max_queue_requests: int = Field(
        1024, ge=1, description="Requests admitted at a time; a full queue refuses at once."
    )
    max_connections: int = Field(
        2048, ge=1, description="Open connections; more are answered with 503."
    )
    request_timeout_seconds: float = Field(
        120.0, gt=0, description="Time for one request; `X-Request-Timeout-Ms` can ask for less."
    )
    stuck_after_seconds: float = Field(
        300.0, gt=0, description="A batch that takes longer ends the process with an error."
    )
    dtype: Literal["auto", "bf16", "fp16", "fp8", "fp32", "int8"] = Field(
        "auto",
        description="Number format: `auto`, `bf16`, `fp16`, `fp8` (once calibrated) or `fp32` "
        "(torch only) on a GPU; `auto` (`fp32`), `bf16` or `int8` on a CPU that has it.",
    )
    plan: Path | None = Field(
        None,
        description="A TensorRT plan made by `crossrank build`; else one is built at first start.",
    )
    devices: Annotated[tuple[Annotated[int, Field(ge=0)], ...], NoDecode] = Field(
        (), description="GPUs to use, such as `0,1`; else the first."
    )
    max_pair_tokens: int | None = Field(
        None,
        ge=16,
        description="Tokens in one query/passage pair, to lower the checkpoint's limit.",
    )
    max_batch_tokens: int | None = Field(
        None, ge=16, description="Tokens in one batch; else the backend's choice."
    )
    tokenizer_threads: int | None = Field(
        None, ge=1, le=256, description="Tokenizer threads; else the CPUs at hand, 4 at most."
    )
    compute_threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads of the model; else the CPUs at hand."
    )
    compile: bool = Field(
        False, description="On a CPU: torch.compile's layers in the place of oneDNN's products."
    )
    lenient: bool = Field(
        False, description="NIM's dialect also takes `top_n`, `return_documents`, `priority`."
    )
    priority: bool = Field(
        False,
        description="A request's `priority` counts: 0 is first, each step takes a smaller share.",
    )
    report_truncated: bool = Field(
        False, description="Say for every result whether its pair was cut: `truncated`."
    )
    api_keys: SecretStr = Field(
        SecretStr(""), description="Accepted API keys, separated by commas; none: no key is asked."
    )
    api_key_file: Path | None = Field(None, description="A file with further API keys, one a line.")
    tls_cert: Path | None = Field(None, description="TLS certificate chain, PEM.")
    tls_key: Path | None = Field(None, description="TLS private key, PEM.")
    tls_client_ca: Path | None = Field(
        None, description="CA of the client certificates to require (mutual TLS), PEM."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Browser origins that may call, separated by commas; none by default."
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Serve the metrics on this port instead of the main one."
    )
    otel_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="Where to send OpenTelemetry traces and metrics (OTLP over HTTP); the other "
        "`OTEL_*` names hold too.",
    )
    faults: str = Field(
        "", description="Inject faults, to try them out: `error=0.01,memory=0.01,nan=0.01,seed=7`."
    )
    download_only: bool = Field(
        False, description="Fetch and verify the checkpoint, then exit instead of serving."
    )
    show_config: bool = Field(False, description="Show every setting, then exit.")
    shutdown_seconds: int = Field(
        30, ge=1, description="How long a stopping server waits for accepted requests."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="`debug`, `info`, `warning` or `error`."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text`, or `json` for one JSON object a line."
    )

    @field_validator("model_aliases", "cors_origins", "devices", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    def for_checkpoint(self, named: str | None) -> Self:
        """The same with another checkpoint, if one is named: the revision was not meant for it."""
        if not named:
            return self
        return self.model_copy(update={"checkpoint": named, "revision": None})

    def engine(self) -> EngineConfig:
        """What the engine is told."""
        return EngineConfig(
            checkpoint=self.checkpoint,
            revision=self.revision,
            hub_token=self.hf_token.get_secret_value() if self.hf_token else None,
            cache_dir=self.cache_dir,
            offline=self.offline,
            backend=self.backend,
            max_pair_tokens=self.max_pair_tokens,
            max_batch_tokens=self.max_batch_tokens,
            max_queue_tokens=self.max_queue_tokens,
            max_queue_requests=self.max_queue_requests,
            stuck_after_seconds=self.stuck_after_seconds,
            faults=self.faults,
            dtype=self.dtype,
            plan=self.plan,
            devices=self.devices,
            tokenizer_threads=self.tokenizer_threads,
            compute_threads=self.compute_threads,
            compile=self.compile,
        )


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment. Raises StartError for unknown names and for values out of bounds.

    NIM's names are read too; ours win, whatever they say. Kubernetes' service links are ignored.
    """
    links = linked(environment)
    _refuse_unknown(name for name in environment if name not in links)
    ours = {name.upper() for name, value in environment.items() if value and name not in links}
    given = {
        field: found
        for field, found in nim_environment.fields(environment).items()
        if variable(field) not in ours
    }
    for name, value in nim_environment.otel(environment).items():
        os.environ.setdefault(name, value)  # its SDK reads them there
    try:
        values: dict[str, Any] = {field: found.value for field, found in given.items()}
        return Settings(**_defaults(links) | values)
    except ValidationError as error:
        named = {field: found.name for field, found in given.items()}
        places = [(str(e["loc"][0]), e["msg"]) for e in error.errors()]
        problems = [f"{named.get(place) or _named(place)}: {message}" for place, message in places]
        raise StartError("; ".join(problems)) from error


def ignored(environment: Mapping[str, str] = os.environ) -> list[str]:
    """NIM's names in the environment that mean nothing here."""
    return nim_environment.ignored(environment)


def linked(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Kubernetes' service links in the environment, which look like settings and are ignored."""
    return service_links.found(environment)


def variable(field: str) -> str:
    """The environment variable of a field; the first where there are several."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else PREFIX + field.upper()


def _named(location: str) -> str:
    """pydantic names a field, or the variable it came from."""
    return variable(location) if location in Settings.model_fields else location


def _defaults(links: list[str]) -> dict[str, Any]:
    """Said outright for the settings whose names links have taken: pydantic would read those."""
    fields = Settings.model_fields
    return {name: field.default for name, field in fields.items() if variable(name) in links}


def _refuse_unknown(names: Iterable[str]) -> None:
    known = [variable(field) for field in Settings.model_fields]
    for name in names:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)[0]
            raise StartError(f"{name} is not a setting: did you mean {nearest}?")
