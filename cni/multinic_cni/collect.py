"""A script for the interpreter that a self-contained form is made of: tells what the executables need of it.

Its first argument is what follows the first source in the package of the interpreter's first import. It runs the
sources given as further arguments for the sake of their imports, and prints one JSON object: the interpreter's version,
its file, where it expects its library below its own folder, the modules that were imported in compiled form (path below
the library to hexadecimal), that package, and every file of machine code that is now in memory. Nothing else is
imported here, as that would be taken for a need.
"""

import marshal
import sys
from _frozen_importlib_external import MAGIC_NUMBER

LANDMARK = "os"
"""The module by whose file an interpreter recognises its library, though it has the module itself built in."""
UNCHECKED = b"\1\0\0\0" + bytes(8)
"""Of a compiled file that is used without a look for its source. Source: PEP 552."""


def compiled_modules() -> dict[str, str]:
    """Path below the library to compiled form, for all modules in memory that are neither built in nor frozen."""
    found = {}
    for module in list(sys.modules.values()):
        spec = module.__spec__
        if spec is None or not (spec.has_location or spec.name == LANDMARK):
            continue
        # Loaders of extension modules have the method too, and give None.
        code = getattr(spec.loader, "get_code", lambda _: None)(spec.name)
        if code is None:
            continue
        path = spec.name.replace(".", "/") + (
            "/__init__.pyc" if spec.submodule_search_locations is not None else ".pyc"
        )
        found[path] = (MAGIC_NUMBER + UNCHECKED + marshal.dumps(code)).hex()
    return found


def machine_code() -> list[str]:
    """Paths of all ELF files in memory, sorted: the interpreter, its libraries, their loader, extension modules."""
    with open("/proc/self/maps") as maps:  # noqa: PTH123 -- pathlib would be taken for a need
        names = {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if " /" in line}
    found = []
    for name in sorted(names):
        with open(name, "rb") as file:  # noqa: PTH123
            if file.read(4) == b"\x7fELF":
                found.append(name)
    return found


def first(source: str, last: str) -> str:
    """Compiled form of the first source with these lines at its end, in hexadecimal."""
    with open(source, encoding="utf-8") as file:  # noqa: PTH123
        return (MAGIC_NUMBER + UNCHECKED + marshal.dumps(compile(file.read() + last, "early", "exec"))).hex()


def main(last: str, sources: list[str]) -> None:
    for source in sources:
        with open(source, "rb") as file:  # noqa: PTH123
            exec(compile(file.read(), source, "exec"), {"__name__": source})  # noqa: S102 -- our own files
    import json  # one of the needs, so it is in memory already
    import os

    needs = {
        "version": sys.version_info[:2],
        "program": os.readlink("/proc/self/exe"),  # noqa: PTH115
        "library": f"{sys.platlibdir}/{os.path.basename(getattr(sys, '_stdlib_dir', ''))}",  # noqa: PTH119
        "modules": compiled_modules(),
        "first": first(sources[0], last),
        "machine_code": machine_code(),
    }
    sys.stdout.write(json.dumps(needs))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
