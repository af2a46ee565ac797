from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tui_study import write_study
from tui_support import Engine, card, hello, totals

from auditors.feed import Cards
from store.store import Store

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    server = Engine(tmp_path / "s")
    server.first = [hello(), totals(), Cards([card(index) for index in range(30)])]
    return server


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def study_store(tmp_path: Path) -> Store:
    store = Store.create(tmp_path / "store")
    write_study(store)
    return store
