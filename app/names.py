"""Which model names a request may use for the one model that is served."""

from collections.abc import Iterable
from dataclasses import dataclass

from engine.errors import RequestError

# Names of one and the same model before and after NVIDIA's renaming (NIM 1.10 release notes).
_RENAMED = (
    ("nvidia/llama-nemotron-rerank-1b-v2", "nvidia/llama-3.2-nv-rerankqa-1b-v2"),
    ("nvidia/llama-nemotron-rerank-500m-v2", "nvidia/llama-3.2-nemoretriever-500m-rerank-v2"),
)


class UnknownModelError(RequestError):
    """The request names a model that is not served here."""


@dataclass(frozen=True, slots=True)
class ServedNames:
    """The canonical name and its aliases."""

    canonical: str
    aliases: tuple[str, ...]

    @classmethod
    def of(cls, canonical: str, aliases: Iterable[str] = ()) -> "ServedNames":
        """The names for a model, with the known old and new ones, each once."""
        renamed = [n for group in _RENAMED if canonical in group for n in group]
        others = dict.fromkeys([*renamed, *aliases])
        return cls(canonical, tuple(name for name in others if name != canonical))

    def check(self, name: str | None) -> None:
        """Accept no name, a served name, or one with "_" for "." as hosted paths spell it.

        Raises UnknownModelError, naming what is served.
        """
        served = (self.canonical, *self.aliases)
        if name is None or name in served or name in {n.replace(".", "_") for n in served}:
            return
        raise UnknownModelError(
            f"this model is not served here: use {' or '.join(served)}, or leave model out"
        )
