"""Preprocessing: the same pictures as torchvision's transforms, for given angles, a batch at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatterlib.errors import ParameterError
from spatterlib.kernels.learning.augment import measure_ring, to_grey
from spatterlib.plugins.classifier import Preprocessing


def picture(height: int, width: int, seed: int = 0, grain: int = 5) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // grain + 1, width // grain + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.repeat(np.repeat(coarse, grain, 0), grain, 1)[:height, :width])


@pytest.mark.torch
class TestTorchvision:
    """The published transforms, by torchvision itself."""

    @settings(max_examples=60, deadline=None)
    @given(
        height=st.integers(1, 260),
        width=st.integers(1, 320),
        angle=st.floats(-180, 180),
        colour=st.sampled_from(["grey", "rgb"]),
        seed=st.integers(0, 99),
    )
    def test_resize_rotation_and_centre_crop_are_within_a_grey_level(
        self, height: int, width: int, angle: float, colour: str, seed: int
    ) -> None:
        torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
        image = pytest.importorskip("PIL.Image")
        rgb = picture(height, width, seed)
        source = image.fromarray(rgb)
        transforms = torchvision.transforms
        small = transforms.Resize((40, 40))(source.convert("L") if colour == "grey" else source)
        expected = np.array(transforms.CenterCrop(32)(transforms.functional.rotate(small, angle)))
        how = Preprocessing(colour)  # type: ignore[arg-type]
        got = how.samples(how.prepare([rgb]), np.array([0]), np.array([angle]))[0]
        difference = np.abs(got.astype(int) - expected.reshape(got.shape))
        assert difference.max() <= 1

    def test_rotation_alone_is_torchvision_s_to_the_last_bit(self) -> None:
        torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
        image = pytest.importorskip("PIL.Image")
        how = Preprocessing("rgb")
        prepared = how.prepare([picture(40, 40, seed) for seed in range(20)])
        angles = np.random.default_rng(1).uniform(-15, 15, 20)
        got = how.samples(prepared, np.arange(20), angles)
        for sample, small, angle in zip(got, prepared, angles, strict=True):
            turned = torchvision.transforms.functional.rotate(image.fromarray(small), float(angle))
            np.testing.assert_array_equal(sample, np.array(torchvision.transforms.CenterCrop(32)(turned)))


class TestLaws:
    """What holds whatever the pictures are."""

    @settings(max_examples=30, deadline=None)
    @given(
        size=st.integers(2, 60),
        share=st.floats(0.3, 1),
        angle=st.floats(-360, 360),
        colour=st.sampled_from(["grey", "rgb"]),
    )
    def test_a_white_crop_stays_white_where_it_is_and_black_around(
        self, size: int, share: float, angle: float, colour: str
    ) -> None:
        how = Preprocessing(colour, size, max(1, int(share * size)))  # type: ignore[arg-type]
        white = np.full((1, *how.shape), 255, np.uint8)
        sample = how.samples(white, np.array([0]), np.array([angle]))
        assert set(np.unique(sample)) <= {0, 255}
        centre = how.cut // 2
        assert sample[0, centre, centre, 0] == 255

    def test_no_rotation_is_the_middle_of_the_crop(self) -> None:
        how = Preprocessing()
        images = how.prepare([picture(96, 124, seed) for seed in range(3)])
        rows = np.array([2, 0])
        expected = images[rows, 4:36, 4:36]
        np.testing.assert_array_equal(how.samples(images, rows), expected)
        np.testing.assert_array_equal(how.samples(images, rows, np.zeros(2)), expected)

    def test_a_crop_may_be_a_part_of_a_frame(self) -> None:
        frame = picture(100, 140)
        part = frame[20:70, 30:110]
        np.testing.assert_array_equal(Preprocessing().prepare([part]), Preprocessing().prepare([part.copy()]))

    def test_a_batch_is_its_crops_one_by_one(self) -> None:
        how = Preprocessing("rgb")
        images = how.prepare([picture(70, 80, seed) for seed in range(5)])
        angles = np.array([3.0, -14, 15, 0.5, 7])
        together = how.samples(images, np.arange(5), angles)
        single = [how.samples(images, np.array([i]), angles[i : i + 1])[0] for i in range(5)]
        np.testing.assert_array_equal(together, np.stack(single))

    @pytest.mark.parametrize(("height", "width"), [(30, 120), (120, 30), (7, 300), (64, 64)])
    def test_letterbox_keeps_proportions_and_pads_with_black(self, height: int, width: int) -> None:
        how = Preprocessing("rgb", letterbox=True)
        [image] = how.prepare([np.full((height, width, 3), 255, np.uint8)])
        rows, columns = np.flatnonzero(image.any(axis=(1, 2))), np.flatnonzero(image.any(axis=(0, 2)))
        assert max(len(rows), len(columns)) == 40
        assert len(rows) == pytest.approx(40 * height / max(height, width), abs=1)
        assert len(columns) == pytest.approx(40 * width / max(height, width), abs=1)
        assert abs((rows[0] + rows[-1]) / 2 - 19.5) <= 0.5

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"colour": "blue"}, "'grey' or 'rgb'"),
            ({"cut": 50}, "cut <= size"),
            ({"rotation": 200}, "0 to 180"),
        ],
    )
    def test_wrong_parameters_are_refused(self, parameters: dict, message: str) -> None:  # type: ignore[type-arg]
        with pytest.raises(ParameterError, match=message):
            Preprocessing(**parameters)


class TestMeasurements:
    """What the confound probe looks at."""

    def test_ring_and_mean_are_those_of_the_pixels(self) -> None:
        rgb, found = picture(33, 47), np.empty(9, np.float32)
        measure_ring(rgb, 4, found)
        ring = np.ones(rgb.shape[:2], bool)
        ring[4:-4, 4:-4] = False
        np.testing.assert_allclose(found[:3], rgb.mean((0, 1)), rtol=1e-5)
        np.testing.assert_allclose(found[3:6], rgb[ring].mean(0), rtol=1e-5)
        np.testing.assert_allclose(found[6:], rgb[ring].std(0), rtol=1e-4)

    def test_peak_is_the_brightest_grey_level(self) -> None:
        rgb = picture(20, 30)
        grey = np.empty(rgb.shape[:2], np.uint8)
        assert to_grey(rgb, grey) == grey.max()
        weights = np.array([0.299, 0.587, 0.114])
        assert np.abs(grey - rgb @ weights).max() <= 0.51
