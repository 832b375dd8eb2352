"""What the server process does around the app."""

import gc
from pathlib import Path

import pytest

from app.main import create_app
from app.server import freeze_heap
from tests.app.serving import settings

pytestmark = pytest.mark.anyio


async def test_the_loaded_model_is_no_work_for_the_garbage_collector(bert_folder: Path) -> None:
    app = create_app(settings(bert_folder, backend="fake"))
    async with app.router.lifespan_context(app):
        try:
            await freeze_heap(app.state.service)
            assert gc.get_freeze_count() > len(gc.get_objects())
        finally:
            gc.unfreeze()
