"""Installing: only the standard library, only pins, and a clear word when something is missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from multinic_lab.kernel import placement
from multinic_lab.kernel.placement import runs_natively
from multinic_lab.provision import apart, constraints, debian, emulator, tools

CHECKOUT = tools.checkout()


def test_provisioning_needs_nothing_but_the_standard_library():
    """The installer runs without site-packages and never imports the rest of the lab, which is not
    installable yet at that point."""
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT / 'lab' / 'multinic_lab')!r}); "
        "import provision.__main__; "
        "print([n for n in sys.modules if n.split('.')[0] not in sys.stdlib_module_names | {'provision', '__main__'}])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_committed_constraints_are_pins_only():
    """constraints.txt names versions and nothing else."""
    assert constraints.faults((CHECKOUT / "constraints.txt").read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-url file:///somewhere",
        "-e ./lab",
        "trio>=0.30",
        "trio @ file:///wheel.whl",
        "# from https://index",
        "torch==2.0",
        "nvidia-thing==1",
    ],
)
def test_any_other_line_in_the_constraints_is_a_fault(line: str):
    """Options, addresses, ranges and packages with no business here are named by their line."""
    (fault,) = constraints.faults(f"# pins\nclick==8.0\n{line}\n")
    assert fault.startswith("line 3:")


def test_the_environment_resolves_to_pins():
    """What 'make constraints' would write holds this environment's versions, without our own
    distributions."""
    text = constraints.resolved(Path(sys.executable))
    assert constraints.faults(text) == []
    assert f"pytest=={pytest.__version__}\n" in text
    assert "multinic" not in text


def test_apts_own_answer_says_what_is_missing():
    """The names in a simulated installation are those of its Inst lines, upgrades included."""
    said = (
        "NOTE: This is only a simulation!\n"
        "Inst libmnl0 (1.0.4-3 Debian:12 [amd64])\n"
        "Inst iproute2 [6.0] (6.1.0-3 Debian:12 [amd64])\n"
        "Conf libmnl0 (1.0.4-3 Debian:12 [amd64])\n"
    )
    assert debian.INSTALLS.findall(said) == ["libmnl0", "iproute2"]


def test_an_unpacked_tool_wins_and_a_missing_one_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """MULTINIC_TOOLS is searched first; a program found nowhere is reported with the Debian package that has
    it."""
    program = tmp_path / "usr" / "bin" / "iperf3"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "usr" / "lib" / "any-linux-gnu").mkdir(parents=True)
    (tmp_path / "usr" / "lib" / "any-linux-gnu" / "libiperf.so.0").touch()
    monkeypatch.setenv("MULTINIC_TOOLS", str(tmp_path))
    monkeypatch.setattr(tools, "_MACHINE_FOLDERS", ())
    monkeypatch.setenv("PATH", "")
    assert tools.find("iperf3") == program
    environment = tools.environment()
    assert environment["PATH"].split(":")[1] == str(program.parent)
    assert environment["LD_LIBRARY_PATH"].split(":")[0] == str(tmp_path / "usr" / "lib" / "any-linux-gnu")
    with pytest.raises(tools.ToolMissingError, match="user-mode-linux"):
        tools.find("linux.uml")


def test_links_to_the_machine_are_turned_into_the_folder(tmp_path: Path):
    """An absolute link whose target was unpacked too becomes relative; one that means the machine stays."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kmod").touch()
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin" / "modprobe").symlink_to("/bin/kmod")
    (tmp_path / "sbin" / "other").symlink_to("/bin/none-such")
    debian.relative_links(tmp_path)
    assert str((tmp_path / "sbin" / "modprobe").readlink()) == "../bin/kmod"
    assert str((tmp_path / "sbin" / "other").readlink()) == "/bin/none-such"


DEB822 = """\
# the machine's own
Types: deb deb-src
URIs: mirror:/own
Suites: older older-updates
Components: main contrib
Signed-By: /keys/archive.gpg

Types: deb
URIs: mirror:/own-security
Suites: older-security
Components: main
Signed-By: /keys/archive.gpg

Enabled: no
Types: deb
URIs: mirror:/off
Suites: older
Components: main
"""
ONE_LINE = """\
deb [arch=amd64 signed-by=/keys/archive.gpg] mirror:/own older main contrib
deb-src mirror:/own older main
deb mirror:/own older-updates main
# deb mirror:/off older main
"""
WANTED = "Types: deb\nURIs: mirror:/own\nSuites: newer\nComponents: main contrib\nSigned-By: /keys/archive.gpg\n"


@pytest.mark.parametrize(("name", "text"), [("sources.list.d/a.sources", DEB822), ("sources.list", ONE_LINE)])
def test_a_later_release_comes_from_where_the_machines_own_does(tmp_path: Path, name: str, text: str):
    """Same place, components and keys, with the other release's name; neither updates nor what is switched off."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(text)
    assert apart.later_sources(tmp_path, "older", "newer") == WANTED
    assert apart.later_sources(tmp_path, "another", "newer") == ""


def test_what_no_release_has_is_said_and_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """One sentence with the program and what each release said, loud on stderr; and it is named when it is needed."""

    def refuse(command: list[str], _: Path) -> str:
        raise debian.ProvisionError(f"{command[0]} failed with status 100")

    monkeypatch.setattr(apart, "run", refuse)
    monkeypatch.setattr(apart, "require_apt", lambda _: None)
    problems = apart.unpack(tmp_path / ".tools")
    assert len(problems) == 1
    assert problems[0].startswith("without micropython: ")
    assert f"{apart.LATER}: apt-get failed with status 100" in problems[0]
    apart.say(problems)
    assert f"*** {problems[0]}\n" in capsys.readouterr().err
    monkeypatch.setenv("MULTINIC_TOOLS", str(tmp_path / ".tools" / "debian"))
    monkeypatch.setattr(tools, "_MACHINE_FOLDERS", ())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(tools.ToolMissingError, match="Debian package 'micropython'"):
        tools.find("micropython")


def test_a_program_apart_is_started_with_its_own_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its script calls the loader beside it, wherever the folder is, and is on no search path."""
    root = tmp_path / "newer"
    for path in ("usr/lib/any-linux-gnu/ld-linux-any.so.2", "usr/bin/program"):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text('#!/bin/sh\necho "$0" "$@"\n')
        (root / path).chmod(0o755)
    apart.write_script(root, "program")
    (tmp_path / "debian").mkdir()
    monkeypatch.setenv("MULTINIC_TOOLS", str(tmp_path / "debian"))
    script = tools.find("program")
    done = subprocess.run([script, "word"], capture_output=True, text=True, check=True)
    here = f"{script.parent}/.."
    libraries = f"{here}/usr/lib/any-linux-gnu"
    assert done.stdout == f"{libraries}/ld-linux-any.so.2 --library-path {libraries} {here}/usr/bin/program word\n"
    assert str(root) not in str(tools.environment())


def test_the_emulated_pc_is_of_the_first_release_whose_qemu_has_its_nic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Older ones are passed over by name, and no release with it is an error that tells what each has."""
    offered = {"older": "1:7.2+dfsg-7", "none": "(none)"}
    monkeypatch.setattr(emulator.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(emulator, "require_apt", lambda _: None)
    monkeypatch.setattr(emulator.apart, "releases", lambda: tuple(offered))
    monkeypatch.setattr(emulator.apart, "options_for", lambda release, _: [release])
    monkeypatch.setattr(emulator, "run", lambda command, _: f"qemu:\n  Candidate: {offered[command[1]]}\n")
    with pytest.raises(debian.ProvisionError) as raised:
        emulator.unpack(tmp_path, Path("/depmod"), {})
    told = "package 'qemu-system-x86' is of version {!r}, '1:8.0' or newer is needed"
    assert str(raised.value) == f"older: {told.format('1:7.2+dfsg-7')}; none: {told.format('')}"


def test_the_emulated_pc_needs_a_processor_of_its_own_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It runs this machine's programs, so another processor is said before anything is fetched."""
    monkeypatch.setattr(emulator.platform, "machine", lambda: "riscv64")
    with pytest.raises(debian.ProvisionError, match="processor is 'riscv64': programs of 'x86_64'"):
        emulator.unpack(tmp_path, Path("/depmod"), {})


def test_make_help_has_a_line_for_every_target():
    """Every phony target but help's own machinery shows with its text."""
    makefile = (CHECKOUT / "Makefile").read_text()
    (phony,) = [line for line in makefile.splitlines() if line.startswith(".PHONY:")]
    shown = subprocess.run(
        ["make", "-C", CHECKOUT, "--no-print-directory", "help"], capture_output=True, text=True, check=True
    ).stdout
    assert sorted(line.split()[1] for line in shown.splitlines()) == sorted(phony.split()[1:])


@pytest.mark.parametrize(
    ("kinds", "needs_root", "native", "here"),
    [
        (["macvlan"], True, {"macvlan", "veth"}, True),
        (["macvlan", "ipvlan"], True, {"macvlan", "veth"}, False),
        ([], True, {"veth"}, True),
        ([], True, set(), False),
        ([], False, set(), True),
    ],
)
def test_a_kernel_test_runs_here_exactly_when_this_kernel_can(
    kinds: list[str], needs_root: bool, native: set[str], here: bool
):
    """All its kinds must be there, and a test that needs root needs a kernel that lets it make namespaces."""
    assert runs_natively(kinds, needs_root, frozenset(native)) is here


def test_a_link_kind_that_nobody_probes_is_an_error():
    """A misspelt kind must not send its test to the lab kernel for ever."""
    with pytest.raises(ValueError, match="ipvlam"):
        runs_natively(["ipvlam"], True, frozenset({"veth"}))


@pytest.mark.parametrize("run", [placement.NATIVE, placement.LAB_KERNEL, placement.EMULATED_PC])
@pytest.mark.parametrize(
    ("kinds", "needs_root", "sriov", "where"),
    [
        ([], False, False, placement.NATIVE),
        (["veth"], True, False, placement.NATIVE),
        (["veth", "ipvlan"], True, False, placement.LAB_KERNEL),
        ([], False, True, placement.EMULATED_PC),
        (["ipvlan"], True, True, placement.EMULATED_PC),
    ],
)
def test_every_run_knows_the_same_place_for_a_test(
    monkeypatch: pytest.MonkeyPatch, run: str, kinds: list[str], needs_root: bool, sriov: bool, where: str
):
    """So each test runs in exactly one of the three; SR-IOV is for the emulated PC, whatever else it needs."""
    monkeypatch.setattr(placement, "native_link_kinds", lambda: frozenset({"veth"}))
    monkeypatch.delenv(placement.NATIVE_KINDS, raising=False)
    monkeypatch.delenv(placement.IN_EMULATED_PC, raising=False)
    if run != placement.NATIVE:
        monkeypatch.setenv(placement.NATIVE_KINDS, "veth")
    if run == placement.EMULATED_PC:
        monkeypatch.setenv(placement.IN_EMULATED_PC, "1")
    assert placement.here() == run
    assert placement.place(kinds, needs_root, sriov) == where
