"""What a qualification rests on as a CycloneDX document: the kernels, the packages they are from, and the tools."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from harness import __version__
from harness.compare.sides import Picked
from harness.model.architectures import DEBIAN_ARCH, Arch
from harness.model.run_record import CellRecord
from harness.qualify.report import Dossier, cell_ids

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

SBOM = "sbom.cdx.json"
WITHOUT = f"no {SBOM}: its library is not installed; pip install 'sealmatrix[sbom]'"


def can_sbom() -> bool:
    """Whether the library that writes it is installed: it is an extra, ``sealmatrix[sbom]``."""
    return find_spec("cyclonedx") is not None


def sbom(dossier: Dossier) -> str:
    """The document, the same for the same evidence, policy and day."""
    from cyclonedx.model.bom import Bom  # noqa: PLC0415  an extra
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from cyclonedx.output import make_outputter  # noqa: PLC0415
    from cyclonedx.schema import OutputFormat, SchemaVersion  # noqa: PLC0415

    found = dossier.qualification
    runs = "\0".join((dossier.candidate.done.record.id, dossier.baseline.done.record.id, found.today.isoformat()))
    digest = hashlib.sha256(runs.encode() + dossier.policy).digest()
    bom = Bom(serial_number=UUID(bytes=digest[:16], version=4))
    bom.metadata.timestamp = datetime.combine(found.today, datetime.min.time(), UTC)
    bom.metadata.component = Component(
        type=ComponentType.APPLICATION, name=f"qualification: {found.policy.title}", bom_ref="qualification"
    )
    bom.metadata.tools.components.add(
        Component(type=ComponentType.APPLICATION, name="sealmatrix", version=__version__, bom_ref="judged-by")
    )
    for role, picked in (("candidate", dossier.candidate), ("baseline", dossier.baseline)):
        for component in (*_kernels(role, picked), *_tools(role, picked)):
            bom.components.add(component)
    bom.register_dependency(bom.metadata.component, bom.components)
    return str(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)) + "\n"


def _cells(picked: Picked) -> list[CellRecord]:
    wanted = set(cell_ids(picked))
    return [cell for cell in picked.done.record.cells if cell.id in wanted]


def _kernels(role: str, picked: Picked) -> Iterator[Component]:
    """A kernel for each cell, with its packages inside."""
    for cell in _cells(picked):
        if (kernel := cell.kernel) is None:
            continue
        ref = f"{role}:{cell.id}"
        told = {
            "role": role, "cell": cell.id, "name": kernel.name, "arch": cell.arch, "flavour": kernel.flavour,
            "origin": kernel.origin, "upstream": kernel.version, "config_sha256": kernel.config_sha256,
        }  # fmt: skip
        packages = [
            _component(
                f"{ref}/{name}", name, version, sha256, {}, kind="operating-system",
                purl=_purl(name, version, cell.arch) if kernel.origin_kind == "debian" and name else None,
            )
            for name, version, sha256 in kernel.packages
        ]  # fmt: skip
        made = _component(ref, "linux", kernel.release, kernel.sha256, told, kind="operating-system")
        made.components.update(packages)
        yield made


def _tools(role: str, picked: Picked) -> Iterator[Component]:
    """What observed the kernels, each thing once: sealmatrix, emulator, payload, init."""
    run, once = picked.done.record, {}
    once["sealmatrix", run.sealmatrix, ""] = "application"
    for cell in _cells(picked):
        if cell.payload_sha256:
            once[f"payload-{run.payload} {cell.arch}", run.payload_id, cell.payload_sha256] = "application"
        if cell.machine is not None:
            for name, version in cell.machine.versions.items():
                once[name, version, ""] = "application"
            for name, sha256 in cell.machine.digests.items():
                once[f"{name} {cell.arch}", "", sha256] = "file"
    for number, ((name, version, sha256), kind) in enumerate(once.items()):
        yield _component(f"{role}-tool:{number}", name, version, sha256, {"role": f"measured the {role}"}, kind=kind)


def _component(
    ref: str, name: str, version: str, sha256: str, told: dict[str, str], *, kind: str, purl: Any = None
) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415

    return Component(
        type=ComponentType(kind),
        name=name,
        version=version or None,
        bom_ref=ref,
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else [],
        properties=[Property(name=f"sealmatrix:{key}", value=value) for key, value in told.items() if value],
    )


def _purl(name: str, version: str, arch: str) -> Any:
    from packageurl import PackageURL  # noqa: PLC0415

    return PackageURL("deb", "debian", name, version, {"arch": DEBIAN_ARCH.get(cast(Arch, arch), arch)})
