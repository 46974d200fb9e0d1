"""Real kernels and real guests for the tests that need them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.guests.model import Event, Exited, Output
from harness.guests.qemu import QemuGuest, Wishes
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.payload.compiler import compile_static
from tests.support.real_kernels import GetKernel, MakeGuest, stored_kernel

PROGRAMS = Path(__file__).parents[1] / "guest_programs"


@pytest.fixture(scope="session")
def kernel() -> GetKernel:
    """A kernel of kernels.yaml, fetched where it is not stored. A test without its kernel fails: that is no pass."""
    return stored_kernel


@pytest.fixture
def guest(kernel: GetKernel, tmp_path: Path) -> Iterator[MakeGuest]:
    """Makes guests that are gone after the test, whatever it did. ``changes`` replaces fields of the kernel."""
    made: list[QemuGuest] = []

    def make(
        name: str = "debian-6.12",
        arch: Arch = "x86_64",
        *,
        profile: Profile | None = None,
        init: Path | None = None,
        changes: dict[str, object] | None = None,
        **wishes: object,
    ) -> QemuGuest:
        chosen = replace(kernel(name, arch), **(changes or {}))  # type: ignore[arg-type]
        folder = tmp_path / f"cell-{len(made)}, with a comma"
        one = QemuGuest(chosen, profile or Profile("standard"), folder, Wishes(**wishes), init=init)  # type: ignore[arg-type]
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def program() -> Callable[[str, Arch], bytes]:
    """A program of tests/guest_programs as a static ELF."""

    def built(name: str, arch: Arch) -> bytes:
        return compile_static([PROGRAMS / f"{name}.c"], arch, name).read_bytes()

    return built


@pytest.fixture
def misbehave(program: Callable[[str, Arch], bytes]) -> Callable[..., tuple[bytes, bytes, Exited]]:
    """Run one fault in a booted guest; returns its standard output, its standard error and its end."""

    def perform(one: QemuGuest, name: str, arch: Arch = "x86_64") -> tuple[bytes, bytes, Exited]:
        path = one.push("fault", program("fault", arch))
        events: list[Event] = list(one.run([path, name]))
        ending = events.pop()
        assert isinstance(ending, Exited)
        outputs = [event for event in events if isinstance(event, Output)]
        out = b"".join(o.data for o in outputs if o.stream == "out")
        err = b"".join(o.data for o in outputs if o.stream == "err")
        return out, err, ending

    return perform
