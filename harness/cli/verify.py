"""``sealmatrix verify``: is the evidence of a qualification as it was?"""

from __future__ import annotations

from pathlib import Path

import click

from harness.errors import UsageError
from harness.model.verdict import EXIT_FAILED, EXIT_OK
from harness.qualify.evidence import SIGNATURE, SUMS, verify
from harness.qualify.signature import Signed, check
from harness.reports.style import Page, screen
from harness.runs.cells import plural


@click.command("verify")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--digest", metavar="SHA256", help=f"Digest of {SUMS}, as printed with the verdict.")
@click.option(
    "--signers",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Whose signature is wanted, in ssh-keygen's form of allowed signers.",
)
def verify_command(folder: Path, digest: str | None, signers: Path | None) -> int:
    """Verify the checksums of a qualification folder: nothing altered, missing or added; and its signature.

    \b
    sealmatrix verify release-7.3.4
    sealmatrix verify release-7.3.4 --signers allowed_signers

    With --digest or --signers, the list of checksums is verified too. A signature that is there has to be good; with
    --signers there has to be one, of one of them. Exit status: 0 intact, 1 not intact, 2 the folder is not a
    qualification.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a folder")
    found = verify(folder)
    page = Page(screen())
    for word, names in (("altered", found.altered), ("missing", found.missing), ("added", found.added)):
        for name in names:
            page.line(f"{word}: {name}", style="bold red")
    sealed = digest is None or found.digest == digest.strip().lower()
    if not sealed:
        page.line(f"altered: {SUMS} itself; its digest is {found.digest}", style="bold red")
    good = _signature(page, check(folder, signers), wanted=signers is not None)
    if found.intact and sealed and good:
        page.console.print(f"intact: {plural(found.files, 'file')}, sha256 of {SUMS}: {found.digest}", soft_wrap=True)
        return EXIT_OK
    return EXIT_FAILED


def _signature(page: Page, found: Signed | None, *, wanted: bool) -> bool:
    """Say who signed. Returns whether that is as it should be."""
    if found is None:
        page.line(f"not signed: there is no {SIGNATURE}", style="bold red" if wanted else "")
        return not wanted
    if not found.good:
        page.line(f"the signature is not good: {found.says}", style="bold red")
        return False
    whose = "" if found.who else "; whose key that is nobody was asked: --signers FILE"
    page.line(f"signed: {found.says}{whose}")
    return True
