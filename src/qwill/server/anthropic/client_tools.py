"""Anthropic's tools that the client runs. A request names their type alone; here is what the model is told of them."""

import re
from typing import Any

TYPED = r"^(bash|text_editor|memory|computer)_[0-9]{8}$"
_DATED = re.compile(TYPED)
# The first dates of a type at which something is so.
INSERT_TEXT, SCROLLS = "20250429", "20250124"
Schema = dict[str, Any]


def family_of(kind: str) -> str | None:
    """Which of these tools a type with its date is; None for any other type."""
    dated = _DATED.match(kind)
    return dated[1] if dated is not None else None


def function_of(kind: str, screen: tuple[int | None, int | None], zooms: bool) -> dict[str, Any]:
    """What a tool of this type does, and its parameters.

    `screen`: its width and height in pixels, if it has one. `zooms`: whether parts of it can be shown larger.
    """
    family, date = family_of(kind), kind[-8:]
    if family == "bash":
        return {"description": BASH, "parameters": _bash()}
    if family == "text_editor":
        return {"description": EDITOR, "parameters": _editor(date)}
    if family == "memory":
        return {"description": MEMORY, "parameters": _memory()}
    size = f" The screen is {screen[0]} pixels wide and {screen[1]} high." if None not in screen else ""
    return {"description": COMPUTER + size, "parameters": _computer(date, zooms)}


BASH = "Runs a command in a bash shell that stays open between calls, and gives what it prints."
EDITOR = (
    "Shows and changes text files: view a file with numbered lines or what a folder holds, create a file, replace a"
    " text in a file, or insert text behind a line."
)
MEMORY = (
    "Keeps notes in files under /memories, which last from one conversation to the next. Look there before a task"
    " begins, and write down what will be of use later."
)
COMPUTER = (
    "Uses a computer's mouse, keyboard and screen. Take a screenshot to see what an action did. Coordinates are [x, y]"
    " in pixels from the upper left corner."
)


def _object(required: list[str], properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _whole(description: str) -> Schema:
    return {"type": "integer", "description": description}


def _wholes(description: str) -> Schema:
    return {"type": "array", "items": {"type": "integer"}, "description": description}


def _one_of(description: str, *words: str) -> Schema:
    return {"type": "string", "enum": list(words), "description": description}


def _bash() -> Schema:
    restart = {"type": "boolean", "description": "Whether to start the shell anew instead"}
    return _object([], {"command": _text("The command to run; needed unless restart is true"), "restart": restart})


def _editing(insert_text: bool) -> dict[str, Schema]:
    """What the commands that both editors have take, beside the path."""
    fields = {
        "view_range": _wholes("With view: the first and the last line to show, from 1; -1 stands for the last one"),
        "file_text": _text("With create: the whole text of the file"),
        "old_str": _text("With str_replace: the text to replace, which must stand in the file exactly once"),
        "new_str": _text("With str_replace: the text that takes its place"),
        "insert_line": _whole("With insert: the line behind which the text goes; 0 is the beginning of the file"),
    }
    if insert_text:
        return {**fields, "insert_text": _text("With insert: the text to put in")}
    return {
        **fields,
        "new_str": _text("With str_replace: the text that takes its place; with insert: the text to put in"),
    }


def _editor(date: str) -> Schema:
    commands = ["view", "create", "str_replace", "insert", *([] if date >= INSERT_TEXT else ["undo_edit"])]
    fields = {"command": _one_of("What to do", *commands), "path": _text("Absolute path of the file or folder")}
    return _object(["command", "path"], {**fields, **_editing(date >= INSERT_TEXT)})


def _memory() -> Schema:
    commands = _one_of("What to do", "view", "create", "str_replace", "insert", "delete", "rename")
    path = _text("Path of the file or folder, beginning with /memories; not with rename")
    names = {"old_path": _text("With rename: the old path"), "new_path": _text("With rename: the new path")}
    return _object(["command"], {"command": commands, "path": path, **_editing(insert_text=True), **names})


def _computer(date: str, zooms: bool) -> Schema:
    actions = [
        "screenshot", "left_click", "right_click", "middle_click", "double_click", "left_click_drag", "mouse_move",
        "cursor_position", "type", "key",
    ]  # fmt: skip
    fields = {
        "coordinate": _wholes("Where to click, move or scroll, or where a drag ends"),
        "text": _text("With type: the text; with key: keys such as ctrl+s"),
    }
    if date >= SCROLLS:
        actions += ["triple_click", "left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait"]
        fields |= {
            "text": _text("With type: the text; with key and hold_key: keys such as ctrl+s; with clicks: keys held"),
            "start_coordinate": _wholes("With left_click_drag: where it begins"),
            "scroll_direction": _one_of("With scroll", "up", "down", "left", "right"),
            "scroll_amount": _whole("With scroll: how many steps of the wheel"),
            "duration": {"type": "number", "description": "With hold_key and wait: seconds"},
        }
    if zooms:
        actions.append("zoom")
        fields["region"] = _wholes("With zoom: the left, upper, right and lower edge of what to show larger")
    return _object(["action"], {"action": _one_of("What to do", *actions), **fields})
