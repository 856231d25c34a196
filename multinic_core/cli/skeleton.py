"""What a new plugin's distribution consists of: templates filled in, and put in place whole or not at all.

The templates lie in ``templates/``: what all have in common, and a folder for each kind. A name decides the others:
``fast-path`` is the plugin's name, ``multinic-plugin-fast-path`` the distribution, ``multinic_plugin_fast_path`` the
package and ``FastPath`` the class.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

from multinic_core.errors import ConfigError
from multinic_core.registry import Register, Registry

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""A word that distributions, entry points and folders may have for a name, each in the one way to write it."""
LONGEST_NAME = 30
"""Characters; the lines of the templates are then as the formatter would have them."""
SUFFIX = ".tmpl"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of plugin that there are templates for."""

    registers: Callable[[Registry], Sequence[Register[Any]]]
    """Where those that are installed are found, the one that networks name first."""
    dependencies: tuple[str, ...]

    @property
    def title(self) -> str:
        """As the registry calls it."""
        return " and ".join(register.title for register in self.registers(Registry()))


KINDS = {
    "main": Kind(lambda registry: (registry.main_plugins,), ("multinic-core", "pydantic>=2")),
    "strategy": Kind(lambda registry: (registry.strategies,), ("multinic-core",)),
    "ipam": Kind(lambda registry: (registry.ipams,), ("multinic-core", "pydantic>=2")),
    "action": Kind(lambda registry: (registry.main_plugins, registry.actions), ("multinic-core", "pydantic>=2")),
}
"""Folder of the templates to kind."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A new distribution, not yet written."""

    distribution: str
    package: str
    files: Mapping[str, str]
    """Path in the distribution's folder to text."""


def fill_in(name: str, kind: str) -> Skeleton:
    """The distribution of a plugin of this name.

    Raises:
        ConfigError: the name cannot be that of a distribution, a package and a class.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"name: found {name!r}, expected at most {LONGEST_NAME} lower-case letters and digits, a letter first, "
            "words joined by '-', such as 'fast-path'"
        )
    class_name = "".join(word.capitalize() for word in name.split("-"))
    if found := [each for each in (name, class_name) if keyword.iskeyword(each)]:
        raise ConfigError(f"name: found {name!r}, expected another word, as Python keeps {found[0]!r} for itself")
    distribution = f"multinic-plugin-{name}"
    package = distribution.replace("-", "_")
    values = {
        "name": name,
        "distribution": distribution,
        "package": package,
        "class_name": class_name,
        "title": KINDS[kind].title,
        "dependencies": ", ".join(f'"{each}"' for each in KINDS[kind].dependencies),
    }
    texts = {
        path.replace("package/", f"{package}/"): Template(text).substitute(values)
        for folder in ("common", kind)
        for path, text in _templates(files("multinic_core.cli") / "templates" / folder)
    }
    if taken := {each for path, text in texts.items() if path.endswith(".py") for each in _bound_twice(text)}:
        raise ConfigError(f"name: found {name!r}, expected another word, as the plugin imports {sorted(taken)[0]!r}")
    return Skeleton(distribution, package, texts)


def _templates(folder: Traversable, path: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, f"{path}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield path + entry.name.removesuffix(SUFFIX), entry.read_text(encoding="utf-8")


def _bound_twice(module: str) -> list[str]:
    """Names that a module imports or gives to a class more than once."""
    bound: Counter[str] = Counter()
    for node in ast.parse(module).body:
        if isinstance(node, ast.ClassDef):
            bound[node.name] += 1
        elif isinstance(node, ast.ImportFrom):
            bound.update(alias.name for alias in node.names)
    return [name for name, times in bound.items() if times > 1]


def write(skeleton: Skeleton, parent: Path) -> Path:
    """The distribution's folder, new in ``parent``: made beside its place under another name, then renamed.

    Raises:
        ConfigError: the place is taken.
        OSError: the system refuses; nothing is left behind.
    """
    target = parent / skeleton.distribution
    if target.is_symlink() or target.exists():
        raise ConfigError(f"folder {str(target)!r}: found one, expected none; choose another name or --directory")
    with TemporaryDirectory(prefix=f".{skeleton.distribution}-", dir=parent) as beside:
        made = Path(beside, skeleton.distribution)
        for path, text in skeleton.files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8")
        made.rename(target)
    return target
