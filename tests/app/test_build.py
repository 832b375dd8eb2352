"""`crossrank build`: the folder on standard output, progress and errors on standard error."""

from pathlib import Path

import pytest

from app.__main__ import main
from app.commands.progress import Bar
from engine.backends.tensorrt import library
from engine.backends.tensorrt.manifest import Manifest
from tests.engine.test_tensorrt_compile import RUNTIME


@pytest.mark.skipif(
    not library.installed(RUNTIME), reason=f"{RUNTIME} is not installed (it is in the dev extra)"
)
def test_a_plan_is_built_where_it_was_asked_for(
    xlmr_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ["--runtime", RUNTIME, "--compute-capability", "8.9", "--dtype", "fp16"]
    output = tmp_path / "plan"
    boxes = ["--profiles", "1x512,4x128", "--output", str(output)]
    status = main(["build", "--checkpoint", str(xlmr_folder), *target, *boxes])
    out, err = capsys.readouterr()
    assert (status, out) == (0, f"{output}\n")
    assert "building: 100 %" in err
    identity = Manifest.read(output).identity
    assert (identity.compute_capability, identity.dtype) == ("8.9", "fp16")


@pytest.mark.skipif(library.driver_present(), reason="there is a GPU to build for")
def test_without_a_gpu_the_command_says_what_to_add(
    xlmr_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["build", "--checkpoint", str(xlmr_folder), "--runtime", RUNTIME])
    assert status == 2
    assert "say which one to build for (--compute-capability)" in capsys.readouterr().err


class Terminal:
    """Keeps what is written."""

    def __init__(self, terminal: bool) -> None:
        self.text, self._terminal = "", terminal

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...


@pytest.mark.parametrize(("terminal", "lines"), [(True, 1), (False, 11)])
def test_progress_is_one_line_on_a_terminal_and_a_few_in_a_log(terminal: bool, lines: int) -> None:
    out = Terminal(terminal)
    bar = Bar(out, "building")  # type: ignore[arg-type]
    for number in range(1001):
        bar.tell(number / 1000, "phase")
    bar.end()
    assert out.text.count("\n") == lines
    assert "100 %" in out.text
