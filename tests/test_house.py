"""The house rules: imports keep their direction, and the README says what the code does."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr

from app import dialects, nim_environment
from app.main import create_app
from app.settings import SHIPPED_CHECKPOINT, Settings, variable
from engine import families
from engine.backends import __path__ as backends_path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
HEAVY = {"torch", "transformers", "tensorrt"}
MAY_IMPORT_TORCH = {
    "engine/backends/torch/",
    "engine/backends/tensorrt/",
    "engine/architectures/",
    "engine/gpu.py",
    "engine/quantization/",
}


def sources(folder: str) -> Iterator[tuple[str, set[str]]]:
    """Every source file below a folder, and the top-level packages it imports."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield str(path.relative_to(ROOT)), set(_imports(ast.parse(path.read_text())))


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_the_engine_knows_nothing_of_http() -> None:
    for path, imported in sources("engine"):
        assert not imported & {"app", "fastapi", "starlette", "uvicorn", "pydantic"}, path


def test_the_http_layer_knows_nothing_of_tensors() -> None:
    for path, imported in sources("app"):
        assert not imported & (HEAVY | {"numpy", "tokenizers", "safetensors"}), path


def test_heavy_imports_live_in_the_file_that_needs_them() -> None:
    for path, imported in sources("engine"):
        if not path.startswith(tuple(MAY_IMPORT_TORCH)):
            assert not imported & HEAVY, path


def test_only_the_settings_read_the_environment() -> None:
    for path, _ in (*sources("app"), *sources("engine")):
        if path != "app/settings.py":
            assert not re.search(r"os\.(environ\[[^]]+\](?! =)|environ\.get|getenv)", text(path)), (
                path
            )


def test_every_file_says_what_it_is_for() -> None:
    for folder in ("app", "engine", "tests"):
        for path, _ in sources(folder):
            tree = ast.parse(text(path))
            assert ast.get_docstring(tree) or not tree.body, path


def text(path: str) -> str:
    return (ROOT / path).read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the README."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_settings_table_is_the_settings() -> None:
    documented = {
        name.strip("`"): (default, sentence) for name, default, sentence in rows("Settings")
    }
    assert documented == {
        variable(name): (_shown(field.default), field.description)
        for name, field in Settings.model_fields.items()
    }


def _shown(default: object) -> str:
    if default == str(SHIPPED_CHECKPOINT):
        return "`models/mini`"
    return "" if default in (None, (), "") or isinstance(default, SecretStr) else f"`{default}`"


def test_the_endpoint_table_is_the_endpoints() -> None:
    documented = {cell for row in rows("Endpoints") for cell in re.findall(r"`(\S+ \S+)`", row[0])}
    app = create_app(Settings(backend="fake"))
    served = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert documented == served | {"GET /docs", "GET /openapi.json"}


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_is_documented_exists(file: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text(file))) <= targets


def test_every_path_that_the_documents_name_exists() -> None:
    for file in ("README.md", "CONTRIBUTING.md"):
        named = re.findall(r"`((?:app|engine|models|tests|docker|loadtests)/[\w./]*)`", text(file))
        assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_family_and_backend_is_named_in_the_contributing_guide() -> None:
    guide = text("CONTRIBUTING.md")
    for package in (families.__path__, backends_path):
        assert all(str(Path(folder).relative_to(ROOT)) in guide for folder in package)


def test_the_dialect_table_is_the_dialects() -> None:
    table = {row[0]: row for row in rows("Dialects")}
    loaded = {str(module.router.tags[0]): module for module in dialects.load().values()}
    assert table.keys() == loaded.keys()
    for tag, module in loaded.items():
        served = {
            route.path
            for route in module.router.routes
            if isinstance(route, APIRoute) and "POST" in (route.methods or ())
        }
        assert set(re.findall(r"`([^`]+)`", table[tag][1])) == served
        named = re.findall(r"`([^`]+)`", table[tag][5])
        assert named == list(module.error_body(422, "")), tag
        claims = {field for fields in module.CLAIMS.values() for field in fields}
        assert claims <= set(re.findall(r"`([^`]+)`", table[tag][2])), tag


def test_the_table_of_nim_s_names_is_the_one_the_settings_use() -> None:
    documented = {
        tuple(re.findall(r"`([^`]+)`", names)): set(re.findall(r"`(CROSSRANK_\w+)`", here))
        for names, here in rows("Coming from a NIM")
    }
    assert list(documented) == [names for names, _ in nim_environment.TABLE]
    known = {variable(name) for name in Settings.model_fields}
    assert all(variables and variables <= known for variables in documented.values())


def test_the_python_example_of_the_readme_runs(tmp_path: Path, bert_folder: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    code = code.replace("models/mini", str(bert_folder))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert sorted(index for index, _ in ast.literal_eval(done.stdout)) == [0, 1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
