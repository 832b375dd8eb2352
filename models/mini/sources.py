"""The training text: Debian packages under permissive licences or in the public domain.

Fetches and unpacks them into a work folder without installing anything.
"""

from __future__ import annotations

import logging
import subprocess
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    name: str
    package: str
    licence: str
    folder: str
    limit: int


SOURCES = (
    Source("wordnet", "wordnet-base", "WordNet 3.0", "usr/share/wordnet", 40_000),
    Source("python", "python3.11-doc", "PSF-2.0", "usr/share/doc/python3.11/html", 7_000),
    Source(
        "postgresql",
        "postgresql-doc-15",
        "PostgreSQL",
        "usr/share/doc/postgresql-doc-15/html",
        5_000,
    ),
    Source("sqlite", "sqlite3-doc", "public domain", "usr/share/doc/sqlite3", 4_000),
    Source(
        "django",
        "python-django-doc",
        "BSD-3-Clause",
        "usr/share/doc/python-django-doc/html",
        5_000,
    ),
    Source("apache", "apache2-doc", "Apache-2.0", "usr/share/doc/apache2-doc/manual/en", 4_000),
    Source("jargon", "dict-jargon", "public domain", "usr/share/dictd", 3_000),
)
# Never trained on: its lists show how the model does on a source it has not seen.
UNSEEN = "jargon"


def fetch(work: Path) -> None:
    """Puts every package's files under work/text/PACKAGE, once."""
    work = work.resolve()
    missing = [s for s in SOURCES if not (work / "text" / s.package).is_dir()]
    if not missing:
        return
    options = _own_package_lists(work / "apt")
    _run(["apt-get", *options, "-qq", "update"], work)
    for source in missing:
        log.info("fetching %s (%s)", source.package, source.licence)
        _run(["apt-get", *options, "-qq", "download", source.package], work / "apt")
        archive = next((work / "apt").glob(f"{source.package}_*.deb"))
        _run(["dpkg-deb", "-x", str(archive), str(work / "text" / source.package)], work)


def _own_package_lists(folder: Path) -> list[str]:
    """The system's own package lists may be replaced while we read them."""
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    (folder.parent / "text").mkdir(exist_ok=True)
    options = (
        f"Dir::State::Lists={folder / 'lists'}",
        f"Dir::Cache={folder}",
        "APT::Sandbox::User=root",
    )
    return [word for option in options for word in ("-o", option)]


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True)
