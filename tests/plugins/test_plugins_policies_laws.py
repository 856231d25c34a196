"""Laws of all attachment strategies, whatever the node has, carries and has promised, and whatever the pod asks."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multinic_plugin_policies import multinic_register_strategies

from multinic_core import Nic, PodReference, Selection, SelectionError, SelectionRequest
from multinic_core.bandwidth import MEGABIT, parse_target
from multinic_core.selection import ClassId, NicUse, PodDevice

ALL = {strategy.name: strategy for strategy in multinic_register_strategies()}
LAW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
COUNTING = ("costOpt", "perfOpt")
"""Strategies that promise bandwidth."""
SPEEDS = (0, 1_000, 10_000, 25_000, 40_000, 100_000, 200_000)
"""Mbit/s; 0 is unknown."""
BUSES = ("0000:00:01.0", "0000:00:02.0", "0000:80:01.0")


@st.composite
def nodes(draw: st.DrawFn, most: int = 10) -> list[Nic]:
    """NICs of one node, in any order."""
    return [
        Nic(
            f"eth{number}",
            10 + number,
            1500,
            up=draw(st.sampled_from([True, True, True, False])),
            vendor=draw(st.sampled_from(["15b3", "8086", ""])),
            product=draw(st.sampled_from(["1019", "101b"])),
            pci_address=f"0000:{number:02x}:00.0",
            pci_path=draw(st.sampled_from([(), *((bus,) for bus in BUSES), (BUSES[0], "0000:40:00.0")])),
            numa_node=draw(st.sampled_from([None, 0, 1])),
            speed=draw(st.sampled_from(SPEEDS)),
        )
        for number in draw(st.permutations(range(draw(st.integers(1, most)))))
    ]


def devices(number: int) -> st.SearchStrategy[PodDevice]:
    return st.builds(
        PodDevice,
        id=st.just(f"GPU-{number}"),
        kind=st.sampled_from(["gpu", "gpu", "other"]),
        pci_address=st.just(f"0000:f{number}:00.0"),
        pci_path=st.sampled_from([(), *((bus,) for bus in BUSES)]),
        numa_node=st.sampled_from([None, 0, 1]),
    )


@st.composite
def situations(draw: st.DrawFn, strategy: str) -> tuple[SelectionRequest, list[Nic]]:
    """A request that a strategy can at least read, and the candidates."""
    nics = draw(nodes())
    names = sorted(nic.ifname for nic in nics)
    speeds = {nic.ifname: nic.speed for nic in nics}
    use = {
        ifname: NicUse(
            draw(st.integers(0, 9)),
            draw(st.integers(0, 10)) * speeds[ifname] * MEGABIT // 10,
            draw(st.floats(0, 1)) * speeds[ifname] * MEGABIT,
            draw(st.floats(0, 1)) * speeds[ifname] * MEGABIT,
        )
        for ifname in names
        if draw(st.booleans())
    }
    wants_class = strategy != "none" and draw(st.booleans())
    target = st.sampled_from(["", "500Mbps", "10Gbps", "33.3 Gbit/s", "150Gbps", "9Gbps besteffort"])
    request = SelectionRequest(
        network="example",
        pod=PodReference("default", "pod-1", "uid-1"),
        nics=draw(st.none() | st.integers(0, len(names) + 1)),
        masters=tuple(draw(st.just([]) | st.lists(st.sampled_from(names), unique=True))),
        device_class="fast" if wants_class else "",
        class_ids=(ClassId("15b3", draw(st.sampled_from([frozenset(), frozenset({"1019"})]))),)
        if wants_class
        else None,
        target=draw(target) if strategy in COUNTING else "",
        args={"strict": "false"} if strategy in COUNTING and draw(st.booleans()) else {},
        use=use,
        indexes={ifname: number for number, ifname in enumerate(names)} if draw(st.booleans()) else {},
        devices=tuple(draw(devices(number)) for number in range(draw(st.integers(0, 4)))),
        cpu_numa_nodes=draw(st.sampled_from([(), (0,), (0, 1)])),
        labels={"job-name": draw(st.text(min_size=1, max_size=9))},
    )
    return request, nics


def ask(name: str, request: SelectionRequest, nics: list[Nic]) -> Selection | str:
    """The selection, or the words of the refusal."""
    try:
        return ALL[name].select(request, nics)
    except SelectionError as error:
        return str(error)


def may_be_chosen(request: SelectionRequest, nic: Nic) -> bool:
    """Named, of the class and up: what every strategy that filters goes by."""
    ids = request.class_ids or ()
    of_class = any(nic.vendor == each.vendor and (not each.products or nic.product in each.products) for each in ids)
    named = not request.masters or nic.ifname in request.masters
    return nic.up and named and (of_class or not request.device_class)


@pytest.mark.parametrize("name", sorted(ALL))
@LAW
@given(data=st.data())
def test_a_choice_is_some_of_the_candidates_with_a_reason_for_each(name: str, data: st.DataObject):
    """Chosen once each; a reason for every candidate and no other; promises on chosen NICs alone; or a refusal."""
    request, nics = data.draw(situations(name))
    answer = ask(name, request, nics)
    if isinstance(answer, str):
        assert answer.startswith("network 'example': ")
        return
    offered = {nic.ifname for nic in nics}
    assert answer.chosen
    assert set(answer.chosen) <= offered
    assert len(set(answer.chosen)) == len(answer.chosen)
    assert set(answer.reasons) == offered
    assert all(answer.reasons.values())
    assert set(answer.promised) <= set(answer.chosen)
    assert set(answer.figures) <= offered


@pytest.mark.parametrize("name", sorted(ALL))
@LAW
@given(data=st.data())
def test_filters_come_before_the_cut(name: str, data: st.DataObject):
    """Only NICs that pass all filters are chosen, and as many as asked for wherever so many pass."""
    request, nics = data.draw(situations(name))
    answer = ask(name, request, nics)
    pass_all = [nic for nic in nics if may_be_chosen(request, nic)] if name != "none" else nics
    if isinstance(answer, Selection):
        if name != "none":
            assert set(answer.chosen) <= {nic.ifname for nic in pass_all}
        if request.nics:
            most_may_do = name == "costOpt" and request.target
            assert len(answer.chosen) <= request.nics if most_may_do else len(answer.chosen) == request.nics
    elif name in ("devClass", "topology"):
        assert len(pass_all) < max(request.nics or 0, 1)


@pytest.mark.parametrize("name", sorted(ALL))
@LAW
@given(data=st.data())
def test_equal_input_gives_equal_answers(name: str, data: st.DataObject):
    """Asked again, or with the same use in another order, a strategy says the same."""
    request, nics = data.draw(situations(name))
    again = replace(request, use=dict(reversed(request.use.items())), devices=request.devices[::-1])
    assert ask(name, request, nics) == ask(name, request, list(nics)) == ask(name, again, nics)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"none"}))
@LAW
@given(data=st.data())
def test_the_order_of_candidates_decides_nothing(name: str, data: st.DataObject):
    """The same NICs are chosen with the same promises; only where all of a class are taken the order is theirs."""
    request, nics = data.draw(situations(name))
    shuffled = data.draw(st.permutations(nics))
    first, second = ask(name, request, nics), ask(name, request, shuffled)
    if isinstance(first, str) or isinstance(second, str):
        assert type(first) is type(second)
        return
    assert dict(first.reasons) == dict(second.reasons)
    assert dict(first.promised) == dict(second.promised)
    assert set(first.chosen) == set(second.chosen)
    if name != "devClass":
        assert first.chosen == second.chosen


@pytest.mark.parametrize("name", COUNTING)
@LAW
@given(data=st.data())
def test_a_target_is_promised_whole_or_refused(name: str, data: st.DataObject):
    """Less only with a warning where the policy is not strict; nothing at best effort, which lack never refuses."""
    request, nics = data.draw(situations(name))
    answer = ask(name, request, nics)
    if not request.target or isinstance(answer, str):
        return
    target, promised = parse_target(request.target), sum(answer.promised.values())
    if target.best_effort:
        assert (promised, answer.warning) == (0, "")
    elif answer.warning:
        assert request.args == {"strict": "false"}
        assert promised < target.rate
    else:
        assert promised == target.rate
    for ifname, share in answer.promised.items():
        speed = next(nic.speed for nic in nics if nic.ifname == ifname) * MEGABIT
        assert 0 < share <= speed - request.use_of(ifname).promised


@pytest.mark.parametrize("name", COUNTING)
@LAW
@given(data=st.data())
def test_a_target_is_refused_only_where_it_cannot_be_promised(name: str, data: st.DataObject):
    """What is free on the NICs that may be chosen, as many as asked for, is less than the target."""
    request, nics = data.draw(situations(name))
    if isinstance(ask(name, request, nics), Selection) or not request.target:
        return
    known = [nic for nic in nics if may_be_chosen(request, nic) and nic.speed]
    wanted = request.nics or len(nics)
    free = sorted((nic.speed * MEGABIT - request.use_of(nic.ifname).promised for nic in known), reverse=True)
    target = parse_target(request.target)
    short = not target.best_effort and not request.args and sum(free[:wanted]) < target.rate
    assert short or not known or wanted > len(known) or wanted > sum(may_be_chosen(request, nic) for nic in nics)


@pytest.mark.parametrize("name", COUNTING)
@LAW
@given(data=st.data(), nics=nodes(5))
def test_no_nic_is_ever_promised_more_than_it_has(name: str, data: st.DataObject, nics: list[Nic]):
    """However pods come and go, strict or not, the promises on a NIC stay within its speed."""
    speeds = {nic.ifname: nic.speed * MEGABIT for nic in nics}
    pods: list[dict[str, int]] = []
    promised: Counter[str] = Counter()
    for _ in range(data.draw(st.integers(1, 30))):
        if pods and data.draw(st.booleans()):
            promised.subtract(pods.pop(data.draw(st.integers(0, len(pods) - 1))))
            continue
        request = SelectionRequest(
            "example",
            PodReference("default", "pod-1", "uid-1"),
            nics=data.draw(st.none() | st.integers(1, len(nics))),
            target=f"{data.draw(st.integers(1, 60_000))}Mbps",
            args={"strict": data.draw(st.sampled_from(["true", "false"]))},
            use={ifname: NicUse(1, rate) for ifname, rate in promised.items()},
        )
        answer = ask(name, request, nics)
        if isinstance(answer, Selection):
            pods.append(dict(answer.promised))
            promised.update(answer.promised)
        assert all(0 <= rate <= speeds[ifname] for ifname, rate in promised.items())
