"""Signatures of evidence, made and checked by ``ssh-keygen -Y``: over ``sha256sums``, which has all digests."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ToolMissing, UsageError
from harness.processes import children
from harness.qualify.evidence import SIGNATURE, SUMS

NAMESPACE = "sealmatrix-qualification"
"""What the signature is for: one that was made for mail, say, is none of evidence."""


@dataclass(frozen=True)
class Signed:
    """What checking a signature found: ``says`` is ssh-keygen's word. ``who`` is "" where nobody was asked whose key it
    is; ``good`` is false also where there is no signature."""

    good: bool
    says: str
    who: str = ""


def sign(folder: Path, key: Path) -> None:
    """Sign the list of checksums with a key: a private one, or a public one whose other half the agent has.

    Raises ``UsageError`` when it does not sign, ``ToolMissing``.
    """
    done = _ask(("sign", "-n", NAMESPACE, "-f", str(key)), (folder / SUMS).read_bytes())
    if done.status:
        why = _last(done.err) or "no reason was given"
        raise UsageError(
            f"{key}: does not sign: {why}; a key with a passphrase has to be in ssh-agent, named by its .pub"
        )
    (folder / SIGNATURE).write_bytes(done.out)


def check(folder: Path, signers: Path | None = None) -> Signed | None:
    """Check the signature of a folder; None where there is none. ``signers`` says whose keys count, in ssh-keygen's
    form of allowed signers. Raises ``UsageError`` when that file cannot be read, ``ToolMissing``."""
    if signers is not None and not signers.is_file():
        raise UsageError(f"{signers}: no such file; it lists who may sign (ssh-keygen(1), ALLOWED SIGNERS)")
    path = folder / SIGNATURE
    if not path.is_file():
        return None
    data = (folder / SUMS).read_bytes()
    if signers is None:
        done = _ask(("check-novalidate", "-n", NAMESPACE, "-s", str(path)), data)
        return Signed(done.status == 0, _last(done.out if done.status == 0 else done.err))
    found = _ask(("find-principals", "-s", str(path), "-f", str(signers)), b"")
    who = _last(found.out)
    if found.status or not who:
        return Signed(False, f"nobody in {signers} has its key")
    done = _ask(("verify", "-n", NAMESPACE, "-s", str(path), "-f", str(signers), "-I", who), data)
    return Signed(done.status == 0, _last(done.out if done.status == 0 else done.err), who)


def _ask(words: Sequence[str], given: bytes) -> children.Done:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise ToolMissing("ssh-keygen", "openssh-client")
    return children.ask((program, "-Y", *words), given=given)


def _last(said: bytes) -> str:
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return "".join(c if c.isprintable() else "?" for c in lines[-1].strip())[:300] if lines else ""
