"""Whatever stands in the environment: settings, or one error that names the variable."""

import os
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from app import service_links, settings
from app.security import read_keys
from engine.backends import faulty
from engine.errors import StartError
from tests.app.test_mutations import fuzz

VARIABLES = [settings.variable(field) for field in settings.Settings.model_fields]
values = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    | st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(["true", "off", "json", "a,b", "{}", "[]", "null", " 1 ", "1e3", "٣"])
)


def test_there_is_something_to_fuzz() -> None:
    assert len(VARIABLES) > 20


@fuzz
@given(environment=st.dictionaries(st.sampled_from(VARIABLES), values, max_size=4))
def test_any_value_is_taken_or_refused_by_name(environment: dict[str, str]) -> None:
    with patch.dict(os.environ, environment, clear=True):
        try:
            loaded = settings.load()
        except StartError as error:
            assert any(name in str(error) for name in environment)  # noqa: PT017 - it may pass
        else:
            assert loaded.engine().checkpoint == environment.get(
                "CROSSRANK_CHECKPOINT", str(settings.SHIPPED_CHECKPOINT)
            )


@fuzz
@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0=")))
def test_any_unknown_name_is_refused_with_a_known_one(name: str) -> None:
    variable = settings.PREFIX + name
    with patch.dict(os.environ, {variable: "1"}, clear=True):
        try:
            settings.load()
        except StartError as error:
            assert "did you mean" in str(error) or variable.upper() in VARIABLES  # noqa: PT017
        else:
            assert variable.upper() in VARIABLES or service_links.found({variable: "1"})


@fuzz
@given(faults=values | st.from_regex(r"(error|nan|memory|stuck|x)=[-+.0-9einf]{1,6}(,|$)"))
def test_any_faults_are_taken_or_refused(faults: str) -> None:
    class Nothing:
        limits = None

    try:
        faulty.wrap(Nothing(), faults)  # type: ignore[arg-type]
    except StartError as error:
        assert "faults" in str(error)  # noqa: PT017


@fuzz
@given(listed=st.text())
def test_any_list_of_keys_gives_keys_without_blanks(listed: str) -> None:
    for key in read_keys(listed, None):
        assert key == key.strip() != ""
