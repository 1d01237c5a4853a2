"""Training against the published pipeline: the step alone, data path and step together, augmentation, reading.

The published pipeline opens the file for every crop, decodes with Pillow, transforms with torchvision, copies grey to
three channels with `torch.cat` and loads with two worker processes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import spatterlib as sp
from spatterlib.learning.dataset import load_dataset
from spatterlib.plugins.classifier import Epoch, Preprocessing, Samples
from spatterlib.plugins.training_loop import fit

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.torch

THREADS = 2
BATCH = 1024


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def encoded(tmp_path_factory: pytest.TempPathFactory, measuring: bool) -> list[bytes]:
    """Encoded crops of simulated recordings, which are calibrated against the published sizes."""
    folder, found = tmp_path_factory.mktemp("crops"), []
    for flow in ("low", "high"):
        video = folder / f"{flow}.mp4"
        sp.simulate(video, gas_flow=flow, seconds=24 if measuring else 4, seed=11)
        sp.extract(video, video.with_suffix(".h5"), progress=False)
        with sp.open_store(video.with_suffix(".h5")) as store:
            found += store.encoded(range(len(store)))
    return found


@pytest.fixture(scope="session")
def research_files(tmp_path_factory: pytest.TempPathFactory, encoded: list[bytes]) -> Callable[[int], dict[str, int]]:
    """``{file: label}``: two files in the research layout that hold `count` crops together."""
    folder = tmp_path_factory.mktemp("research")
    crops = np.array(encoded)

    def make(count: int) -> dict[str, int]:
        for label in (0, 1):
            path = folder / f"{count}_{label}.h5"
            if not path.exists():
                with h5py.File(path, "w") as file:
                    for number, start in enumerate(range(0, count // 2, 10_000)):
                        rows = np.arange(start, min(start + 10_000, count // 2)) % len(crops)
                        file.create_dataset(f"{path.stem}_{number}", data=crops[rows], compression="gzip")
        return {str(folder / f"{count}_{label}.h5"): label for label in (0, 1)}

    return make


class PublishedData(torch.utils.data.Dataset):  # type: ignore[misc]
    """One crop as the research system loads it."""

    def __init__(self, files: dict[str, int], count: int) -> None:
        transforms = torchvision.transforms
        self.rows = [
            (path, f"{Path(path).stem}_{index // 10_000}", index % 10_000, label)
            for path, label in files.items()
            for index in range(count // 2)
        ]
        self.transform = transforms.Compose(
            [
                transforms.Resize((40, 40)),
                transforms.RandomRotation(15),
                transforms.CenterCrop(32),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, float]:
        path, dataset, row, label = self.rows[index]
        with h5py.File(path, "r") as file:
            data = bytes(file[dataset][row])
        grey = self.transform(image.open(io.BytesIO(data)).convert("L"))
        return torch.cat([grey, grey, grey], 0), float(label)


def plain_network() -> Any:
    from spatterlib.learning.lenet5.torch_networks import plain

    torch.manual_seed(1234)
    return plain(1, tanh=False)


def plain_step(network: Any, adam: Any, images: Any, labels: Any) -> None:
    adam.zero_grad()
    torch.nn.functional.binary_cross_entropy_with_logits(network(images)[:, 0], labels).backward()
    adam.step()


@pytest.mark.parametrize("id_", ["lenet5", "lenet5-classic"])
@pytest.mark.parametrize("way", ["ours, grey", "ours, RGB", "plain 3-channel PyTorch"])
def test_step(benchmark: BenchmarkFixture, measuring: bool, way: str, id_: str) -> None:
    from spatterlib.learning.lenet5.torch_networks import Trainable, plain

    tanh = id_ == "lenet5-classic"
    count = BATCH if measuring else 64
    random = np.random.default_rng(1)
    samples = random.integers(0, 256, (count, 32, 32, 1 if way == "ours, grey" else 3), dtype=np.uint8)
    labels = torch.from_numpy(random.integers(0, 2, count)).float()
    network: Any
    if way.startswith("ours"):
        network, images = Trainable.new(1, tanh=tanh, seed=1, device="cpu"), samples
        parameters = list(network.parameters.values())
        torch.set_num_threads(1)  # as the loop does: the stages have threads of their own
    else:
        network, images = plain(1, tanh=tanh), torch.from_numpy(samples).permute(0, 3, 1, 2).float() / 255
        parameters = list(network.parameters())
    adam = torch.optim.Adam(parameters, 1e-3)
    before = [value.detach().clone() for value in parameters]
    benchmark.group = f"training: step, {id_}"
    benchmark.extra_info.update(way=way, frames=count)
    benchmark.pedantic(
        plain_step, (network, adam, images, labels), rounds=15 if measuring else 1, warmup_rounds=2 if measuring else 0
    )
    assert not any(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))


@pytest.mark.parametrize("way", ["ours", "published pipeline, 2 workers"])
def test_data_path_and_step_together(
    benchmark: BenchmarkFixture, measuring: bool, research_files: Any, way: str
) -> None:
    """An epoch; ours over crops decoded once before, as they are in 19 of 20 epochs (see the next test)."""
    count = (60_000 if way == "ours" else 3072) if measuring else 64
    files = research_files(count)
    benchmark.group = "training: data path and step, per epoch"
    if way == "ours":
        classifier = sp.make("classifier", "lenet5", epochs=1)
        data = load_dataset(files, classifier.preprocessing)
        rows = np.arange(len(data))
        parts = Samples(data.images, data.labels, rows), Samples(data.images, data.labels, rows[:1])
        from spatterlib.learning.lenet5.torch_networks import Trainable

        ended: list[Epoch] = []

        def epoch() -> None:
            network = Trainable.new(1, tanh=False, seed=1, device="cpu")
            fit(network, *parts, classifier, notify=ended.append)
    else:
        network, loader = (
            plain_network(),
            torch.utils.data.DataLoader(PublishedData(files, count), batch_size=BATCH, shuffle=True, num_workers=2),
        )
        adam = torch.optim.Adam(network.parameters(), 1e-3)
        ended = []

        def epoch() -> None:
            for images, labels in loader:
                plain_step(network, adam, images, labels.float())
                ended.append(Epoch(1, 1, len(images), count, 0, 0))

    benchmark.extra_info.update(way=way, frames=count)
    benchmark.pedantic(epoch, rounds=3 if measuring else 1)
    assert ended


@pytest.mark.parametrize("colour", ["grey", "rgb"])
@pytest.mark.parametrize("way", ["ours", "torchvision"])
def test_augmentation(benchmark: BenchmarkFixture, measuring: bool, way: str, colour: Any) -> None:
    """Rotation and centre crop of crops that are resized already; one thread."""
    how = Preprocessing(colour)
    count = (16_384 if way == "ours" else 1024) if measuring else 32
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (count, *how.shape), dtype=np.uint8)
    angles, rows = random.uniform(-15, 15, count), random.permutation(count)
    transforms = torchvision.transforms

    def ours() -> Any:
        return how.samples(images, rows, angles)

    def theirs() -> Any:
        crop = transforms.CenterCrop(32)
        turned = (
            transforms.functional.rotate(image.fromarray(images[row].squeeze()), float(angle))
            for row, angle in zip(rows, angles, strict=True)
        )
        return np.stack([np.array(crop(item)).reshape(32, 32, -1) for item in turned])

    benchmark.group = f"training: augmentation, {colour}"
    benchmark.extra_info.update(way=way, frames=count)
    benchmark.pedantic(ours if way == "ours" else theirs, rounds=10 if measuring else 1, warmup_rounds=1)
    if not measuring:
        np.testing.assert_array_equal(ours(), theirs())


@pytest.mark.parametrize("way", ["ours, .h5 store", "ours, research file", "research file opened for each crop"])
def test_reading_and_decoding(
    benchmark: BenchmarkFixture, measuring: bool, research_files: Any, tmp_path: Path, way: str
) -> None:
    """From the store to a crop of 40x40 px, once per crop; the same crops in each way."""
    count = (20_000 if way.startswith("ours") else 1000) if measuring else 64
    files = research_files(20_000 if measuring else 64)
    published = PublishedData(files, 20_000 if measuring else 64)
    if way == "ours, .h5 store":
        own = {str(tmp_path / Path(path).name): label for path, label in files.items()}
        for source, target in zip(files, own, strict=True):
            sp.convert(source, target)
        files = own
    how = Preprocessing()

    def ours() -> int:
        return len(load_dataset(files, how))

    chosen = np.random.default_rng(3).choice(len(published), count, replace=False)

    def theirs() -> int:
        resize = torchvision.transforms.Resize((40, 40))
        for index in chosen:
            path, dataset, row, _ = published.rows[index]
            with h5py.File(path, "r") as file:
                data = bytes(file[dataset][row])
            resize(image.open(io.BytesIO(data)).convert("L"))
        return count

    benchmark.group = "training: reading and decoding"
    benchmark.extra_info.update(way=way, frames=count)
    assert benchmark.pedantic(ours if way.startswith("ours") else theirs, rounds=3 if measuring else 1) == count
