"""Shows every setting: its name, its value now, and what it means. Secrets stay secret."""

import sys

from pydantic import SecretStr

from app import settings as configuration


def config(settings: configuration.Settings) -> int:
    """One setting and its sentence after another, as NIM's SHOW_CONFIG does."""
    names = {field: configuration.variable(field) for field in type(settings).model_fields}
    width = max(map(len, names.values()))
    lines = []
    for field, name in names.items():
        lines.append(f"{name:{width}}  {_shown(getattr(settings, field))}")
        lines.append(f"{'':{width}}  # {type(settings).model_fields[field].description}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _shown(value: object) -> str:
    if value in (None, (), ""):
        return "(unset)"
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() else "(unset)"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
