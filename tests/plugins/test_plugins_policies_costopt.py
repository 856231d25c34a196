"""costOpt: the fewest NICs that meet a target and, of the sets of so many, the one that leaves the fast NICs free."""

from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multinic_plugin_policies.costopt import CostOpt

from multinic_core import Nic, PodReference, SelectionError, SelectionRequest
from multinic_core.bandwidth import MEGABIT
from multinic_core.selection import NicUse

POD = PodReference("default", "pod-1", "uid-1")


def nic(number: int, speed: int) -> Nic:
    """``eth<number>`` of so many Mbit/s."""
    return Nic(f"eth{number}", 10 + number, 1500, speed=speed)


def best(nics: list[Nic], use: dict[str, NicUse], rate: int, most: int) -> tuple[str, ...] | None:
    """By trying all sets: the fewest NICs; of these the least fastest NIC, then the least second fastest, and so on."""

    def cost(each: Nic) -> tuple[int, int, float, str]:
        used = use.get(each.ifname, NicUse())
        return each.speed, used.attachments, used.load, each.ifname

    def free(each: Nic) -> int:
        return max(each.speed * MEGABIT - use.get(each.ifname, NicUse()).promised, 0)

    for count in range(1, most + 1):
        enough = [sorted(chosen, key=cost) for chosen in combinations(nics, count) if sum(map(free, chosen)) >= rate]
        if enough:
            found = min(enough, key=lambda chosen: [cost(each) for each in reversed(chosen)])
            return tuple(each.ifname for each in found)
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_set_of_nics_would_do_better(data: st.DataObject):
    """Against all sets of up to eight NICs, with any use of them: the same choice, or refused where none will do."""
    nics = [
        nic(number, data.draw(st.sampled_from([1_000, 10_000, 25_000, 100_000])))
        for number in range(data.draw(st.integers(1, 8)))
    ]
    use = {
        each.ifname: NicUse(
            data.draw(st.integers(0, 2)),
            data.draw(st.integers(0, 12)) * each.speed * MEGABIT // 10,
            float(data.draw(st.integers(0, 3))),
        )
        for each in nics
    }
    most = data.draw(st.integers(1, len(nics)))
    rate = data.draw(st.integers(1, sum(each.speed for each in nics)))
    request = SelectionRequest("example", POD, nics=most, target=f"{rate}Mbps", use=use)
    expected = best(nics, use, rate * MEGABIT, most)
    if expected is None:
        with pytest.raises(SelectionError, match=f"found .* free to promise on .*{len(nics)} NICs"):
            CostOpt().select(request, nics)
    else:
        assert CostOpt().select(request, nics).chosen == expected


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        pytest.param("1Gbps", ("eth1",), id="the-slowest-that-does"),
        pytest.param("5Gbps", ("eth2",), id="one-faster-rather-than-many-slow"),
        pytest.param("60Gbps", ("eth4",), id="one-rather-than-two"),
        pytest.param("101Gbps", ("eth1", "eth4"), id="the-fast-one-with-the-slowest"),
        pytest.param("75Gbps besteffort", ("eth4",), id="best-effort-is-chosen-alike"),
    ],
)
def test_the_fewest_then_the_slowest(target: str, chosen: tuple[str, ...]):
    """NICs of 1, 10, 50 and 100 Gbit/s."""
    nics = [nic(1, 1_000), nic(2, 10_000), nic(3, 50_000), nic(4, 100_000)]
    assert CostOpt().select(SelectionRequest("example", POD, target=target), nics).chosen == chosen


def test_two_of_middle_speed_leave_the_fastest_free():
    """110 Gbit/s come from 60 and 60, not from 10 and 100."""
    nics = [nic(1, 10_000), nic(2, 60_000), nic(3, 60_000), nic(4, 100_000)]
    request = SelectionRequest("example", POD, target="110Gbps")
    assert CostOpt().select(request, nics).chosen == ("eth2", "eth3")


def test_without_a_target_the_slowest_are_taken():
    """As many as asked for; nothing is promised."""
    nics = [nic(1, 100_000), nic(2, 1_000), nic(3, 10_000)]
    selection = CostOpt().select(SelectionRequest("example", POD, nics=2), nics)
    assert (selection.chosen, dict(selection.promised)) == (("eth2", "eth3"), {})


def test_pods_fill_the_nics_to_the_last_bit_and_no_further():
    """Of 100 pods of 1 Gbit/s on two NICs of 10 exactly 20 are promised it; at best effort all 100 are attached."""
    nics, use, refused = [nic(1, 10_000), nic(2, 10_000)], {}, []
    for _ in range(100):
        request = SelectionRequest("example", POD, nics=1, target="1Gbps", use=dict(use))
        try:
            selection = CostOpt().select(request, nics)
        except SelectionError as error:
            refused.append(str(error))
            continue
        for ifname, rate in selection.promised.items():
            before = use.get(ifname, NicUse())
            use[ifname] = NicUse(before.attachments + 1, before.promised + rate)
    assert {ifname: used.promised for ifname, used in use.items()} == {"eth1": 10**10, "eth2": 10**10}
    assert len(refused) == 80
    assert "target '1Gbps' is 1 Gbit/s, found 0 bit/s free to promise on 1 of its 2 NICs" in refused[0]
    wish = SelectionRequest("example", POD, nics=1, target="1Gbps besteffort", use=use)
    assert dict(CostOpt().select(wish, nics).promised) == {}


def test_where_the_policy_is_not_strict_the_pod_gets_what_there_is():
    """The warning has the numbers of the refusal that it stands for."""
    nics = [nic(1, 1_000), nic(2, 10_000)]
    request = SelectionRequest("example", POD, target="20Gbps", args={"strict": "false"})
    selection = CostOpt().select(request, nics)
    assert dict(selection.promised) == {"eth1": 10**9, "eth2": 10**10}
    assert "target '20Gbps' is 20 Gbit/s, found 11 Gbit/s free to promise on its 2 NICs" in selection.warning
