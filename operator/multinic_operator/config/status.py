"""The conditions of a Config. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from multinic_core.model import Condition, Config, DaemonSet
from multinic_operator.config.daemonset import runs_the_original
from multinic_operator.status.derive import dated
from multinic_operator.status.routes import name_some


def derive_conditions(
    config: Config,
    old: list[Condition],
    chosen: Config | None,
    daemonset: DaemonSet | None,
    problem: str,
    problems: Mapping[str, str],
    waiting: str,
    default_image: str,
    now: datetime,
) -> list[Condition]:
    """What is to be said of one Config.

    Args:
        old: conditions that stand there, for their times.
        chosen: the Config that counts, None when there is none.
        daemonset: of ``chosen``, as it is.
        problem: why the DaemonSet is not as wanted, or "".
        problems: node to what its daemon says is wrong.
        waiting: what the deletion of this Config waits for, or "".
        default_image: what runs where no image is named.
    """
    found: list[tuple[str, str, str, str]] = []
    if config.metadata.deletion_timestamp is not None:
        found.append(("Accepted", "False", "BeingDeleted", ""))
        if waiting:
            found.append(("Unwound", "False", "AddressesInUse", waiting))
    elif chosen is None or config.name != chosen.name:
        other = f"Config {chosen.name!r} is in use; this one has no effect" if chosen else "another Config is in use"
        found.append(("Accepted", "False", "NotInUse", other))
    else:
        found.append(("Accepted", "True", "InUse", ""))
        found.append(_fields_used(config, default_image))
        found.append(_daemons_ready(daemonset, problem, problems))
    return [
        dated(
            Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=""),
            old,
            config.metadata.generation,
            now,
        )
        for kind, status, reason, message in found
    ]


def _fields_used(config: Config, default_image: str) -> tuple[str, str, str, str]:
    unused = config.spec.unused_fields()
    texts = [f"{', '.join(unused)}: accepted, without effect"] if unused else []
    image = config.spec.daemon.image
    if image is not None and runs_the_original(image):
        texts.append(f"spec.daemon.image: found {image!r}, the original's daemon; {default_image!r} runs instead")
    if texts:
        return "FieldsUsed", "False", "FieldsWithoutEffect", "; ".join(texts)
    return "FieldsUsed", "True", "AllUsed", ""


def _daemons_ready(daemonset: DaemonSet | None, problem: str, problems: Mapping[str, str]) -> tuple[str, str, str, str]:
    if problem:
        return "DaemonsReady", "False", "NameTaken", problem
    if daemonset is None:
        return "DaemonsReady", "Unknown", "NotSeenYet", ""
    status = daemonset.status
    if status.observed_generation is None or status.observed_generation < (daemonset.metadata.generation or 0):
        return "DaemonsReady", "Unknown", "NotSeenYet", "the cluster has not acted on the DaemonSet yet"
    wanted = status.desired_number_scheduled
    running = min(status.updated_number_scheduled, status.number_available)
    text = f"{running} of {wanted} run as this Config says"
    if problems:
        named: Sequence[str] = [f"{node}: {problems[node]}" for node in sorted(problems)]
        return "DaemonsReady", "False", "DaemonProblem", f"{text}; {name_some(named)}"
    if running < wanted:
        return "DaemonsReady", "False", "Rolling", text
    return "DaemonsReady", "True", "Running", text


def same_conditions(one: list[Condition], other: list[Condition]) -> bool:
    return [condition.to_json() for condition in one] == [condition.to_json() for condition in other]
