"""Compile a zip of modules: ``compile_library.py SOURCES.zip COMPILED.zip``, run by the interpreter that will use them.

The bytecode of one release of Python is no good for another, so the host's own Python cannot do this. Compiled files
are marked unchecked: there will be no source to compare them with. Equal sources give an equal archive.
"""

import importlib.util
import marshal
import sys
import zipfile

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold


def compiled(name: str, source: bytes) -> bytes:
    """The contents of a .pyc."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    flags = (1).to_bytes(4, "little")  # PEP 552: hash-based, not to be checked
    return importlib.util.MAGIC_NUMBER + flags + bytes(8) + marshal.dumps(code)


def main(sources: str, output: str) -> None:
    """Compile every module of one archive into another."""
    with zipfile.ZipFile(sources) as given, zipfile.ZipFile(output, "w") as made:
        for name in sorted(given.namelist()):
            entry = zipfile.ZipInfo(f"{name}c", EPOCH)
            made.writestr(entry, compiled(name, given.read(name)), zipfile.ZIP_DEFLATED)


main(*sys.argv[1:])
