from __future__ import annotations

import string

import pytest

from cc_tui.app import CcTuiApp
from cc_tui.keymap import KEYS, TITLES, bindings, keys_of
from cc_tui.screens.adjudicate import AdjudicateScreen
from cc_tui.screens.branches import BranchTree, CompareScreen
from cc_tui.screens.dialogs import help_screen
from cc_tui.screens.editor import Editor
from cc_tui.screens.label import LabelScreen
from cc_tui.screens.live import LiveScreen
from cc_tui.screens.passage import Passage
from cc_tui.screens.picking import Arrange, Pick
from cc_tui.screens.reader import ReaderScreen
from cc_tui.screens.reveal import RevealScreen
from cc_tui.screens.run_control import RunControl
from cc_tui.screens.search import SearchScreen
from cc_tui.screens.sql import SqlScreen
from cc_tui.screens.stats import StatsScreen
from cc_tui.screens.steering import SteeringScreen
from cc_tui.screens.training import TrainingScreen
from cc_tui.screens.transcripts import TranscriptsScreen
from cc_tui.widgets.arrow_table import ArrowTable
from cc_tui.widgets.line_table import LineTable

OWNERS = {
    "app": CcTuiApp,
    "table": LineTable,
    "live": LiveScreen,
    "run": RunControl,
    "steer": SteeringScreen,
    "tree": BranchTree,
    "compare": CompareScreen,
    "editor": Editor,
    "transcripts": TranscriptsScreen,
    "reader": ReaderScreen,
    "label": LabelScreen,
    "reveal": RevealScreen,
    "adjudicate": AdjudicateScreen,
    "passage": Passage,
    "stats": StatsScreen,
    "training": TrainingScreen,
    "sql": SqlScreen,
    "hits": SearchScreen,
    "sideways": ArrowTable,
    "pick": Pick,
    "arrange": Arrange,
}
SCREENS = (
    LiveScreen,
    CompareScreen,
    TranscriptsScreen,
    ReaderScreen,
    LabelScreen,
    RevealScreen,
    AdjudicateScreen,
    StatsScreen,
    SearchScreen,
    SqlScreen,
    TrainingScreen,
)
NAMED = {
    *string.ascii_letters,
    *string.digits,
    *("slash", "question_mark", "left_square_bracket", "right_square_bracket"),
    *(
        "plus",
        "minus",
        "less_than_sign",
        "greater_than_sign",
        "down",
        "up",
        "left",
        "right",
        "pagedown",
        "pageup",
        "home",
        "end",
    ),
    *(
        "enter",
        "escape",
        "space",
        "tab",
        "backspace",
        "f1",
        "f2",
        "f3",
        "f4",
        "f5",
        "f6",
        "ctrl+c",
        "ctrl+q",
        "ctrl+s",
        "ctrl+j",
        "ctrl+o",
        "shift+tab",
        "ctrl+r",
        "full_stop",
        "exclamation_mark",
        "equals_sign",
    ),
}


def test_ids_are_unique_and_every_scope_has_a_title_and_an_owner():
    assert len({key.id for key in KEYS}) == len(KEYS)
    assert {key.scope for key in KEYS} == set(TITLES) == set(OWNERS)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.id)
def test_every_key_has_a_name_a_help_and_an_action_that_exists(key):
    assert set(key.keys.split(",")) <= NAMED
    assert key.help
    assert hasattr(OWNERS[key.scope], f"action_{key.action.partition('(')[0]}")


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.__name__)
def test_no_key_means_two_things_on_a_screen(screen):
    names = [name for key in keys_of(*screen.SCOPES, "app") for name in key.keys.split(",")]
    assert sorted(names) == sorted(set(names))


def test_every_owner_binds_exactly_its_keys():
    for scope, owner in OWNERS.items():
        bound = {binding.key for binding in owner.BINDINGS}
        assert bound == {name for key in keys_of(scope) for name in key.keys.split(",")}
        assert bindings(scope) == owner.BINDINGS


def test_help_names_every_key_of_the_screen():
    text = help_screen(("label",))._text.plain
    assert "1 2 3 4 5 6 7 8 9 0" in text
    for key in keys_of("label", "app"):
        assert key.shown in text
