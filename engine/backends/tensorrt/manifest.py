"""What a plan was made from and for, kept beside it: no plan is run where it does not fit."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from engine.architectures.scaled import Scales
from engine.backends.tensorrt.profiles import Profile
from engine.errors import StartError

# Of the network's definition, inputs and outputs: raised when older plans would not do.
NETWORK = 1
MANIFEST, PLAN = "manifest.json", "plan.engine"


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything a plan depends on: plans of one identity are interchangeable.

    checkpoint, scales: sha256. compute_capability: such as "9.0".
    """

    checkpoint: str
    runtime: str
    version: str
    compute_capability: str
    dtype: str
    profiles: tuple[Profile, ...]
    scales: str = ""
    network: int = NETWORK

    @property
    def key(self) -> str:
        """A name for a folder."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:24]

    def differences(self, wanted: "Identity", ignore: Iterable[str] = ()) -> list[str]:
        """Where this identity is not the wanted one, both values named."""
        skipped = set(ignore)
        pairs = [
            (field.name, getattr(self, field.name), getattr(wanted, field.name))
            for field in fields(self)
            if field.name not in skipped
        ]
        return [
            f"its {name.replace('_', ' ')} is {_shown(mine)}, wanted is {_shown(other)}"
            for name, mine, other in pairs
            if mine != other
        ]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A plan's identity, the file's size and hash, and what the compiler reported.

    fused_attention, attention_layers: how many of how many attention layers run as one kernel.
    layers: the first profile's, as the compiler named them. activation_bytes: device memory beside
    the plan's own.
    """

    name: str
    identity: Identity
    plan_bytes: int
    plan_sha256: str
    activation_bytes: int
    fused_attention: int
    attention_layers: int
    layers: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Beside the plan."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Raises StartError where there is none, or it is not one."""
        try:
            raw = json.loads((folder / MANIFEST).read_bytes())
            identity = raw.pop("identity")
            profiles = tuple(Profile(**profile) for profile in identity.pop("profiles"))
            layers = tuple(raw.pop("layers"))
            return cls(identity=Identity(profiles=profiles, **identity), layers=layers, **raw)
        except FileNotFoundError as error:
            raise StartError(f"{folder} has no {MANIFEST}: it is not a plan") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StartError(f"{folder / MANIFEST} cannot be read: build the plan again") from error

    def verify(self, folder: Path) -> None:
        """Raise StartError where the plan file is not the one that was written."""
        path = folder / PLAN
        found = path.stat().st_size if path.is_file() else 0
        if found != self.plan_bytes:
            raise StartError(
                f"{path} has {found} bytes, but {self.plan_bytes} were written: build it again"
            )
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.plan_sha256:
            raise StartError(
                f"{path} has sha256 {digest}, but {self.plan_sha256} was written: build it again"
            )


def scales_digest(scales: Scales | None) -> str:
    """sha256 of FP8 scales; empty without."""
    if not scales:
        return ""
    return hashlib.sha256(json.dumps(sorted(scales.items())).encode()).hexdigest()


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
