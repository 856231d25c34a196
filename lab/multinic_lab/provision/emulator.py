"""What the emulated PC is made of: QEMU with its firmware and libraries, and a kernel with its modules.

All of it is of one Debian release, the first whose QEMU emulates the NIC with SR-IOV that the PC has, and lies in a
folder of its own that no search path names. Of the kernel's package only the kernel is taken: what it depends on
belongs to a machine that boots from a disk.
"""

import platform
import re
import shutil
import subprocess
from pathlib import Path

from . import apart
from .debian import ProvisionError, require_apt, run, would_install

FOLDER = "emulator"
QEMU = "qemu-system-x86"
PROGRAM = "qemu-system-x86_64"
OLDEST_QEMU = "1:8.0"
"""The first one with the device igb. Source: QEMU's change log of 8.0, "Network"."""
KERNEL = "linux-image-amd64"
"""The package that depends on the newest kernel of its release."""
VERSIONED = re.compile(r"linux-image-\d")
PROCESSOR = "x86_64"


def unpack(tools: Path, depmod: Path, environment: dict[str, str]) -> Path:
    """Unpack QEMU and a kernel into `tools`/emulator, replacing what was there; return that folder.

    Blocking, half a minute, needs Debian's package servers (some 140 MB).

    Args:
        tools: the checkout's folder of unpacked packages.
        depmod: kmod's program.
        environment: what `depmod` needs to run.

    Raises:
        ProvisionError: no release has what is needed, or this machine's processor is another one; what each release
            said is in the message.
    """
    if platform.machine() != PROCESSOR:
        raise ProvisionError(f"processor is {platform.machine()!r}: programs of {PROCESSOR!r} run in the emulated PC")
    require_apt([QEMU, KERNEL])
    problems = []
    for release in apart.releases():
        try:
            return _unpack(release, tools, depmod, environment)
        except ProvisionError as error:
            problems.append(f"{release}: {error}")
    raise ProvisionError("; ".join(problems))


def _unpack(release: str, tools: Path, depmod: Path, environment: dict[str, str]) -> Path:
    state, fresh, target = tools / "apt", tools / f"{FOLDER}.new", tools / FOLDER
    options = apart.options_for(release, state)
    offered = candidate(run(["apt-cache", *options, "policy", QEMU], state))
    if not _at_least(offered, OLDEST_QEMU):
        raise ProvisionError(f"package {QEMU!r} is of version {offered!r}, {OLDEST_QEMU!r} or newer is needed")
    kernels = {name for name in would_install([KERNEL], options, state) if VERSIONED.match(name)}
    if len(kernels) != 1:
        raise ProvisionError(f"package {KERNEL!r} depends on kernels {sorted(kernels)}, one was expected")
    apart.fill(fresh, would_install([QEMU], options, state) | kernels, options, state)
    apart.write_script(fresh, PROGRAM)
    # The kernel's package leaves this to its installation script.
    (fresh / "lib").symlink_to("usr/lib")
    done = subprocess.run(
        [depmod, "-b", fresh, version(fresh)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ProvisionError(f"depmod failed with status {done.returncode}: {done.stderr.strip()!r}")
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    shutil.rmtree(state)
    return target


def candidate(policy: str) -> str:
    """The version that apt would install, from what ``apt-cache policy`` printed; "" when it knows none."""
    found = re.search(r"^  Candidate: (\S+)", policy, re.MULTILINE)
    return found[1] if found and found[1] != "(none)" else ""


def version(root: Path) -> str:
    """The version of the one kernel at `root`.

    Raises:
        ProvisionError: there is none, or more than one.
    """
    found = sorted(path.name for path in root.glob("usr/lib/modules/*"))
    if len(found) != 1:
        raise ProvisionError(f"{str(root)!r}: found kernels {found}, expected one")
    return found[0]


def _at_least(offered: str, oldest: str) -> bool:
    command = ["dpkg", "--compare-versions", offered, "ge", oldest]
    return bool(offered) and not subprocess.run(command, check=False).returncode
