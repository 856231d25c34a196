"""What every action must keep; it acts, so a stand-in takes the place of the outside world in its author's tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from multinic_core.hookspecs import Action


def check_action(action: Action, arguments: Mapping[str, Any], *, told: bool = True) -> None:
    """Hold an action to its contract: done and undone twice each, as after a crash, and checked in between.

    Args:
        arguments: valid ones, for something that is not there yet.
        told: whether ``check`` can tell what is not done; not where others may take away what is.

    Raises:
        AssertionError: says in one sentence which part of the contract is broken.
    """
    assert isinstance(action.name, str), f"name: found {action.name!r}, expected a string"
    assert action.name, "name: found an empty string"
    text = json.dumps(arguments)
    assert json.loads(text) == arguments, "arguments: not plain JSON, which is how the journal keeps them"
    action.undo(json.loads(text))
    _check_differences(action, text, done=False, when="was never done", told=told)
    for call, done in ((action.do, True), (action.undo, False)):
        for times in ("once", "twice"):
            call(json.loads(text))
            _check_differences(action, text, done=done, when=f"was {'done' if done else 'undone'} {times}", told=told)


def _check_differences(action: Action, arguments: str, *, done: bool, when: str, told: bool) -> None:
    found = action.check(json.loads(arguments))
    assert not isinstance(found, str), f"check: found {found!r}, expected a sequence of sentences"
    assert all(isinstance(each, str) and each for each in found), f"check: found {found!r}, expected sentences"
    if done:
        assert not found, f"check: found {found!r} after it {when}, expected no difference"
    elif told:
        assert found, f"check: found no difference after it {when}"
