"""The conformance function of actions: what keeps the contract passes, and each breach is told in a sentence."""

import pytest

from multinic_core.testing import check_action


class Notes:
    """An action that keeps notes in memory; what its subclasses break is theirs."""

    name = "notes"

    def __init__(self):
        self.kept = {}

    def do(self, arguments):
        self.kept[arguments["key"]] = arguments["text"]

    def undo(self, arguments):
        self.kept.pop(arguments["key"], None)

    def check(self, arguments):
        return [] if self.kept.get(arguments["key"]) == arguments["text"] else [f"no note {arguments['key']!r}"]


class Nameless(Notes):
    name = ""


class DoneOnce(Notes):
    def do(self, arguments):
        assert arguments["key"] not in self.kept, "there is one already"
        super().do(arguments)


class UndoneOnlyWhatWasDone(Notes):
    def undo(self, arguments):
        del self.kept[arguments["key"]]


class DoesNothing(Notes):
    def do(self, arguments):
        pass


class NeverUndone(Notes):
    def undo(self, arguments):
        pass


class NeverLooks(Notes):
    def check(self, arguments):
        return []


class OneSentence(Notes):
    def check(self, arguments):
        return "".join(super().check(arguments))


class EmptySentence(Notes):
    def check(self, arguments):
        return ["" for _ in super().check(arguments)]


def test_an_action_that_keeps_the_contract_passes_and_leaves_nothing():
    """It has been undone at the end."""
    notes = Notes()
    check_action(notes, {"key": "a", "text": "b"})
    assert notes.kept == {}


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (Nameless, "name: found an empty string"),
        (DoneOnce, "there is one already"),
        (DoesNothing, r"found \[.*\] after it was done once, expected no difference"),
        (NeverUndone, "found no difference after it was undone once"),
        (NeverLooks, "found no difference after it was never done"),
        (OneSentence, "expected a sequence of sentences"),
        (EmptySentence, r"found \[''\], expected sentences"),
    ],
)
def test_a_breach_is_told(action, told):
    """The assertion says which part of the contract is broken, and what was found."""
    with pytest.raises(AssertionError, match=told):
        check_action(action(), {"key": "a", "text": "b"})


def test_undo_without_having_been_done_must_not_raise():
    """What the action raises then comes through as it is."""
    with pytest.raises(KeyError):
        check_action(UndoneOnlyWhatWasDone(), {"key": "a", "text": "b"})


@pytest.mark.parametrize("arguments", [{"key": "a", "text": ("b",)}, {1: "a"}])
def test_arguments_are_plain_json(arguments):
    """They come from the journal, so what JSON would change is refused."""
    with pytest.raises(AssertionError, match="arguments: not plain JSON"):
        check_action(Notes(), arguments)
