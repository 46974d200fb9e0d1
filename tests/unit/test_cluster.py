"""A cell on its way to a worker and back, without Dask; and that nobody imports Dask who does not ask for it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from harness.cluster.bundle import Shelf, keep, missing, pack, unpack
from harness.cluster.facts import check_same, demanded, own_facts, read_facts, resources, unmet
from harness.cluster.remote import Bench, Missing, Returned
from harness.errors import KernelUnavailable, StoreError, UsageError
from harness.guests.model import Guest
from harness.guests.pid1 import make_archive
from harness.guests.qemu import Wishes
from harness.kernels.model import Kernel, Origin
from harness.kernels.store import Store
from harness.matrix.model import Profile
from harness.runs.model import Cell, SuiteLoad
from harness.suites.definition import SuiteFile, SuiteProgram, SuiteWork
from tests.fakes import FakeGuest
from tests.support.scripted_runs import WHOLE, WORKLOAD

WORK = replace(WORKLOAD, sha256=sha256(b"ELF").hexdigest())
TWO = replace(WORK, second=replace(WORKLOAD, name="python", content=b"PYTHON", files=(("stdlib.zip", b"ZIP"),)))


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    image = tmp_path / "image"
    image.write_bytes(b"the image")
    kernel = Kernel(
        name="k", release="6.12.0-fake", arch="x86_64", flavour="cloud", image=image, image_format="bzImage",
        sha256="ab" * 32, origin=Origin("file", "here"),
        config={"VIRTIO_PCI": "y", "VIRTIO_CONSOLE": "m", "BLK_DEV_NVME": "m"},
        modules=lambda names: tuple((f"{name}.ko", name.encode()) for name in names),
    )  # fmt: skip
    return Cell("k.x86_64", "x86_64", Profile("standard", swap=64), kernel)


def stocked(digests: tuple[str, ...], shelf: Shelf, store: Store) -> None:
    for digest in digests:
        keep(shelf.read(digest), digest, store)


def test_what_arrives_boots_from_the_same_bytes(cell: Cell, tmp_path: Path) -> None:
    """The initial RAM file system a worker makes has the digest of ours, and the parcel travels as a pickle."""
    shelf, store = Shelf(), Store(tmp_path / "worker")
    parcel = pickle.loads(pickle.dumps(pack("run", cell, TWO, Wishes(scale=2.0), shelf)))
    assert set(missing(parcel, store)) == set(parcel.digests())
    stocked(missing(parcel, store), shelf, store)
    assert missing(parcel, store) == ()
    there, workload, init = unpack(parcel, store)
    here = cell.kernel
    assert isinstance(here, Kernel)
    assert isinstance(there.kernel, Kernel)
    assert workload == TWO
    assert there.kernel.image.read_bytes() == b"the image"
    assert replace(there.kernel, image=here.image, modules=here.modules) == here
    ours = make_archive(here, init, tmp_path / "a", cell.profile)
    theirs = make_archive(there.kernel, init, tmp_path / "b", there.profile)
    assert ours.sha256 == theirs.sha256
    assert theirs.modules == ("virtio_console.ko", "nvme.ko")
    with pytest.raises(KernelUnavailable, match="did not come"):
        there.kernel.modules(("overlay",))


def test_foreign_suites_travel_with_their_cell(cell: Cell, tmp_path: Path) -> None:
    suite = SuiteWork("mine", (SuiteProgram("", ("./t",)),), (SuiteFile("t", b"ELF"),))
    load = SuiteLoad(b"launch", b"", (suite,))
    workload = replace(WORK, content=b"", sha256=sha256(b"").hexdigest(), suites=load)
    shelf, store = Shelf(), Store(tmp_path / "worker")
    parcel = pickle.loads(pickle.dumps(pack("run", cell, workload, Wishes(), shelf)))
    stocked(missing(parcel, store), shelf, store)
    _, there, _ = unpack(parcel, store)
    assert there.suites == load


def test_bytes_are_verified_on_arrival(cell: Cell, tmp_path: Path) -> None:
    shelf, store = Shelf(), Store(tmp_path / "worker")
    parcel = pack("run", cell, WORK, Wishes(), shelf)
    with pytest.raises(StoreError, match="it is not used"):
        keep(b"another image", parcel.kernel.image, store)
    assert parcel.kernel.image in missing(parcel, store)
    assert isinstance(cell.kernel, Kernel)
    cell.kernel.image.write_bytes(b"rebuilt while the run goes on")
    with pytest.raises(StoreError, match="changed"):
        shelf.read(parcel.kernel.image)


def test_a_damaged_blob_is_asked_for_again(cell: Cell, tmp_path: Path) -> None:
    shelf, store = Shelf(), Store(tmp_path / "worker")
    parcel = pack("run", cell, WORK, Wishes(), shelf)
    stocked(parcel.digests(), shelf, store)
    path = store.find(parcel.workload.content)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(b"rot")
    assert missing(parcel, Store(tmp_path / "worker")) == (parcel.workload.content,)


def test_a_cell_there_and_back(cell: Cell, tmp_path: Path) -> None:
    shelf, store = Shelf(), Store(tmp_path / "worker")
    parcel = pack("run", cell, WORK, Wishes(), shelf)
    folders: list[Path] = []
    wished: list[Wishes] = []

    def make_guest(_cell: Cell, folder: Path, wishes: Wishes, _init: Path) -> Guest:
        folders.append(folder)
        wished.append(wishes)
        return FakeGuest(script=WHOLE, console=folder / "console.log", console_text="it boots\n")

    bench = Bench(store, 1.5, make_guest)
    assert bench.observe("key", parcel, lambda _: None) == Missing(parcel.digests())
    stocked(parcel.digests(), shelf, store)
    answer = bench.observe("key", parcel, lambda _: None)
    assert isinstance(answer, Returned)
    assert wished == [Wishes(load=1.5)]
    assert not folders[0].exists()
    (tmp_path / "cell").mkdir()
    outcome = pickle.loads(pickle.dumps(answer)).outcome(cell, tmp_path / "cell")
    assert outcome.lost == ""
    assert outcome.journalled is not None
    assert len(outcome.journalled.observations) == 2
    assert outcome.booted.acceleration == "tcg"
    assert (tmp_path / "cell/console.log").read_text() == "it boots\n"
    assert (tmp_path / "cell/observations.jsonl").read_bytes() == b"".join(WHOLE)


def test_a_cell_that_was_ended_before_it_began_sees_nothing(cell: Cell, tmp_path: Path) -> None:
    shelf, store = Shelf(), Store(tmp_path / "worker")
    parcel = pack("run", cell, WORK, Wishes(), shelf)
    stocked(parcel.digests(), shelf, store)
    bench = Bench(store, 1.0, lambda *_: FakeGuest(script=WHOLE))
    bench.interrupt("run")
    answer = bench.observe("key", parcel, lambda _: None)
    assert isinstance(answer, Returned)
    assert (answer.lost, answer.interrupted) == ("interrupted", True)


def test_a_worker_that_breaks_loses_the_cell_and_no_more(cell: Cell, tmp_path: Path) -> None:
    def make_guest(*_: object) -> Guest:
        raise StoreError("/var: no space left")

    shelf, store = Shelf(), Store(tmp_path / "worker")
    parcel = pack("run", cell, WORK, Wishes(), shelf)
    stocked(parcel.digests(), shelf, store)
    answer = Bench(store, 1.0, make_guest).observe("key", parcel, lambda _: None)
    assert isinstance(answer, Returned)
    assert answer.lost == "/var: no space left"


def test_only_the_same_sealmatrix_may_observe() -> None:
    ours = own_facts()
    assert read_facts(ours.told()) == ours
    assert check_same(ours, {"tcp://a": ours.told()}) == {"tcp://a": ours}
    for other in (ours.told() | {"code": "0" * 64}, ours.told() | {"payload": "0" * 16}, {"version": "9"}, None):
        with pytest.raises(UsageError, match=r"the worker at tcp://b is sealmatrix .*install the same") as caught:
            check_same(ours, {"tcp://a": ours.told(), "tcp://b": other})
        assert "\n" not in str(caught.value)


def test_what_a_cell_demands_and_who_can_give_it() -> None:
    ours = replace(own_facts(2), cores=2, memory=4096, arches=("x86_64",), kvm=False)
    big = replace(ours, cores=8, memory=65536, arches=("x86_64", "arm64"), kvm=True)
    offers = {"tcp://a": resources(ours), "tcp://b": resources(big)}
    workers = {"tcp://a": ours, "tcp://b": big}

    def why(cell: Cell, acceleration: str = "auto", there: dict[str, dict[str, float]] = offers) -> str:
        return unmet(demanded(cell, acceleration, ours, workers), there)

    assert why(Cell("a", "arm64", Profile("p", smp=64), None)) == ""
    assert why(Cell("a", "x86_64", Profile("p"), None), "kvm") == ""
    only = {"tcp://a": offers["tcp://a"]}
    assert "arm64" in why(Cell("a", "arm64", Profile("p"), None), there=only)
    assert "kvm" in why(Cell("a", "x86_64", Profile("p"), None), "kvm", only)
    assert "memory" in why(Cell("a", "x86_64", Profile("p", memory=1 << 20), None))
    assert why(Cell("a", "x86_64", Profile("p"), None), there={}) == "no worker is left"


def test_without_a_cluster_nobody_imports_dask(tmp_path: Path) -> None:
    """A whole run of this machine's kernel, from the command to its reports."""
    code = (
        "import sys\n"
        "from harness.cli.main import cli\n"
        "words = ['run', '--host', '-q', '-r', 'munmap/anon-rw/exact', '--results', sys.argv[1]]\n"
        "cli.main(words, standalone_mode=False)\n"
        "found = {name.partition('.')[0] for name in sys.modules} & {'dask', 'distributed', 'tornado'}\n"
        "sys.exit(f'imported: {found}' if found else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*/report.html"))


def test_without_dask_a_cluster_is_refused_in_one_line(tmp_path: Path) -> None:
    places = f"{tmp_path}:{Path(__file__).parents[2]}"
    (tmp_path / "distributed.py").write_text("raise ModuleNotFoundError('no', name='distributed')\n")
    for words in (["run", "--cluster", "tcp://127.0.0.1:1"], ["worker", "tcp://127.0.0.1:1"]):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *words], capture_output=True, text=True, timeout=120, check=False,
            env={"PYTHONPATH": places, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "sealmatrix[cluster]" in done.stderr
