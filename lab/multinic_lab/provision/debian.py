"""Debian packages unpacked into a folder, with no right beyond writing that folder and no change to the
machine.

apt runs on private state: its lists and cache live under ``.tools/apt``, its sources and keys are the
machine's own. Which further packages are needed (shared libraries that the machine lacks) is apt's own
answer, from the machine's real list of installed packages.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

PACKAGES = (
    "user-mode-linux",
    "kmod",
    "iproute2",
    "iputils-ping",
    "iperf3",
    "containernetworking-plugins",
    "podman",
    "crun",
    "busybox-static",
)
"""What demo, tests and benches run."""

NEVER = frozenset({"libc6", "libc-bin", "dpkg", "debconf", "perl-base", "init-system-helpers", "login", "passwd"})
"""Not unpacked even when apt would install or upgrade them: a second C library on the search path breaks
every program, and one that manages the machine's users has no business here."""

INSTALLS = re.compile(r"^Inst (\S+)", re.MULTILINE)
"""A line of ``apt-get --simulate install`` that names a package to be installed or upgraded."""


class ProvisionError(Exception):
    """Something could not be installed; the message says what and what to do."""


def unpack(packages: Sequence[str], tools: Path, *, folder: str = "debian") -> Path:
    """Unpack `packages` and the libraries they miss here into `tools`/`folder`, replacing what was there;
    return that folder.

    Blocking, some seconds, needs Debian's package servers.

    Raises:
        ProvisionError: there is no apt here, or it fails; its own words are in the message.
    """
    require_apt(packages)
    state, fresh, target = tools / "apt", tools / f"{folder}.new", tools / folder
    options = private_state(state)
    run(["apt-get", *options, "-qq", "update"], state)
    wanted = sorted({*packages, *would_install(packages, options, state)} - NEVER)
    run(["apt-get", *options, "-qq", "download", *wanted], state / "debs")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for package in sorted((state / "debs").glob("*.deb")):
        run(["dpkg", "-x", str(package), str(fresh)], state)
    relative_links(fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    shutil.rmtree(state)
    return target


def require_apt(packages: Collection[str]) -> None:
    """Raise ProvisionError where there is no apt to get these packages with."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise ProvisionError(f"no apt-get here: install these by the machine's own means: {' '.join(packages)}")


def private_state(state: Path) -> list[str]:
    """Make an empty folder `state` and return apt options that keep every written file under it and leave the
    machine's sources, keys and status as they are; downloads belong into its folder ``debs``."""
    shutil.rmtree(state, ignore_errors=True)
    for path in (state / "lists" / "partial", state / "cache" / "archives" / "partial", state / "debs"):
        path.mkdir(parents=True)
    settings = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": state / "cache",
        "Dir::Log": state,
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def would_install(packages: Sequence[str], options: list[str], state: Path) -> set[str]:
    """Packages apt would install along with `packages` on this machine, recommendations left out."""
    simulated = run(["apt-get", *options, "--simulate", "--no-install-recommends", "install", *packages], state)
    return set(INSTALLS.findall(simulated))


def relative_links(root: Path) -> None:
    """Absolute links point at the machine; make them point into `root` when what they mean is there."""
    for folder, _, _ in os.walk(root):
        for path in Path(folder).iterdir():
            if (
                path.is_symlink()
                and (meant := str(path.readlink())).startswith("/")
                and os.path.lexists(f"{root}{meant}")
            ):
                path.unlink()
                path.symlink_to(os.path.relpath(f"{root}{meant}", folder))


def run(command: list[str], folder: Path) -> str:
    """Run and return what was printed; a failure carries the last lines of both streams."""
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=_environment()
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise ProvisionError(f"{command[0]} failed with status {done.returncode}:\n{said}")
    return done.stdout


def _environment() -> dict[str, str]:
    return os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
