"""Is a history of concurrent ADDs and DELs one that a single clerk, serving callers one by one, could have produced?

The search is that of Wing and Gong, with the memory of configurations that Lowe added: from a state of the clerk,
any call may be next that began before every call not yet served has ended; try each whose recorded answer is the
clerk's, and go back when none is left. Sound: an order found is an order of the calls in which each gets its recorded
answer from the sequential specification and no call comes before one that had ended when it began. Complete: every
such order is tried, but for two savings that lose none. A configuration (calls served, state) seen to fail fails
again. And a refusal, an answer with which no call ever changes the state, may be served as soon as it is possible:
moved to the front of any order that exists it gets the same answer there, changes nobody else's, and nothing that must
precede it is left. (Of a DEL that finds nothing now the same cannot be said: further on it may have found something.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

S = TypeVar("S", bound=Hashable)
LIMIT = 1_000_000
"""Configurations looked at before giving up, which is an error and no answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its caller saw it."""

    began: int
    ended: int
    """Any clock that all callers share."""
    asked: Any
    answer: Any


def linearize(
    history: Sequence[Call],
    state: S,
    serve: Callable[[S, Any], tuple[S, Any]],
    is_refusal: Callable[[Any], bool],
    *,
    limit: int = LIMIT,
) -> list[Call] | None:
    """An order in which one clerk could have served these calls, or None when there is none.

    Args:
        history: in any order; of several calls that may be next the first is tried first, so one that is about right
            saves time, and nothing else.
        serve: the sequential specification: state and what is asked to the state afterwards and the answer.
        is_refusal: of an answer, whether no call that is given it changes the state, whatever the state is.

    Raises:
        RuntimeError: more than ``limit`` configurations; nothing is known then.
    """
    calls = history
    done = 0
    failed: set[tuple[int, S]] = set()
    order: list[int] = []
    # One frame per call served: the configuration before it, and the calls that have not been tried there.
    frames: list[tuple[int, S, list[int]]] = []
    everything = (1 << len(calls)) - 1

    def possible(served: int, now: S) -> list[int]:
        """Last is tried first: a refusal alone, else in the order given."""
        found: list[int] = []
        unserved = [number for number in range(len(calls)) if not served >> number & 1]
        first_end = min((calls[number].ended for number in unserved), default=0)
        for number in unserved:
            call = calls[number]
            if call.began > first_end:
                continue
            if serve(now, call.asked)[1] != call.answer:
                continue
            if is_refusal(call.answer):
                return [number]
            found.append(number)
        return found[::-1]

    looked = 0
    choices = possible(done, state)
    while done != everything:
        if not choices:
            failed.add((done, state))
            if not frames:
                return None
            done, state, choices = frames.pop()
            order.pop()
            continue
        number = choices.pop()
        after, _ = serve(state, calls[number].asked)
        served = done | 1 << number
        if (served, after) in failed:
            continue
        looked += 1
        if looked > limit:
            raise RuntimeError(f"undecided after {limit} configurations")
        frames.append((done, state, choices))
        order.append(number)
        done, state = served, after
        choices = possible(done, state)
    return [calls[number] for number in order]
