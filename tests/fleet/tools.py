"""Finds the operators' tools, or skips the test that needs one."""

import os
import shutil

import pytest


def tool(name: str, package: str) -> str:
    """The path of a tool. Without it the test is skipped, or fails where FLEET_TOOLS=required."""
    found = shutil.which(name, path=None) or shutil.which(name, path="/usr/sbin")
    if found is None:
        end = pytest.fail if os.environ.get("FLEET_TOOLS") == "required" else pytest.skip
        end(f"needs {name} ({package})")
    return found
