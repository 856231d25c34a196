"""Programs that come with everything they need, down to the C library: from a later Debian release, if need be.

A program of a newer release needs a newer C library, which on a search path would break every program of the machine.
So each release has a folder of its own here, which no search path names, and its programs are started by scripts in
``run`` below that: they call that folder's loader with that folder's libraries.

The machine's own release is tried first. The later one's packages come from where the machine's own come from, signed
with keys that the machine trusts for those.
"""

import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from .debian import ProvisionError, private_state, relative_links, require_apt, run, would_install

PROGRAMS = {"micropython": "micropython"}
"""Program to the Debian package that holds it."""
LATER = "trixie"
"""The Debian release to take what the machine's own does not have."""
OS_RELEASE, APT = Path("/etc/os-release"), Path("/etc/apt")
RUN = "run"
SCRIPT = """#!/bin/sh
here=${{0%/*}}/..
exec "$here/{loader}" --library-path "$here/{libraries}" "$here/{program}" "$@"
"""
ONE_LINE = re.compile(r"^deb(?:\s+\[(?P<options>[^]]*)\])?\s+(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")
"""Source: sources.list(5), the format with one line for each source."""


def unpack(tools: Path) -> list[str]:
    """Unpack `PROGRAMS` into folders of `tools` named after their releases; return what could not be had and why.

    Blocking, some seconds, needs Debian's package servers.

    Raises:
        ProvisionError: there is no apt here.
    """
    require_apt(PROGRAMS.values())
    left = dict(PROGRAMS)
    problems = []
    for release in releases():
        if not left:
            continue
        try:
            done = _unpack_known(left, tools, release)
        except (ProvisionError, OSError) as error:
            problems.append(f"{release}: {error}")
            continue
        problems += [
            f"{release}: has no package {package!r}" for program, package in left.items() if program not in done
        ]
        left = {program: package for program, package in left.items() if program not in done}
    return [f"without {', '.join(left)}: {'; '.join(problems)}"] if left else []


def find(tools: Path, program: str) -> Path | None:
    """The script that starts a program, if it has been unpacked."""
    return next(iter(sorted(tools.glob(f"*/{RUN}/{program}"))), None)


def later_sources(apt: Path, codename: str, later: str) -> str:
    """apt's sources with one release in place of another, as deb822; "" when none of them is of that release.

    Only what is named after the release alone is taken, and neither updates nor other archives.

    Args:
        apt: the folder of apt's configuration.
        codename: of the release that the sources are of.
        later: of the one wanted.
    """
    found = [
        f"Types: deb\nURIs: {uris}\nSuites: {later}\nComponents: {components}\n"
        + (f"Signed-By: {key}\n" if key else "")
        for uris, suites, components, key in _sources(apt)
        if codename in suites.split()
    ]
    return "\n".join(dict.fromkeys(found))


def _sources(apt: Path) -> Iterator[tuple[str, str, str, str]]:
    """(URIs, suites, components, keyring or "") of every source of binary packages."""
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            lines = [line for line in paragraph.splitlines() if not line.startswith("#")]
            fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", "\n".join(lines), re.MULTILINE))
            if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
                yield (
                    fields.get("URIs", ""),
                    fields.get("Suites", ""),
                    fields.get("Components", ""),
                    fields.get("Signed-By", ""),
                )
    for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))):
        for line in path.read_text().splitlines() if path.exists() else ():
            if match := ONE_LINE.match(line.strip()):
                key = re.search(r"signed-by=(\S+)", match["options"] or "")
                yield match["uri"], match["suite"], match["components"], key[1] if key else ""


def releases() -> tuple[str, ...]:
    """The code names to try, in this order: the machine's own, then the later one."""
    return tuple(dict.fromkeys(name for name in (_own_codename(), LATER) if name))


def _own_codename() -> str:
    own = re.search(r"^VERSION_CODENAME=\"?([\w.-]+)", OS_RELEASE.read_text(), re.MULTILINE)
    return own[1] if own else ""


def options_for(release: str, state: Path) -> list[str]:
    """apt options under which this release is all there is and nothing of it is installed; its lists are fetched.

    Args:
        release: one of `releases`.
        state: folder of apt's private state, made anew.

    Raises:
        ProvisionError: the machine's sources tell no place to get it from, or that place does not answer.
    """
    codename = _own_codename()
    options = private_state(state)
    # With nothing installed, apt names all that is needed, the C library too.
    (state / "status").touch()
    options += ["-o", f"Dir::State::status={state / 'status'}"]
    if release != codename:
        sources = later_sources(APT, codename, release)
        if not sources:
            raise ProvisionError(f"found no source of {codename!r} in {str(APT)!r} to take its place")
        (state / "later.sources").write_text(sources)
        options += ["-o", f"Dir::Etc::sourcelist={state / 'later.sources'}", "-o", "Dir::Etc::sourceparts=-"]
    run(["apt-get", *options, "-qq", "update"], state)
    return options


def fill(fresh: Path, packages: Iterable[str], options: list[str], state: Path) -> None:
    """Download exactly these packages and unpack them into the folder `fresh`, made anew."""
    run(["apt-get", *options, "-qq", "download", *sorted(packages)], state / "debs")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for package in sorted((state / "debs").glob("*.deb")):
        run(["dpkg", "-x", str(package), str(fresh)], state)
    relative_links(fresh)


def _unpack_known(wanted: dict[str, str], tools: Path, release: str) -> list[str]:
    """Unpack those programs that this release has; return them."""
    state, fresh = tools / "apt", tools / f"{release}.new"
    options = options_for(release, state)
    names = run(["apt-cache", *options, "pkgnames"], state).split()
    found = {program: package for program, package in wanted.items() if package in names}
    if found:
        fill(fresh, would_install(list(found.values()), options, state), options, state)
        for program in found:
            write_script(fresh, program)
        shutil.rmtree(tools / release, ignore_errors=True)
        fresh.rename(tools / release)
    shutil.rmtree(state)
    return list(found)


def write_script(root: Path, program: str) -> None:
    """Write the script that starts `program` of the release unpacked at `root`.

    Raises:
        ProvisionError: the program or the loader is not there.
    """
    loaders = sorted(root.glob("usr/lib/*-linux-*/ld-*.so.*")) or sorted(root.glob("lib/*-linux-*/ld-*.so.*"))
    programs = [path for folder in ("usr/bin", "usr/sbin") if (path := root / folder / program).exists()]
    if not loaders or not programs:
        raise ProvisionError(f"found no {'loader' if programs else program} among what was unpacked")
    script = root / RUN / program
    script.parent.mkdir(exist_ok=True)
    loader = loaders[0].relative_to(root)
    script.write_text(SCRIPT.format(loader=loader, libraries=loader.parent, program=programs[0].relative_to(root)))
    script.chmod(0o755)


def say(problems: list[str]) -> None:
    """Tell a person what is not there, so that it cannot be overlooked."""
    for problem in problems:
        sys.stderr.write(f"\n*** {problem}\n*** All else works; what needs it says so when it runs.\n\n")
