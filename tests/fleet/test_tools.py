"""A missing tool skips its test, and fails it where all tools are required."""

import pytest

from tests.fleet.tools import tool

pytestmark = pytest.mark.fleet


@pytest.mark.parametrize(
    ("required", "end"), [("", pytest.skip.Exception), ("required", pytest.fail.Exception)]
)
def test_what_a_missing_tool_does(
    monkeypatch: pytest.MonkeyPatch, required: str, end: type[BaseException]
) -> None:
    monkeypatch.setenv("FLEET_TOOLS", required)
    with pytest.raises(end, match=r"needs no-such-tool \(nobody's package\)"):
        tool("no-such-tool", "nobody's package")
