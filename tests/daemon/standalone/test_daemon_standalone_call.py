"""One call in this process: turns that end, answers for what nobody foresaw, and a cluster of one network."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_interface
from pathlib import Path

import pytest
from multinic_daemon.journal.journal import AttachmentKey, Journal, JournalError, NewAttachment
from multinic_daemon.standalone import answer, call
from multinic_daemon.standalone import turn as turns
from multinic_daemon.standalone.cluster import OneNetwork
from multinic_daemon.standalone.config import StandaloneNetwork
from multinic_daemon.standalone.turn import LOCK_FILE, alarm, turn
from multinic_daemon.testing.executables import FileAction

from multinic_core import ConfigError
from multinic_core.devices import TakeDevice
from multinic_core.errors import DaemonUnavailableError
from multinic_core.model import MultiNicNetwork
from multinic_core.outside import Act
from multinic_core.plan import NodeView, Plan, PodReference
from multinic_core.registry import Registry

ENVIRONMENT = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1"}


def netconf(folder: Path) -> bytes:
    return json.dumps({"cniVersion": "1.0.0", "name": "fast", "standalone": True, "dataDir": str(folder)}).encode()


@pytest.fixture(autouse=True)
def _logging_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call sets up the logging of its process, which here is that of all tests."""
    monkeypatch.setattr(call, "start_logging", lambda _: None)


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[Path]:
    """A folder whose turn somebody else has."""
    with (tmp_path / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield tmp_path


def test_a_wait_for_others_ends(taken, monkeypatch):
    """As code 11, so that the runtime tries again; the folder is as it was."""
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.05)
    status, body = answer("multi-nic", ENVIRONMENT, netconf(taken))
    assert status == 1
    assert json.loads(body)["code"] == DaemonUnavailableError.cni_code
    assert json.loads(body)["msg"].startswith("standalone: other calls took more than 0.05 seconds")
    assert [file.name for file in taken.iterdir()] == [LOCK_FILE]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_turn_passes_on_when_its_process_dies(tmp_path):
    """The kernel takes the lock from whoever is gone, however it went."""
    script = (
        "import os, signal, sys; from pathlib import Path; from multinic_daemon.standalone.turn import turn\n"
        "with turn(Path(sys.argv[1])): print('mine', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"mine\n", -signal.SIGKILL)
    with turn(tmp_path):
        assert (tmp_path / LOCK_FILE).exists()


def test_the_folder_is_roots_alone(tmp_path):
    """Whoever could write the journal could free addresses."""
    with turn(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "b" / LOCK_FILE).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_is_named(tmp_path):
    """With the field that named it."""
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match=r"^dataDir: found "), turn(tmp_path / "file"):
        pass


def test_an_alarm_rings_once_and_leaves_nothing(tmp_path):
    """After the block the handler is the one before, and no timer runs."""
    before = signal.getsignal(signal.SIGALRM)
    rung: list[float] = []
    with alarm(0.01, partial(rung.append, 1.0)):
        while not rung:
            time.monotonic()
    assert rung == [1.0]
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("command", "hanging"),
    [("DEL", "async def hang(*_): time.sleep(1000)\ncall.recover = hang"), ("ADD", "call.load_plugins = hang")],
    ids=["the kernel", "a plugin that is loaded"],
)
def test_what_hangs_does_not_hold_the_answer(tmp_path, command, hanging):
    """The process says code 11 and ends; whoever comes next finishes what it has left."""
    script = (
        "import sys, time; from multinic_daemon.standalone import answer, call\n"
        "call.WORK_SECONDS = 0.1\n"
        "def hang(*_): time.sleep(1000)\n"
        f"{hanging}\n"
        f"answer('multi-nic', {ENVIRONMENT | {'CNI_COMMAND': command}!r}, sys.stdin.buffer.read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=netconf(tmp_path), capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 11)
    assert f"{command} not done within 0.1 seconds" in json.loads(done.stdout)["msg"]
    assert answer("multi-nic", ENVIRONMENT, netconf(tmp_path)) == (0, b"")


def test_what_nobody_foresaw_is_code_999(tmp_path, monkeypatch):
    """With the traceback on standard error, and the turn given back."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(call.Journal, "open_or_replace", fail)
    status, body = answer("multi-nic", ENVIRONMENT, netconf(tmp_path))
    assert (status, json.loads(body)["code"]) == (1, 999)
    assert "ZeroDivisionError('oh')" in json.loads(body)["msg"]
    with turn(tmp_path):
        pass


@pytest.mark.parametrize(
    ("stdin", "code"), [(b"{", 6), (b"[]", 6), (b'{"standalone": true, "name": 5, "dataDir": "/dev/null"}', 5)]
)
def test_an_error_is_cni_error_json(stdin, code):
    """Whatever is wrong, the runtime gets a code and a sentence."""
    status, body = answer("multi-nic", ENVIRONMENT, stdin)
    assert (status, json.loads(body)["code"]) == (1, code)
    assert json.loads(body)["msg"]


def test_del_needs_nothing_but_a_name_and_a_folder(tmp_path):
    """What the journal does not know is gone; the journal is there afterwards, for root alone."""
    assert answer("multi-nic", ENVIRONMENT, netconf(tmp_path)) == (0, b"")
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


def test_del_takes_actions_of_plugins_back(tmp_path, monkeypatch):
    """What a plugin did outside the machine goes with the attachment, though DEL reads no network."""
    action = FileAction(tmp_path / "actions")
    action.do({"key": "k"})
    registry = Registry()
    registry.actions.objects[action.name] = action
    monkeypatch.setattr(call, "load_plugins", lambda: registry)
    journal = Journal.open(tmp_path)
    plan = Plan((Act(action.name, {"key": "k"}, "net1-0"),))
    key = AttachmentKey("multi-nic", "fast", "c1", "net1")
    journal.record_ready(NewAttachment(key, str(tmp_path / "gone"), PodReference(), "", plan, (), {}), "")
    journal.close()
    assert answer("multi-nic", ENVIRONMENT, netconf(tmp_path)) == (0, b"")
    assert action.done() == []


def test_nics_are_looked_at_when_what_was_left_is_finished(tmp_path, monkeypatch):
    """A device that a crash left half given is to be found as it was, not as a pod was to have it."""
    seen: list[str] = []

    async def recover(engine: object) -> None:
        seen.append("recovered")

    async def look(*_: object) -> NodeView:
        seen.append("looked")
        raise ConfigError("enough")

    monkeypatch.setattr(call, "recover", recover)
    monkeypatch.setattr(call, "_look", look)
    fields = {"plugin": {"type": "macvlan"}, "ipam": {"type": "multi-nic-ipam"}, "subnet": "192.168.0.0/16"}
    stdin = json.dumps({**json.loads(netconf(tmp_path)), **fields, "masters": ["eth1"]}).encode()
    _, body = answer("multi-nic", ENVIRONMENT | {"CNI_COMMAND": "ADD"}, stdin)
    assert (json.loads(body)["msg"], seen) == ("enough", ["recovered", "looked"])


async def test_a_nic_that_sits_in_a_pod_is_still_the_machines(tmp_path):
    """Else a network that names it would be refused on its other NICs, and its address given to a pod."""
    journal = Journal.open(tmp_path)
    own = ip_interface("10.0.1.1/24")
    plan = Plan((TakeDevice("net1-0", "nic-away", "nic-away", mtu_before=1500, addresses_before=(own,)),))
    key = AttachmentKey("multi-nic", "fast", "c1", "net1")
    journal.record_ready(NewAttachment(key, str(tmp_path / "gone"), PodReference(), "", plan, (), {}), "")
    spec = {"ipam": "", "plugin": {"type": "host-device", "cniVersion": "1.0.0"}}
    network = MultiNicNetwork.model_validate({"metadata": {"name": "fast"}, "spec": spec})
    view = await call._look(StandaloneNetwork(network, (), (), b""), journal)
    journal.close()
    assert view.nics["nic-away"].addresses == (own,)


async def test_a_cluster_of_one_network_knows_no_other(autojump_clock):
    """It is ready at once, knows one name, and says why this machine cannot serve it."""
    network = MultiNicNetwork.model_validate(
        {"metadata": {"name": "fast"}, "spec": {"ipam": "", "plugin": {"type": "macvlan", "cniVersion": "1.0.0"}}}
    )
    cluster = OneNetwork(network)
    await cluster.ready()
    assert (cluster.synced, await cluster.network("fast"), cluster.pools("fast")) == (True, network, [])
    with pytest.raises(ConfigError, match="found 'slow'"):
        await cluster.network("slow")
    broken = OneNetwork(network, problems=["masters[0]: gone"])
    with pytest.raises(ConfigError, match=r"^masters\[0\]: gone$"):
        await broken.network("fast")
    with pytest.raises(ConfigError, match=r"^masters\[0\]: gone$"):
        broken.pools("fast")
