"""Finds the operators' tools, or skips the test that needs one."""

import shutil

import pytest


def tool(name: str, package: str) -> str:
    """The path of a tool; the test is skipped where it is not installed."""
    found = shutil.which(name, path=None) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"needs {name} ({package})")
    return found
