"""The one registry of keys: bindings, the key bar and the help screen are made from it."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that a key does."""

    id: str
    """Unique name; its first part is the scope."""
    keys: str
    """Textual key names, separated by commas."""
    action: str
    """Action of the widget, screen or app that has the scope."""
    help: str
    """What it does; neighbours with the same help share a line of the help screen."""
    bar: str = ""
    """Short word for the key bar; empty keeps the key out of it."""

    @property
    def scope(self) -> str:
        """Where the key holds: `app`, a screen, or a widget."""
        return self.id.partition(".")[0]

    @property
    def shown(self) -> str:
        """The keys as a person reads them."""
        return " ".join(_GLYPHS.get(key, key) for key in self.keys.split(","))


_GLYPHS = {
    "slash": "/",
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "minus": "-",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "home": "Home",
    "end": "End",
    "enter": "Enter",
    "escape": "Esc",
    "full_stop": ".",
    "exclamation_mark": "!",
    "equals_sign": "=",
    "space": "Space",
    "tab": "Tab",
    "shift+tab": "⇧Tab",
    "backspace": "⌫",
    "f1": "F1",
    "f2": "F2",
    "f3": "F3",
    "f4": "F4",
    "f5": "F5",
    "f6": "F6",
    "ctrl+c": "^C",
    "ctrl+q": "^Q",
    "ctrl+s": "^S",
    "ctrl+j": "^J",
    "ctrl+o": "^O",
}

TITLES = {
    "app": "Everywhere",
    "table": "Table",
    "sideways": "Columns",
    "pick": "Choosing",
    "arrange": "Choosing columns",
    "live": "Live",
    "run": "The run as a whole",
    "steer": "Steering the audit in focus",
    "tree": "Branches",
    "compare": "Comparing branches",
    "editor": "Writing",
    "transcripts": "Transcripts",
    "hits": "Text search",
    "reader": "Reading",
    "label": "Labelling",
    "reveal": "After the reveal",
    "adjudicate": "Adjudication",
    "passage": "A passage",
    "stats": "Statistics",
    "sql": "SQL",
    "training": "Training",
}


def _turns(scope: str, unfold: str = "") -> tuple[Key, ...]:
    """Keys to read a transcript with; `unfold` is the word for that in the key bar."""
    target = "next or previous turn of the target"
    return (
        Key(f"{scope}.down", "j,down", "move(1)", "next turn", "turn"),
        Key(f"{scope}.up", "k,up", "move(-1)", "previous turn"),
        Key(f"{scope}.next_target", "right_square_bracket", "target(1)", target, "target"),
        Key(f"{scope}.previous_target", "left_square_bracket", "target(-1)", target),
        Key(f"{scope}.page_down", "J,pagedown", "page(1)", "page down or up", "page"),
        Key(f"{scope}.page_up", "K,pageup", "page(-1)", "page down or up"),
        Key(f"{scope}.first", "g,home", "edge(-1)", "top or end"),
        Key(f"{scope}.last", "G,end", "edge(1)", "top or end"),
        Key(f"{scope}.open", "o", "unfold", "open or close what is folded at the mark", unfold),
        Key(f"{scope}.open_all", "O", "unfold_all", "open or close everything that is folded"),
        Key(f"{scope}.find", "slash", "find", "find words in the transcript; once more: the next place"),
    )


def _answers(scope: str, number: str, verdict: str = "") -> tuple[Key, ...]:
    """Keys that answer a question; `number` says what the digits do, and `verdict` what the letters do besides."""
    verdicts = {"true": "t", "false": "f", "not_sure": "n"}
    return (
        *(Key(f"{scope}.digit_{n}", str(n), f"digit({n})", number) for n in (*range(1, 10), 0)),
        *(Key(f"{scope}.{v}", key, f"verdict('{v}')", verdict or number) for v, key in verdicts.items()),
    )


KEYS: tuple[Key, ...] = (
    Key("app.help", "question_mark", "help", "show the keys that hold here", "help"),
    Key("app.live", "f1", "switch_mode('live')", "go to Live"),
    Key("app.transcripts", "f2", "switch_mode('transcripts')", "go to Transcripts"),
    Key("app.label", "f3", "switch_mode('label')", "go to Label"),
    Key("app.stats", "f4", "switch_mode('stats')", "go to Stats"),
    Key("app.sql", "f5", "switch_mode('sql')", "go to SQL"),
    Key("app.training", "f6", "switch_mode('training')", "go to Training"),
    Key("app.next", "greater_than_sign", "cycle(1)", "next or previous of these six screens"),
    Key("app.previous", "less_than_sign", "cycle(-1)", "next or previous of these six screens"),
    Key("app.quit", "q,ctrl+c,ctrl+q", "quit", "close the app; asks first while a run is live", "quit"),
    Key("table.down", "j,down", "move(1)", "next row"),
    Key("table.up", "k,up", "move(-1)", "previous row"),
    Key("table.page_down", "pagedown", "page(1)", "a page of rows down or up"),
    Key("table.page_up", "pageup", "page(-1)", "a page of rows down or up"),
    Key("table.first", "g,home", "edge(-1)", "first or last row"),
    Key("table.last", "G,end", "edge(1)", "first or last row"),
    Key(
        "table.enter", "enter", "enter", "open the row; on Live, jump to the tail of its conversation", "open"
    ),
    Key("sideways.left", "h,left", "sideways(-1)", "earlier or further columns"),
    Key("sideways.right", "l,right", "sideways(1)", "earlier or further columns"),
    Key("pick.back", "escape", "back", "go back"),
    Key("arrange.take", "space", "take", "take the column, or leave it out"),
    Key("arrange.down", "J", "shift(1)", "move it down or up"),
    Key("arrange.up", "K", "shift(-1)", "move it down or up"),
    Key("arrange.back", "escape", "back", "go back"),
    Key("steer.hold", "h", "hold", "hold the audit before its next step, or let it go on"),
    Key("steer.step", "s", "step", "let the held audit take one step"),
    Key("steer.approving", "a", "approving", "let every step of the model wait for your word, or no longer"),
    Key("steer.approve", "y", "approve", "carry the proposed step out as it is"),
    Key("steer.edit", "e", "edit", "change the proposed step, then carry it out"),
    Key("steer.decline", "n", "decline", "turn the proposed step down and say why"),
    Key("steer.drive", "d", "drive", "take the wheel, or hand it back to the model"),
    Key("steer.write", "w", "write", "write what the target reads next: a message, or its tools' results"),
    Key("steer.resume", "r", "resume", "give the target the turn"),
    Key("steer.prefill", "R", "prefill", "give the target the turn with the first words of its answer"),
    Key("steer.next_message", "right_square_bracket", "mark(1)", "mark the next or previous message"),
    Key("steer.previous_message", "left_square_bracket", "mark(-1)", "mark the next or previous message"),
    Key("steer.back", "b", "back_to", "roll back to the marked message"),
    Key("steer.fork", "f", "fork", "fork at the marked message with another turn"),
    Key("steer.replay", "F", "replay", "the same, several times over"),
    Key("steer.flag", "m", "flag", "flag the marked message, or write a note on it"),
    Key("steer.note", "M", "note", "flag the marked message, or write a note on it"),
    Key("steer.end", "E", "end_audit", "end the audit here; asks first"),
    Key("steer.cancel", "X", "cancel_audit", "cancel the audit; asks first"),
    Key("live.tree", "t", "tree", "the branches as a tree, to show one or compare two", "tree"),
    Key("live.compare", "c", "compare", "two branches side by side", "compare"),
    Key("live.read", "v", "read", "view it in the reader: judges, labels, costs, other views", "read"),
    Key("live.zoom", "z", "zoom", "give the conversation the whole screen, or part of it", "zoom"),
    Key("live.down", "J", "page(1)", "page through the conversation; at its end it follows again", "page"),
    Key("live.up", "K", "page(-1)", "page through the conversation; at its end it follows again"),
    Key("live.open", "o", "unfold", "open or close everything that is folded"),
    Key("live.filter", "slash", "filter", "filter by condition, mode, item and status; Esc clears", "filter"),
    Key("live.leave", "escape", "leave", "leave the mark, the single branch, the filter: one at a time"),
    Key("live.pause", "space", "pause", "hold back or release the start of further audits", "pause"),
    Key("live.run", "u", "run_control", "the run: queue, errors, cost, concurrency", "run"),
    Key("live.stop", "x", "stop", "stop the run; asks first", "stop"),
    Key(
        "transcripts.filter",
        "slash",
        "filter",
        "filter by words of condition, mode, item and status",
        "filter",
    ),
    Key("transcripts.where", "w", "where", "filter by a condition in SQL", "where"),
    Key("transcripts.facets", "f", "facets", "only one condition, mode, status, preference, run …", "only"),
    Key("transcripts.search", "s", "search", "search what was said", "search"),
    Key("transcripts.order", "o", "order", "sort by a column; by the same one again: the other way", "sort"),
    Key("transcripts.columns", "c", "columns", "choose the columns and their order", "columns"),
    Key("transcripts.views", "v", "views", "go to a saved view, save this one, delete one", "views"),
    Key("transcripts.bookmark", "b", "bookmark", "set or remove a bookmark"),
    Key("transcripts.bookmarks", "B", "bookmarks", "list the audits with a bookmark"),
    Key("transcripts.select", "space", "select", "select the audit, or no longer"),
    Key("transcripts.select_all", "a", "select_all", "select all that is listed, or nothing"),
    Key("transcripts.export", "e", "export", "export what is selected, or this audit", "export"),
    Key("transcripts.judge", "J", "judge", "have it judged again: shows the command"),
    Key("transcripts.label", "L", "label", "plan a round of labelling of what is selected, or this audit"),
    Key("transcripts.clear", "escape", "clear_filter", "leave the field; clear every filter"),
    Key("transcripts.reload", "r", "reload", "look for what is new"),
    Key("hits.words", "slash,s", "words", "search for something else", "search"),
    Key("hits.case", "i", "case", "mind upper and lower case, or no longer", "case"),
    Key("hits.list", "t", "list", "list the transcripts that have hits", "transcripts"),
    Key("hits.stop", "x", "stop", "break the search off", "stop"),
    Key("hits.back", "escape", "back", "back to the list", "back"),
    Key("run.pause", "space", "pause", "start nothing more, or go on"),
    Key("run.more", "plus", "lanes(1)", "twice as many audits beside each other"),
    Key("run.fewer", "minus", "lanes(-0.5)", "half as many"),
    Key("run.one_more", "right_square_bracket", "lanes(0.001)", "one more"),
    Key("run.one_less", "left_square_bracket", "lanes(-0.001)", "one less"),
    Key("run.stop", "x", "stop", "stop the run; asks first"),
    Key("run.back", "escape,u,q", "back", "go back"),
    *_turns("reader", unfold="unfold"),
    Key(
        "reader.judges",
        "p",
        "judges",
        "show or hide the panel: judges, labels, flags, notes, calls",
        "judges",
    ),
    Key("reader.pane", "tab", "pane", "move the mark between transcript and panel"),
    Key(
        "reader.quote",
        "c",
        "quote",
        "go to the next quote of a judge, flag or note; of the marked one in the panel",
        "quote",
    ),
    Key("reader.blind", "b", "blind", "hide or show judges and labels"),
    Key("reader.view", "v", "view(1)", "next or previous view: target's, auditor's, changes, JSON", "view"),
    Key("reader.view_back", "V", "view(-1)", "next or previous view: target's, auditor's, changes, JSON"),
    Key("reader.tree", "t", "tree", "the branches, to read one alone or compare two", "tree"),
    Key("reader.beside", "x", "beside", "another transcript of this item beside it", "beside"),
    Key("reader.copy", "y", "copy", "copy the marked turn, or everything in the pane"),
    Key("reader.copy_all", "Y", "copy_all", "copy the marked turn, or everything in the pane"),
    Key("reader.next", "n", "neighbour(1)", "next or previous transcript of the list", "next"),
    Key("reader.previous", "N", "neighbour(-1)", "next or previous transcript of the list"),
    Key("reader.back", "escape,backspace", "back", "back to the list", "back"),
    *_answers(
        "label",
        "give this score, 0 is 10; or this choice",
        "the answer supports the statement: true, false, not sure",
    ),
    Key(
        "label.commit",
        "enter,full_stop",
        "commit",
        "commit the item as it stands; give a name, plan a round, reveal a closed block",
    ),
    Key("label.next_question", "tab", "question(1)", "next or previous question of the item"),
    Key("label.previous_question", "shift+tab", "question(-1)", "next or previous question of the item"),
    Key("label.skip", "s", "skip", "leave the item out, with a reason", "skip"),
    Key(
        "label.undo",
        "u",
        "undo",
        "take back the last act, or do it again; also of an earlier session",
        "undo",
    ),
    Key("label.redo", "ctrl+r", "redo", "take back the last act, or do it again; also of an earlier session"),
    Key("label.note", "c", "note", "write a note that is kept with the label", "note"),
    Key("label.span", "v", "span", "attach a passage of the marked turn as evidence", "passage"),
    Key("label.rubric", "r", "rubric", "read the full rubric", "rubric"),
    Key("label.ask", "a", "ask", "ask the adjudicator; the item stays open"),
    Key("label.bookmark", "exclamation_mark", "bookmark", "mark the item to find it again, or no longer"),
    Key("label.map", "m", "map", "all items of the round, to go to one"),
    Key("label.history", "h", "history", "what was answered last, to go back to it"),
    Key("label.targets", "T", "targets", "only the target's turns, or all"),
    Key("label.beside", "equals_sign", "beside", "another transcript of the round beside this one"),
    Key("label.agreement", "A", "agreement", "how people and judges agree, between two blocks"),
    Key("label.unblind", "B", "unblind", "break the blindness of this item; asks first, and is on record"),
    Key("label.take", "X", "take_over", "take the name over from another window"),
    *_turns("label"),
    *_answers("reveal", "another value now; the blind one stays"),
    Key("reveal.keep", "k", "keep", "stand by the blind value", "keep"),
    Key("reveal.wrong", "x", "wrong", "a judge is wrong: which one, and why", "judge wrong"),
    Key("reveal.next", "right,enter", "item(1)", "next or previous item", "next"),
    Key("reveal.previous", "left", "item(-1)", "next or previous item"),
    Key("reveal.question", "tab", "question(1)", "next question of the item"),
    Key("reveal.agreement", "A", "agreement", "how people and judges agree so far", "agreement"),
    Key("reveal.down", "j,down", "move(1)", "next or previous turn of the transcript"),
    Key("reveal.up", "up", "move(-1)", "next or previous turn of the transcript"),
    Key("reveal.page_down", "J,pagedown", "page(1)", "page the transcript down or up"),
    Key("reveal.page_up", "K,pageup", "page(-1)", "page the transcript down or up"),
    Key("reveal.quote", "c", "quote", "go to the next passage that a judge cites", "quote"),
    Key("reveal.back", "escape", "back", "go on labelling", "back"),
    *_answers("adjudicate", "another value"),
    Key("adjudicate.side_a", "a", "side(0)", "decide for this answer", "A"),
    Key("adjudicate.side_b", "b", "side(1)", "decide for this answer", "B"),
    Key("adjudicate.side_c", "d", "side(2)", "decide for a third person's answer, C"),
    Key(
        "adjudicate.none",
        "N",
        "no_single_answer",
        "there is no single answer: both stand",
        "no single answer",
    ),
    Key("adjudicate.passage", "e", "passage", "go to the next passage that somebody gave", "passage"),
    Key("adjudicate.undo", "u", "undo", "take the last decision back", "undo"),
    Key("adjudicate.rubric", "r", "rubric", "read the full rubric", "rubric"),
    Key("adjudicate.gap", "R", "new_rubric", "write a new version of a band; its labels become stale"),
    *_turns("adjudicate"),
    Key("adjudicate.back", "escape", "back", "go back"),
    Key("passage.left", "left,h", "move(-1)", "move by a word"),
    Key("passage.right", "right,l", "move(1)", "move by a word"),
    Key("passage.up", "up,k", "move(-10)", "move by ten words"),
    Key("passage.down", "down,j", "move(10)", "move by ten words"),
    Key("passage.take", "v,enter", "take", "begin the passage here; once more: end it here"),
    Key("passage.back", "escape", "back", "go back"),
    Key("tree.all", "a", "show_all", "show all branches as they came"),
    Key("tree.compare", "c", "compare", "compare it with the branch that goes on"),
    Key("tree.back", "escape,t", "back", "go back"),
    Key("compare.down", "j,down", "scroll(1)", "scroll both branches", "scroll"),
    Key("compare.up", "k,up", "scroll(-1)", "scroll both branches"),
    Key("compare.page_down", "J,pagedown", "page(1)", "page both branches down or up", "page"),
    Key("compare.page_up", "K,pageup", "page(-1)", "page both branches down or up"),
    Key("compare.first", "g,home", "edge(-1)", "top or end"),
    Key("compare.last", "G,end", "edge(1)", "top or end"),
    Key("compare.side", "tab", "side", "the other side; where there is room for one only, show it", "side"),
    Key("compare.next", "right_square_bracket", "choose(1)", "another branch on this side", "branch"),
    Key("compare.previous", "left_square_bracket", "choose(-1)", "another branch on this side"),
    Key("compare.open", "o", "unfold", "open or close the beginning that both share", "shared"),
    Key("compare.back", "escape,c", "back", "go back", "back"),
    Key("editor.send", "ctrl+s", "send", "send"),
    Key("editor.next", "tab", "turn(1)", "next or previous field"),
    Key("editor.previous", "shift+tab", "turn(-1)", "next or previous field"),
    Key("editor.leave", "escape", "leave", "go back and keep the draft"),
    Key("stats.down", "j,down", "move(0, 1)", "move between preferences"),
    Key("stats.up", "k,up", "move(0, -1)", "move between preferences"),
    Key("stats.left", "h,left", "move(-1, 0)", "move between conditions"),
    Key("stats.right", "l,right", "move(1, 0)", "move between conditions"),
    Key("stats.mode", "m", "mode", "next mode: single turn, self-report, behavioural", "mode"),
    Key("stats.not_sure", "n", "not_sure", "verdicts of not_sure: count as false, or leave out"),
    Key("stats.side", "p", "side(1)", "the cell from its next or previous side", "side"),
    Key("stats.side_back", "P", "side(-1)", "the cell from its next or previous side"),
    Key("stats.map", "b", "map", "a map of all groups' numbers, or bars with their intervals", "map/bars"),
    Key("stats.page_down", "J,pagedown", "page(1)", "scroll what is said of the cell"),
    Key("stats.page_up", "K,pageup", "page(-1)", "scroll what is said of the cell"),
    Key("stats.enter", "enter", "enter", "the transcripts behind the cell", "transcripts"),
    Key(
        "stats.detail",
        "d",
        "detail",
        "the cell's values, prompts, seeds, tests and methods",
        "detail",
    ),
    Key("stats.numbers", "w", "numbers", "the transcripts behind the waterfall and the judges", "numbers"),
    Key("stats.reload", "r", "reload", "compute again", "reload"),
    Key("sql.run", "ctrl+s,ctrl+j", "run", "run the query", "run"),
    Key("sql.stop", "escape", "stop", "stop the query; go between editor and result", "stop/result"),
    Key(
        "sql.library",
        "ctrl+o",
        "library",
        "queries that were run before, and those of the program",
        "queries",
    ),
    Key("sql.edit", "i", "edit", "go to the editor", "edit"),
    Key("sql.chart", "c", "chart", "bars, histogram, points, line, table", "chart"),
    Key("sql.export", "e", "export", "write the result as CSV, JSON or Parquet", "export"),
    Key("training.samples", "o", "samples", "what the job's checkpoints answered; also Enter", "samples"),
    Key(
        "training.transcripts", "t", "transcripts", "the same as transcripts, to read in full", "transcripts"
    ),
    Key("training.curve", "l", "curve", "loss or learning rate, where there is room for one", "loss/rate"),
    Key("training.cancel", "x", "cancel", "end the job; asks first", "cancel"),
    Key(
        "training.go_on",
        "r",
        "go_on",
        "watch the recipe's jobs again and train what is left; asks first",
        "go on",
    ),
    Key("training.register", "a", "register", "append the model to a study, as a condition", "to a study"),
)


def keys_of(*scopes: str) -> list[Key]:
    """The keys of `scopes`, scope by scope."""
    return [key for scope in scopes for key in KEYS if key.scope == scope]


def key_of(id: str) -> Key:
    """The key with this id."""
    return _BY_ID[id]


def bindings(scope: str) -> list[BindingType]:
    """Textual bindings of a scope."""
    return [
        Binding(name, key.action, key.help, id=f"{key.id}.{name}", show=False, priority=name in _AT_ONCE)
        for key in keys_of(scope)
        for name in key.keys.split(",")
    ]


_BY_ID = {key.id: key for key in KEYS}
_AT_ONCE = frozenset({"ctrl+c", "ctrl+q", "ctrl+j", "tab", "shift+tab"})
"""Keys that hold even while a field is typed in, and before the next key is looked at: what is typed after a
change of field belongs to the new one."""
