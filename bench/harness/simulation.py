"""Pods that come to nodes and go again, and what each way of choosing NICs makes of the same ones.

Which pods come, to which node, with which GPUs and for how long, does not depend on the NICs that they get, so all ways
are compared on the same sequence. A pod sends what it asks for, evenly over its NICs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, pstdev

from multinic_plugin_policies import multinic_register_strategies
from multinic_plugin_policies.distance import Nearness, distance, place

from harness import original_choice
from harness.gpu_node import SPEED, make_gpus, make_nics
from multinic_core import Nic, PodDevice, PodReference, SelectionRequest
from multinic_core.bandwidth import MEGABIT
from multinic_core.selection import NicUse

NODES, NICS, GPUS = 4, 16, 8
SIZES = (0, 0, 0, 1, 1, 2, 4)
"""GPUs of a pod, each as likely; it asks for one NIC for each, and without GPUs for one, two or four."""
RATES = (5, 10, 20, 40)
"""Gbit/s on each NIC."""
MEAN_LIFE = 40.0
"""In arrivals."""

Choose = Callable[[SelectionRequest, Sequence[Nic]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Coming:
    """A pod that starts on a node where its GPUs are free."""

    number: int
    node: int
    gpus: tuple[PodDevice, ...]
    nics: int
    gigabits: int
    """What it sends, in Gbit/s."""


def sequence(pods: int, seed: int) -> Iterator[tuple[Coming, list[int]]]:
    """Each pod with the numbers of those that are gone before it comes."""
    chance = random.Random(seed)
    free = [list(make_gpus(GPUS)) for _ in range(NODES)]
    running: dict[int, tuple[float, Coming]] = {}
    started, now = 0, 0
    gone: list[int] = []
    while started < pods:
        now += 1
        for number in [number for number, (end, _) in running.items() if end <= now]:
            _, left = running.pop(number)
            free[left.node] += left.gpus
            gone.append(number)
        size = chance.choice(SIZES)
        life = chance.expovariate(1 / MEAN_LIFE)
        room = [node for node in range(NODES) if len(free[node]) >= size]
        if not room:
            continue
        node = chance.choice(room)
        gpus = tuple(chance.sample(free[node], size))
        free[node] = [gpu for gpu in free[node] if gpu not in gpus]
        nics = size or chance.choice((1, 2, 4))
        pod = Coming(started, node, gpus, nics, nics * chance.choice(RATES))
        running[started] = (now + life, pod)
        yield pod, gone
        gone = []
        started += 1


def ways(seed: int) -> dict[str, Choose]:
    """Each way of choosing by name."""
    chance = random.Random(seed)
    turn = Counter[int]()

    def at_random(request: SelectionRequest, nics: Sequence[Nic]) -> tuple[str, ...]:
        return tuple(nic.ifname for nic in chance.sample(list(nics), request.nics or len(nics)))

    def round_robin(request: SelectionRequest, nics: Sequence[Nic]) -> tuple[str, ...]:
        node, wanted = int(request.pod.namespace), request.nics or len(nics)
        turn[node] += wanted
        return tuple(nics[(turn[node] - wanted + step) % len(nics)].ifname for step in range(wanted))

    ours: dict[str, Choose] = {
        strategy.name: (lambda request, nics, strategy=strategy: strategy.select(request, nics).chosen)
        for strategy in multinic_register_strategies()
        if strategy.name in ("none", "topology", "costOpt", "perfOpt")
    }
    theirs: dict[str, Choose] = {
        f"original {name}": (lambda request, nics, name=name: original_choice.choose(name, request, nics))
        for name in ("topology", "costOpt")
    }
    return ours | {"round-robin": round_robin, "random": at_random} | theirs


def simulate(name: str, pods: int, seed: int) -> dict[str, float]:
    """What one way comes to.

    Returns:
        ``spread``: standard deviation of the traffic of a node's NICs by its mean; ``busiest``: that of the busiest by
        the mean; ``overloaded``: part of NICs that are asked for more than they carry; all averaged over time, nodes
        in use only. ``same_switch`` and ``same_numa``: part of links whose nearest GPU of the pod is there; ``hops``:
        bridges to it, of pods with GPUs.
    """
    choose, nics = ways(seed)[name], make_nics(NICS, GPUS)
    by_name = {nic.ifname: nic for nic in nics}
    counting = name in ("costOpt", "perfOpt")
    taken: dict[int, tuple[int, dict[str, int]]] = {}
    traffic = [Counter[str]() for _ in range(NODES)]
    links = [Counter[str]() for _ in range(NODES)]
    spread, busiest, overloaded, near = [], [], [], []
    for pod, gone in sequence(pods, seed):
        for number in gone:
            node, shares = taken.pop(number)
            traffic[node].subtract(shares)
            links[node].subtract(shares.keys())
        use = {
            ifname: NicUse(links[pod.node][ifname], rate if counting else 0, float(rate))
            for ifname, rate in traffic[pod.node].items()
        }
        request = SelectionRequest(
            "net",
            PodReference(str(pod.node), f"pod-{pod.number}"),
            nics=pod.nics,
            target=f"{pod.gigabits}Gbps" if counting else "",
            args={"strict": "false"} if counting else {},
            use=use,
            devices=pod.gpus,
        )
        chosen = choose(request, nics)
        rate = pod.gigabits * 1000 * MEGABIT // len(chosen)
        taken[pod.number] = pod.node, dict.fromkeys(chosen, rate)
        traffic[pod.node].update(taken[pod.number][1])
        links[pod.node].update(chosen)
        if pod.gpus:
            near += [min(distance(place(gpu), place(by_name[ifname])) for gpu in pod.gpus) for ifname in chosen]
        for carried in traffic:
            rates = [carried[nic.ifname] for nic in nics]
            if average := mean(rates):
                spread.append(pstdev(rates) / average)
                busiest.append(max(rates) / average)
                overloaded.append(mean(rate > SPEED * MEGABIT for rate in rates))
    return {
        "spread": round(mean(spread), 3),
        "busiest": round(mean(busiest), 3),
        "overloaded": round(mean(overloaded), 4),
        "same_switch": round(mean(each.nearness is Nearness.SWITCH for each in near), 3),
        "same_numa": round(mean(each.nearness <= Nearness.NUMA for each in near), 3),
        "hops": round(mean(each.hops for each in near), 3),
    }
